"""`extauthz bundle`: lint, test and describe a bundle; what it accepts is what the server activates."""

import sys
from pathlib import Path

import click
from msgspec import json

from extauthz.bundle import Built, BundleError, Coverage, Finding, coverage, read_bundle, run_tests
from extauthz.cli import ExitCode
from extauthz.cli.bundle_build import build, keygen, sign_command, verify_command
from extauthz.cli.bundle_report import describe, finding_line, print_results, write_junit
from extauthz.model.ports import NoTokenCache
from extauthz.sources import load_directory

_DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
_FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)


@click.group(name="bundle")
def command() -> None:
    """Lint, test and describe the bundle in a directory; build, sign and verify archives of it."""


for subcommand in (build, sign_command, verify_command, keygen):
    command.add_command(subcommand)


@command.command(
    epilog="""\b
Examples:
  extauthz bundle lint examples/banking
  extauthz bundle lint --strict --format json /etc/extauthz/bundle

\b
Exit codes: 0 no errors (with --strict: no warnings either), 1 errors, 2 wrong usage.
""",
)
@_DIRECTORY
@click.option("--strict", is_flag=True, help="Let warnings fail as well.")
@_FORMAT
def lint(directory: Path, *, strict: bool, form: str) -> None:
    """Print every error and warning of the bundle in DIRECTORY, each with file, line and field."""
    findings, built = _read(directory)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    failed = bool(errors or (strict and warnings))
    if form == "json":
        click.echo(json.encode({"ok": not failed, "errors": errors, "warnings": warnings, "findings": findings}))
    else:
        for finding in findings:
            click.echo(finding_line(finding))
        click.echo(f"{directory}: {_count(errors, 'error')}, {_count(warnings, 'warning')}" + _summary(built))
    sys.exit(ExitCode.FAILED if failed else ExitCode.OK)


@command.command(
    epilog="""\b
Examples:
  extauthz bundle test examples/banking
  extauthz bundle test --junit report.xml --min-coverage 100 examples/banking

\b
Exit codes: 0 all cases pass, 1 a case fails or too few rules are covered, 2 wrong usage,
3 the bundle has errors (see `extauthz bundle lint`), 4 the report cannot be written.
""",
)
@_DIRECTORY
@_FORMAT
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
    built = _read_or_exit(directory)
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


@command.command(
    epilog="""\b
Examples:
  extauthz bundle show examples/banking
  extauthz bundle show --format json examples/banking

\b
Exit codes: 0 success, 2 wrong usage, 3 the bundle has errors (see `extauthz bundle lint`).
""",
)
@_DIRECTORY
@_FORMAT
def show(directory: Path, form: str) -> None:
    """Print revision, digest and contents of the bundle in DIRECTORY."""
    built = _read_or_exit(directory)
    snapshot = built.snapshot
    about = {
        "revision": snapshot.revision,
        "digest": snapshot.digest,
        "documents": snapshot.documents,
        "tenants": len(snapshot.tenants),
        "rules": sum(len(policy.rules) for policy in snapshot.policies.policies),
        "cases": len(built.tests),
        "profiles": [
            {
                "name": profile.name,
                "hosts": [host.text for host in profile.hosts],
                "paths": [path.text for path in profile.paths],
                "authentication": profile.authentication.mode,
            }
            for profile in snapshot.profiles.profiles
        ],
        "issuers": [
            {
                "name": issuer.name,
                "issuer": issuer.issuer,
                "keys": issuer.jwks_file or issuer.jwks_uri or "discovery",
            }
            for issuer in built.issuers
        ],
    }
    click.echo(json.encode(about) if form == "json" else "\n".join(describe(about)))


def _read(directory: Path) -> tuple[list[Finding], Built | None]:
    try:
        built = read_bundle(load_directory(directory), NoTokenCache())
    except BundleError as error:
        return error.findings, None
    return built.warnings, built


def _read_or_exit(directory: Path) -> Built:
    findings, built = _read(directory)
    if built is None:
        for finding in findings:
            click.echo(finding_line(finding), err=True)
        sys.exit(ExitCode.CONFIG)
    return built


def _summary(built: Built | None) -> str:
    if built is None:
        return ""
    counts = ", ".join(f"{count} {kind}" for kind, count in built.snapshot.documents.items() if count)
    return f"; revision {built.snapshot.revision}: {counts}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _cover(cover: Coverage, percent: int) -> dict[str, object]:
    missing = [{"policy": policy, "rule": rule} for policy, rule in cover.missing]
    return {"rules": cover.total, "covered": cover.covered, "percent": percent, "missing": missing}
