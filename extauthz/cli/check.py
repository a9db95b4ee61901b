"""`extauthz check`: decide one request offline, by the very functions that serve, and explain it."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from extauthz.bundle import Built, BundleError, read_bundle
from extauthz.cli import ExitCode
from extauthz.cli.check_question import Question, answer, check_usage, question_options
from extauthz.cli.check_text import print_text
from extauthz.model.ports import NoTokenCache
from extauthz.sources import load_files

EPILOG = """\b
Examples:
  extauthz check --bundle examples/banking https://api.banking.local/health
  extauthz check --bundle examples/banking https://api.banking.local/api/loans/l-17 \\
    --claims '{"sub": "u1", "tenant_id": "acme", "realm_access": {"roles": ["banking-manager"]}}'
  extauthz check --bundle examples/banking -X POST -H 'x-tenant-id: acme' \\
    --token @token.jwt --jwks keycloak=jwks.json https://api.banking.local/api/accounts
  extauthz check --bundle examples/banking --request check.json --format json
  extauthz check --bundle bundle --token 7Fjfp0ZBr1Kt --introspection answer.json https://api.bank.local/accounts

\b
--claims asks what would be if a user had such a token: it is signed with a key made on the spot, so nothing is proved
about any real token. --token verifies a real one, with the keys of the bundle or of --jwks. Where an issuer would be
asked about it (introspection), --introspection is a file with its answer.

\b
Exit codes: 0 allowed, 1 denied or undecided, 2 wrong usage, 3 the bundle or an input file is wrong.
"""


@click.command(epilog=EPILOG)
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Directory of the bundle.")
@click.option("--explain", is_flag=True, help="Also show every step and what each rule's condition read.")
@question_options
def command(*, bundle: Path, form: str, explain: bool, **given: Any) -> None:  # noqa: ANN401 - the fields of a Question
    """Decide one request, given as URL or as a CheckRequest in JSON, and explain the decision."""
    run(bundle, Question(**given), form, explain=explain)


def run(bundle: Path, question: Question, form: str, *, explain: bool) -> None:
    """Answer a question about the bundle in a directory and end the command."""
    check_usage(question)
    found = answer(question, _read(bundle))
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print_text(found, explain=explain)
    sys.exit(ExitCode.OK if found.outcome == "allow" else ExitCode.FAILED)


def _read(bundle: Path) -> Built:
    try:
        return read_bundle(load_files(bundle), NoTokenCache())
    except BundleError as error:
        for finding in error.findings:
            click.echo(str(finding), err=True)
        sys.exit(ExitCode.CONFIG)
