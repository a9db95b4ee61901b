"""`extauthz bundle schema`: the JSON Schemas of the documents, for editors and pipelines."""

import json

import click

from extauthz.bundle.kinds import KINDS
from extauthz.bundle.schema import schema as schema_of
from extauthz.model.problems import suggestion


def _known(_context: click.Context, _parameter: click.Parameter, kind: str) -> str:
    by_lower = {known.lower(): known for known in KINDS}
    if kind and kind.lower() not in by_lower:
        raise click.BadParameter(f"unknown kind `{kind}`{suggestion(kind, list(KINDS))}")  # noqa: EM102, TRY003 - a sentence for the user
    return by_lower.get(kind.lower(), "")


@click.command(
    epilog="""\b
Examples:
  extauthz bundle schema > document.json
  extauthz bundle schema AccessPolicy

\b
An editor with the YAML language server completes and checks a file that begins with
  # yaml-language-server: $schema=document.json

\b
Exit codes: 0 success, 2 wrong usage.
""",
)
@click.argument("kind", required=False, default="", metavar="[KIND]", callback=_known)
def schema(kind: str) -> None:
    """Print the JSON Schema of documents of KIND, or of any document."""
    click.echo(json.dumps(schema_of(kind), indent=2, ensure_ascii=False))
