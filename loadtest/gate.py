"""Whether a Check still costs what it may: `make gate`, a step of CI that takes about a minute.

First instructions (loadtest/instructions.py), which no neighbour disturbs; then short paired runs of the bench, whose
ratios must stay within what was reached (loadtest/reference/ratios.json, or the budget where that is reached) and what
this machine's noise excuses. What fails is measured once more before it is
a failure. On one core the budgets are reported, not judged, for they are of a server that is pinned to its own.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest import candidate_instructions, figures, instructions, report, servers
from loadtest.bench import BUDGET, cells, compare
from loadtest.bench_runs import OPEN, STREAMS
from loadtest.h2load import LoadError

ROUNDS, SECONDS = 4, 1.0
_REACHED = Path(__file__).parent / "reference" / "ratios.json"
LEAST_TOLERANCE, MOST_TOLERANCE = 0.05, 0.20  # of the budget; noise excuses no more
_DEVIATIONS = 3.0  # of the median of the rounds


def tolerances(rows: Sequence[dict[str, Any]], rounds: int) -> dict[str, float]:
    """By scenario, three standard errors of its ratio as a share of it, within bounds."""
    return {
        row["scenario"]: round(min(MOST_TOLERANCE, max(LEAST_TOLERANCE, _DEVIATIONS * row["noise"] / rounds**0.5)), 4)
        for row in rows
    }


def judge(result: dict[str, Any], budget: dict[str, float]) -> list[str]:
    """One line for each ratio above its budget."""
    return figures.breaches(result["cpu_ratio"], budget, result["tolerance"])


def held() -> dict[str, float]:
    """By scenario, the ratio that must not be lost again: the budget, or what was reached so far where that is more."""
    reached = json.loads(_REACHED.read_text())
    return {name: max(budget, reached.get(name, budget)) for name, budget in BUDGET.items()}


def paired(settings: Sequence[str]) -> dict[str, Any]:
    """A short bench."""
    result = compare(cells((*STREAMS, OPEN), free=False), ROUNDS, SECONDS, settings)
    rows = [row for row in result["cells"] if row["pinned"] == result["pinned"]]
    return result | {"tolerance": tolerances(rows, ROUNDS)}


def ratios(settings: Sequence[str], result: dict[str, Any]) -> list[str]:
    """Measure and judge, twice at most."""
    missed: list[str] = []
    for attempt in (1, 2):
        try:
            found = paired(settings)
        except LoadError as error:
            missed = [f"not measurable: {error}"]
            continue
        result[f"attempt_{attempt}"] = found
        result["cpu_ratio"], result["tolerance"] = found["cpu_ratio"], found["tolerance"]
        missed = judge(found, held())
        if not found["pinned"]:
            report.say(f"one core only: reported, not judged: {found['cpu_ratio']}")
            return []
        if not missed:
            return []
        if attempt == 1:
            report.say(f"above the budget, so once more: {'; '.join(missed)}")
    return missed


def main() -> int:
    """Measure, judge, write gate.json; 1 when something is above its limit twice."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only-instructions", action="store_true", help="leave out the paired runs")
    options.add_argument("--only-ratios", action="store_true", help="leave out the instructions")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = options.parse_args()
    result: dict[str, Any] = {"budget": BUDGET, "held": held(), "environment": report.environment()}
    missed: list[str] = []
    if not given.only_ratios:
        missed += _instructions(result)
    if not given.only_instructions:
        missed += ratios(given.set, result)
    result["missed"] = missed
    report.say_files(report.write(servers.RESULTS, "gate", result, {}, [], missed))
    for line in missed:
        report.say(f"FAILED: {line}")
    if not missed:
        report.say(f"passed: {result.get('cpu_ratio', {})} within {held()}, tolerance {result.get('tolerance', {})}")
    return int(bool(missed))


def _instructions(result: dict[str, Any]) -> list[str]:
    if not instructions.available():
        report.say(instructions.INSTALL)
        return []
    report.say("counting instructions below valgrind")
    counted = instructions.count()
    found = instructions.ratios(counted)
    worse, remarks = instructions.judge(found, instructions.load_reference())
    result["instructions"] = {"counted": counted, "ratios": found, "machine": instructions.machine()}
    for line in remarks:
        report.say(line)
    beside = candidate_instructions.count()
    result["candidate"] = beside
    return worse + candidate_instructions.judge(beside)


if __name__ == "__main__":
    sys.exit(main())
