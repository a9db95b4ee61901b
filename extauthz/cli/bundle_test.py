"""`extauthz bundle test`: run a bundle's own PolicyTests, say what they cover and what they would not notice."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, json

from extauthz.bundle import BundleError
from extauthz.bundle.coverage import Coverage
from extauthz.bundle.trial import CaseRun, Trial
from extauthz.cli import ExitCode
from extauthz.cli.bundle_coverage import as_json, print_table, summary
from extauthz.cli.bundle_directory import DIRECTORY, FORMAT
from extauthz.cli.bundle_jobs import Files, processes, spread
from extauthz.cli.bundle_junit import write_junit
from extauthz.cli.bundle_mutate import Score, mutate, print_score
from extauthz.cli.bundle_mutate import as_json as score_as_json
from extauthz.cli.bundle_report import finding_line, print_results
from extauthz.sources import load_files

_CASES_WORTH_A_PROCESS = 400  # a process takes about as long to start as so many cases
_REPORT = click.Path(dir_okay=False, path_type=Path)


class Options(Struct, frozen=True, kw_only=True):
    """What the command line says."""

    form: str
    junit: Path | None
    coverage_file: Path | None
    min_coverage: int
    jobs: int
    verbose: bool
    mutate: bool
    min_score: int
    max_seconds: int


@click.command(
    epilog="""\b
Examples:
  extauthz bundle test examples/banking
  extauthz bundle test --junit report.xml --coverage coverage.json --min-coverage 100 examples/banking
  extauthz bundle test --mutate --min-score 95 examples/banking

\b
Exit codes: 0 all cases pass and they show enough, 1 otherwise, 2 wrong usage,
3 the bundle has errors (see `extauthz bundle lint`), 4 a report cannot be written.
""",
)
@DIRECTORY
@FORMAT
@click.option("--junit", type=_REPORT, help="Also write a JUnit report to this file.")
@click.option("--coverage", "coverage_file", type=_REPORT, help="Also write what is covered to this file, as JSON.")
@click.option(
    "--min-coverage",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Percentage of what the cases must show: each rule decides and refuses, each branch is taken.",
)
@click.option(
    "--mutate", is_flag=True, help="Also change the bundle in every way that matters, and list what no case notices."
)
@click.option(
    "--min-score",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Percentage of mutants that some case must notice; with --mutate.",
)
@click.option(
    "--max-seconds", type=click.IntRange(1), default=600, show_default=True, help="When to stop; with --mutate."
)
@click.option("-j", "--jobs", type=click.IntRange(0), default=0, help="Processes; as many as are worth it when absent.")
@click.option("-v", "--verbose", is_flag=True, help="Also list the cases that pass, and what each rule has shown.")
def test(directory: Path, **given: Any) -> None:  # noqa: ANN401 - the fields of Options
    """Run the PolicyTests of the bundle in DIRECTORY through the function that serves."""
    options = Options(**given)
    if options.min_score and not options.mutate:
        raise click.UsageError("--min-score goes with --mutate")  # noqa: EM101, TRY003 - a sentence for the user
    files, trial = _open(directory)
    runs = _run(files, trial, options.jobs)
    cover = trial.coverage(run for run, _ in runs)
    score = None
    failed = any(not run.result.passed for run, _ in runs)
    if options.mutate and not failed:
        score = mutate(files, options.jobs, options.max_seconds)
        failed = score.percent < options.min_score
    failed = failed or cover.percent < options.min_coverage
    if options.junit is not None:
        _write(options.junit, lambda path: write_junit(path, [(run.result, seconds) for run, seconds in runs]))
    if options.coverage_file is not None:
        _write(options.coverage_file, lambda path: path.write_bytes(json.format(json.encode(as_json(cover)))))
    _print(options, runs, cover, score, ok=not failed)
    sys.exit(ExitCode.FAILED if failed else ExitCode.OK)


def _open(directory: Path) -> tuple[Files, Trial]:
    try:
        files = load_files(directory)
        return files, Trial(files)
    except BundleError as error:
        for finding in error.findings:
            click.echo(finding_line(finding), err=True)
        sys.exit(ExitCode.CONFIG)


def _run(files: Files, trial: Trial, jobs: int) -> list[tuple[CaseRun, float]]:
    """Every case and how many seconds it took, in the order of the documents."""
    count = len(trial.bench.cases)
    jobs = processes(jobs, count, _CASES_WORTH_A_PROCESS)
    start = (lambda _: trial) if jobs == 1 else Trial
    return [run for _, run in sorted(spread(files, start, timed, range(count), jobs), key=lambda each: each[0])]


def timed(trial: Trial, number: int) -> tuple[CaseRun, float]:
    """One case, and how many seconds it took."""
    began = time.perf_counter()
    return trial.run(number), time.perf_counter() - began


def _print(
    options: Options, runs: list[tuple[CaseRun, float]], cover: Coverage, score: Score | None, *, ok: bool
) -> None:
    results = [run.result for run, _ in runs]
    if options.form == "json":
        report = {"ok": ok, "cases": results, "coverage": as_json(cover)}
        click.echo(json.encode(report | ({"mutation": score_as_json(score)} if score else {})))
        return
    print_results(results, verbose=options.verbose)
    if options.verbose or cover.percent < options.min_coverage:
        print_table(cover)
    if score is not None:
        print_score(score)
    passed = sum(result.passed for result in results)
    click.echo(f"{passed} of {len(results)} cases pass; {summary(cover)}")
    if options.mutate and score is None:
        click.echo("no mutant was tried: they are held against cases that pass")


def _write(path: Path, write: Callable[[Path], object]) -> None:
    try:
        write(path)
    except OSError as error:
        click.echo(f"extauthz: {path}: {(error.strerror or str(error)).lower()}", err=True)
        sys.exit(ExitCode.RESOURCE)
