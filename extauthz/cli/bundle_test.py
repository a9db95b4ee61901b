"""`extauthz bundle test`: run a bundle's own PolicyTests."""

import sys
from pathlib import Path

import click
from msgspec import json

from extauthz.bundle import Coverage, coverage, run_tests
from extauthz.cli import ExitCode
from extauthz.cli.bundle_directory import DIRECTORY, FORMAT, read_or_exit
from extauthz.cli.bundle_report import print_results, write_junit


@click.command(
    epilog="""\b
Examples:
  extauthz bundle test examples/banking
  extauthz bundle test --junit report.xml --min-coverage 100 examples/banking

\b
Exit codes: 0 all cases pass, 1 a case fails or too few rules are covered, 2 wrong usage,
3 the bundle has errors (see `extauthz bundle lint`), 4 the report cannot be written.
""",
)
@DIRECTORY
@FORMAT
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write a JUnit report to this file."
)
@click.option(
    "--min-coverage",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Percentage of rules that some case must match.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also list the cases that pass and the rules that no case matches.")
def test(directory: Path, *, form: str, junit: Path | None, min_coverage: int, verbose: bool) -> None:
    """Run the PolicyTests of the bundle in DIRECTORY through the function that serves."""
    built = read_or_exit(directory)
    results = run_tests(built)
    cover = coverage(built, results)
    percent = 100 * cover.covered // cover.total if cover.total else 100
    failed = [result for result in results if not result.passed]
    if junit is not None:
        try:
            write_junit(junit, results)
        except OSError as error:
            click.echo(f"extauthz: {junit}: {(error.strerror or str(error)).lower()}", err=True)
            sys.exit(ExitCode.RESOURCE)
    if form == "json":
        report = {"ok": not failed and percent >= min_coverage, "cases": results, "coverage": _cover(cover, percent)}
        click.echo(json.encode(report))
    else:
        print_results(results, cover, verbose=verbose)
        passed = len(results) - len(failed)
        click.echo(
            f"{passed} of {len(results)} cases pass; {cover.covered} of {cover.total} rules covered ({percent} %)"
        )
    sys.exit(ExitCode.FAILED if failed or percent < min_coverage else ExitCode.OK)


def _cover(cover: Coverage, percent: int) -> dict[str, object]:
    missing = [{"policy": policy, "rule": rule} for policy, rule in cover.missing]
    return {"rules": cover.total, "covered": cover.covered, "percent": percent, "missing": missing}
