"""What a candidate beside the live bundle costs, in processor time of a whole Check, as ratios: `make candidate`.

Servers with examples/banking run side by side: without a candidate, and with one at a sample of 0, of 1 %, of 100 %,
and of 100 % with a candidate that refuses everything, so that every Check is a disagreement and has an event in the
journal. Every round measures each of them, the first one twice, in turn forwards and backwards; a ratio is that of one
round, and the two runs without a candidate say what a ratio of 1 looks like on this machine. A ratio means little
without the part of the Checks that was compared for it, so that is measured too.
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
from loadtest.candidate_instructions import ALIKE, REFUSE
from loadtest.openloop import sharp_timers
from loadtest.questions import officers
from loadtest.servers import Target

BUDGET = {"all": 1.40, "hundredth": 1.02}  # of the processor time without a candidate
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
    Variant("nothing", 0.0),
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


def measure(
    checks: Bench, cells: Sequence[Cell], rounds: int, seconds: float
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By cell and variant, for each round: microseconds of a Check, and which part of the Checks was compared."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {
        cell.name: {target.name: [] for target in checks.targets} for cell in cells
    }
    for number in range(rounds):
        for cell in cells:
            for target in checks.targets if number % 2 == 0 else reversed(checks.targets):
                before, asked = compared(target), servers.checks(target)
                sample = bench.retried(lambda cell=cell, target=target: checks.run(cell, target, seconds))  # type: ignore[misc]
                part = (compared(target) - before) / (servers.checks(target) - asked)
                found[cell.name][target.name].append((sample.cpu_us, part))
            report.say(f"round {number + 1} of {rounds}: {cell.name:18} {_line(found[cell.name])}")
    return found


def _line(by_variant: dict[str, list[tuple[float, float]]]) -> str:
    base = by_variant["none"][-1][0]
    return ", ".join(
        f"{name} {base:.1f} us" if name == "none" else f"{name} {rows[-1][0] / base:.3f} ({100 * rows[-1][1]:.0f} %)"
        for name, rows in by_variant.items()
    )


def summary(found: dict[str, dict[str, list[tuple[float, float]]]]) -> dict[str, Any]:
    """Medians: ratios to the server without a candidate, and the part that was compared."""
    rows: dict[str, Any] = {}
    for cell, by_variant in found.items():
        base = [us for us, _ in by_variant["none"]]
        rows[cell] = {"none_us": round(median(base), 2)}
        for name, samples in by_variant.items():
            if name != "none":
                ratio = figures.paired([us for us, _ in samples], base)
                rows[cell][name] = ratio._asdict() | {"compared": round(median(part for _, part in samples), 4)}
    return rows


def missed(rows: dict[str, Any]) -> list[str]:
    """One line for each ratio above its budget by more than twice the noise of its median."""
    lines = []
    for cell, row in rows.items():
        for name, budget in BUDGET.items():
            allowed = budget + 2 * row[name]["noise"] / row["rounds"] ** 0.5
            if row[name]["median"] > allowed:
                lines.append(f"{cell}: {name} costs {row[name]['median']:.3f} times as much, budget {budget:.2f}")
    return lines


def main() -> int:
    """Measure and write candidate.json; 1 when a ratio is above its budget."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6, help="of every scenario and server (6)")
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
        for name in ("again", "nothing", "hundredth", "all", "refusing"):
            ratio = row[name]
            report.say(
                f"{cell}: {name:9} {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}), "
                f"{100 * ratio['compared']:.1f} % compared"
            )
    for line in lines:
        report.say(f"FAILED: {line}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
