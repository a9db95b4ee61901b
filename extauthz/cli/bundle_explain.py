"""`extauthz bundle explain`: every step of one decision; the same answer as `extauthz check --explain`."""

from pathlib import Path
from typing import Any

import click

from extauthz.cli.bundle_directory import DIRECTORY
from extauthz.cli.check import run
from extauthz.cli.check_question import Question, question_options


@click.command(
    epilog="""\b
Examples:
  extauthz bundle explain examples/banking https://api.banking.local/api/loans/l-17 --claims @claims.json
  extauthz bundle explain examples/banking --method DELETE --host api.banking.local --path /api/customers/c1 \\
    --header 'x-tenant-id: acme' --token-claims '{"sub": "u1", "tenant_id": "acme"}'
  extauthz bundle explain examples/banking --request check.json --format json

\b
Values that identify somebody or unlock something are masked.

\b
Exit codes: 0 allowed, 1 denied or undecided, 2 wrong usage, 3 the bundle or an input file is wrong.
""",
)
@DIRECTORY
@question_options
def explain(directory: Path, *, form: str, **given: Any) -> None:  # noqa: ANN401 - the fields of a Question
    """Decide one request by the bundle in DIRECTORY and show every step: what was found, and what failed."""
    run(directory, Question(**given), form, explain=True)
