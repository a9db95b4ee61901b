"""`extauthz bundle lint`: everything that is wrong or doubtful, for people and for pipelines."""

import sys
import time
from pathlib import Path

import click
from msgspec import json

from extauthz.bundle import Built, BundleError, Finding, lint_bundle
from extauthz.cli import ExitCode
from extauthz.cli.bundle_directory import DIRECTORY, count
from extauthz.cli.bundle_findings import github, sarif
from extauthz.cli.bundle_report import finding_line
from extauthz.model.codes import CODES, ERRORS, WARNINGS
from extauthz.model.problems import suggestion
from extauthz.sources import load_files


def _check_codes(_context: click.Context, _parameter: click.Parameter, codes: tuple[str, ...]) -> frozenset[str]:
    """Codes that exist and are warnings'."""
    wanted = frozenset(code for text in codes for code in text.split(",") if code)
    for code in sorted(wanted):
        if code in ERRORS:
            raise click.BadParameter(f"`{code}` is an error's code: a bundle with errors cannot be activated")  # noqa: EM102, TRY003 - a sentence for the user
        if code not in CODES:
            raise click.BadParameter(f"unknown code `{code}`{suggestion(code, list(WARNINGS))}")  # noqa: EM102, TRY003
    return wanted


@click.command(
    epilog="""\b
Examples:
  extauthz bundle lint examples/banking
  extauthz bundle lint --strict --ignore header-spelling,computed-names /etc/extauthz/bundle
  extauthz bundle lint --format sarif bundle > findings.sarif

\b
Exit codes: 0 no errors (with --strict: no warnings either), 1 errors, 2 wrong usage.
""",
)
@DIRECTORY
@click.option("--strict", is_flag=True, help="Let warnings fail as well.")
@click.option(
    "--ignore", "ignored", multiple=True, metavar="CODE", callback=_check_codes, help="Leave out warnings of this code."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    show_default=True,
    help="How to print.",
)
@click.option(
    "--list-codes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda c, _, v: _list(c) if v else None,
    help="Print every code and what it means.",
)
def lint(directory: Path, *, strict: bool, ignored: frozenset[str], form: str) -> None:
    """Print every error and warning of the bundle in DIRECTORY, each with file, line, field and code."""
    found, built = _read(directory)
    findings = [finding for finding in found if finding.code not in ignored]
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    failed = bool(errors or (strict and warnings))
    if form == "json":
        click.echo(json.encode({"ok": not failed, "errors": errors, "warnings": warnings, "findings": findings}))
    elif form == "sarif":
        click.echo(json.format(json.encode(sarif(directory, findings))))
    else:
        lines = github(directory, findings) if form == "github" else map(finding_line, findings)
        for line in lines:
            click.echo(line)
        click.echo(f"{directory}: {count(errors, 'error')}, {count(warnings, 'warning')}" + _summary(built))
    sys.exit(ExitCode.FAILED if failed else ExitCode.OK)


def _list(context: click.Context) -> None:
    width = max(map(len, CODES))
    for code, words in CODES.items():
        click.echo(f"{'error  ' if code in ERRORS else 'warning'}  {code:<{width}}  {words}")
    context.exit()


def _read(directory: Path) -> tuple[list[Finding], Built | None]:
    try:
        built = lint_bundle(load_files(directory), int(time.time()))
    except BundleError as error:
        return error.findings, None
    return built.warnings, built


def _summary(built: Built | None) -> str:
    if built is None:
        return ""
    counts = ", ".join(f"{number} {kind}" for kind, number in built.snapshot.documents.items() if number)
    return f"; revision {built.snapshot.revision}: {counts}"
