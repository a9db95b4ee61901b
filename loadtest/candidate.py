"""What a candidate beside the live bundle costs, in processor time of a whole Check, as ratios: `make candidate`.

Servers with examples/banking run side by side: two without a candidate, and with one at a sample of 1 %, of 100 %, and
of 100 % with a candidate that refuses everything, so that every Check is a disagreement and has an event in the
journal. Each is measured in turn with the first one (A B, then B A, and so on), and a ratio is that of two runs next to
each other; the second server without a candidate says what a ratio of 1 looks like on this machine. A ratio means
little without the part of the Checks that was compared for it, so that is measured too. Two per cent are less than
what most machines can tell by time: what 1 % costs is settled by instructions, see candidate_whole.py.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx

from extauthz.cli.demo_stack import CHECKOUT, Issuer, copy_bundle, start_issuer
from loadtest import bench, figures, h2load, report, servers
from loadtest.bench_runs import OPEN, Bench, Cell
from loadtest.candidate_modes import ALIKE, REFUSE
from loadtest.openloop import sharp_timers
from loadtest.questions import officers
from loadtest.servers import Target

BUDGET = {"all": 1.40, "hundredth": 1.02}  # of the processor time without a candidate
MOST_NOISE = 0.15  # of a ratio that is to be judged
MOST_COMPARED = 0.99  # of the Checks, at a sample of 1
_PATIENCE_SECONDS = 60.0
SCENARIOS = ("streams_1", "streams_16", OPEN)


class Variant(NamedTuple):
    """A server, and what is compared there."""

    name: str
    sample: float | None = None  # None: no candidate
    policy: str = ALIKE


VARIANTS = (
    Variant("none"),
    Variant("again"),
    Variant("hundredth", 0.01),
    Variant("all", 1.0),
    Variant("refusing", 1.0, REFUSE),
)


def start(variant: Variant, work: Path, stack: ExitStack, issuer: Issuer, share: float) -> Target:
    """The server of a variant, in a place of its own."""
    own = work / variant.name
    own.mkdir()
    settings: list[str] = []
    if variant.sample is not None:
        bundle = copy_bundle(CHECKOUT / "examples" / "banking", own / "candidate", issuer)
        (bundle / "policies" / "of-the-candidate.yaml").write_text(variant.policy)
        settings = [
            f"bundle.candidate.directory={bundle}",
            f"bundle.candidate.sample={variant.sample}",
            f"bundle.candidate.maxShare={share}",
            "bundle.candidate.runTests=false",
        ]
    target = servers.start_extauthz(own, stack, issuer, settings)._replace(name=variant.name)
    end = time.monotonic() + _PATIENCE_SECONDS
    while settings and not _status(target)["revision"]:  # no server waits for its candidate
        if time.monotonic() > end:
            sys.exit(f"{variant.name}: no candidate: {_status(target)}")
        time.sleep(0.05)
    return target


def _status(target: Target) -> dict[str, Any]:
    return dict(httpx.get(f"{target.admin}/status").json()["candidate"])


def compared(target: Target) -> float:
    """Checks that the candidate was given so far."""
    return sum(servers.counters(target, "extauthz_candidate_checks_total").values())


class Run(NamedTuple):
    """A run, and the one without a candidate next to it: microseconds of a Check."""

    us: float
    none_us: float
    compared: float  # which part of the Checks was


def measure(checks: Bench, cells: Sequence[Cell], rounds: int, seconds: float) -> dict[str, dict[str, list[Run]]]:
    """By cell and variant, for each round."""
    none, *others = checks.targets
    found: dict[str, dict[str, list[Run]]] = {cell.name: {each.name: [] for each in others} for cell in cells}

    def once(cell: Cell, target: Target) -> float:
        return float(bench.retried(lambda: checks.run(cell, target, seconds)).cpu_us)

    for number in range(rounds):
        for cell in cells:
            for target in others if number % 2 == 0 else reversed(others):
                base = once(cell, none) if number % 2 == 0 else 0.0
                before, asked = compared(target), servers.checks(target)
                us = once(cell, target)
                part = (compared(target) - before) / (servers.checks(target) - asked)
                found[cell.name][target.name].append(Run(us, base or once(cell, none), part))
            report.say(f"round {number + 1} of {rounds}: {cell.name:18} {_line(found[cell.name])}")
    return found


def _line(by_variant: dict[str, list[Run]]) -> str:
    last = {name: runs[-1] for name, runs in by_variant.items()}
    return ", ".join(f"{name} {run.us / run.none_us:.3f} of {run.none_us:.1f} us" for name, run in last.items())


def summary(found: dict[str, dict[str, list[Run]]]) -> dict[str, Any]:
    """Medians: ratios to the server without a candidate, and the part that was compared."""
    rows: dict[str, Any] = {}
    for cell, by_variant in found.items():
        rows[cell] = {"none_us": round(median(run.none_us for runs in by_variant.values() for run in runs), 2)}
        for name, runs in by_variant.items():
            ratio = figures.paired([run.us for run in runs], [run.none_us for run in runs])
            rows[cell][name] = ratio._asdict() | {"compared": round(median(run.compared for run in runs), 4)}
    return rows


def error(row: dict[str, Any], name: str) -> float:
    """By how much the median may be off, as a share: twice the standard error of this ratio, or of nothing at all."""
    return round(2 * float(max(row[name]["noise"], row["again"]["noise"])) / row["rounds"] ** 0.5, 4)


def missed(rows: dict[str, Any]) -> list[str]:
    """One line for each ratio above its budget by more than the noise, and for each that was not of all Checks."""
    lines = []
    for cell, row in rows.items():
        for name, budget in BUDGET.items():
            if row[name]["median"] > budget + error(row, name):
                lines.append(f"{cell}: {name} costs {row[name]['median']:.3f} times as much, budget {budget:.2f}")
        if error(row, "all") > MOST_NOISE:
            lines.append(f"{cell}: not settled, the median may be off by {error(row, 'all'):.3f}: the machine was busy")
        if row["all"]["compared"] < MOST_COMPARED:
            lines.append(f"{cell}: only {row['all']['compared']:.1%} of the Checks were compared")
    return lines


def verdicts(rows: dict[str, Any]) -> list[str]:
    """For each scenario and budget, one line that says all."""
    return [
        f"{cell}: {name} {row[name]['median']:.3f} +- {error(row, name):.3f} ({row[name]['compared']:.1%} compared),"
        f" budget {budget:.2f}, two runs without a candidate {row['again']['median']:.3f} +- {error(row, 'again'):.3f}"
        for cell, row in rows.items()
        for name, budget in BUDGET.items()
    ]


def main() -> int:
    """Measure and write candidate.json; 1 when a ratio is above its budget."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=8, help="of every scenario and server (8)")
    options.add_argument("--seconds", type=float, default=2.0, help="of one run (2)")
    options.add_argument("--share", type=float, default=0.35, help="bundle.candidate.maxShare (0.35)")
    options.add_argument("--scenarios", nargs="*", default=SCENARIOS, choices=SCENARIOS)
    given = options.parse_args()
    sharp_timers()
    h2load.say_if_absent()
    with tempfile.TemporaryDirectory(prefix="extauthz-candidate-") as name, ExitStack() as stack:
        work = Path(name)
        issuer = start_issuer(work, stack)
        report.say(f"starting {len(VARIANTS)} servers")
        targets = [start(variant, work, stack, issuer, given.share) for variant in VARIANTS]
        asked = officers(issuer, bench.QUESTIONS, bench.CALLERS)
        (size,) = {len(bench.warm_up(target, asked)) for target in targets}
        cells = bench.cells(given.scenarios, free=False)
        found = measure(Bench(asked, size, targets, work), cells, given.rounds, given.seconds)
    rows = {cell: row | {"rounds": given.rounds} for cell, row in summary(found).items()}
    lines = missed(rows)
    result = {
        "budget": BUDGET,
        "share": given.share,
        "seconds": given.seconds,
        "cells": rows,
        "missed": lines,
        "environment": report.environment(),
    }
    report.say_files(report.write(servers.RESULTS, "candidate", result, {}, [], lines))
    for cell, row in rows.items():
        ratio = row["refusing"]
        report.say(f"{cell}: every one a disagreement {ratio['median']:.3f}, {ratio['compared']:.1%} compared")
    for line in verdicts(rows):
        report.say(line)
    for line in lines:
        report.say(f"FAILED: {line}")
    if not lines:
        report.say("PASSED: a candidate costs no more than it may")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
