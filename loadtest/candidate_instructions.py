"""How many instructions a Check takes beside a candidate, by valgrind's callgrind: the same on a busy machine.

A Check is `Handler.answer` over the example bank with cached tokens, in one process without a server, and then what the
candidate does in spare time. The server's own work for a call is not in it, so that the ratios are higher than those
of processor time.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from loadtest import instructions, report
from loadtest.instructions import CHECKS, NOTHING

MODES = ("none", "unsampled", "all", "refusing")
# Of the instructions without a candidate, by what stands beside it. Reached are 1.004, 1.091 and 1.332.
BUDGET = {"unsampled": 1.01, "all": 1.12, "refusing": 1.38}


def inner() -> None:
    """Runs below valgrind, which counts nothing until told."""
    from loadtest.candidate_modes import Modes  # noqa: PLC0415 - only here is it needed
    from loadtest.points import BANK_CASES, questions  # noqa: PLC0415

    # Of the smallest sample there is, practically nothing is compared: what every Check pays.
    modes = Modes({"none": None, "unsampled": 1e-6, "all": 1.0, "refusing": 1.0})
    point = modes.point

    def run(name: str, asked: Sequence[bytes]) -> None:
        modes.choose(name)
        for raw in asked:
            point.answer(raw)
            while modes.is_there:  # as the transport does
                modes.do()
        modes.sweep()

    kinds: dict[str, Callable[[], object]] = {NOTHING: lambda: None}
    for case in BANK_CASES[:2]:  # a rule by role, the cheapest; and one behind a condition over data
        credentials = modes.credentials(case)
        warm, asked = (questions(case, credentials, first, CHECKS) for first in (0, CHECKS))
        for name in MODES:
            run(name, warm)
            kinds[f"{case.name}/{name}"] = partial(run, name, asked)
    instructions.dump(kinds)
    point.close()


def count() -> dict[str, dict[str, int]]:
    """Instructions of a Check, by case and by what stands beside it."""
    counted: dict[str, dict[str, int]] = {}
    for name, total in instructions.count("loadtest.candidate_instructions").items():
        case, _, mode = name.rpartition("/")
        counted.setdefault(case, {})[mode] = total // CHECKS
    return counted


def judge(counted: dict[str, dict[str, int]]) -> list[str]:
    """One line for each candidate that adds more than it may."""
    return [
        f"a candidate ({name}) beside a Check `{case}` takes {modes[name] / modes['none']:.3f} times as many"
        f" instructions as without, budget {budget:.2f}"
        for case, modes in sorted(counted.items())
        for name, budget in BUDGET.items()
        if modes[name] > budget * modes["none"]
    ]


def main() -> int:
    """Count, judge and print; 1 when a candidate adds more than it may."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    if options.parse_args().inner:
        inner()
        return 0
    if not instructions.available():
        report.say(instructions.INSTALL)
        return 0
    counted = count()
    for case, modes in sorted(counted.items()):
        base = modes["none"]
        ratios = ", ".join(f"{name} {modes[name] / base:.3f}" for name in MODES[1:])
        report.say(f"{case:14} {base:7} instructions a Check; {ratios}")
    lines = judge(counted)
    for line in lines:
        report.say(f"FAILED: {line}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
