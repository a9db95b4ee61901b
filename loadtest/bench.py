"""What a whole Check costs, in processor time, against a no-op stock `grpc.server` in the same minutes: `make bench`.

Both servers run; every round measures each of them at one stream, at sixteen and at 1,000 requests a second, pinned to
a core of their own and free, in rotated order. The ratio is the median over the rounds of each round's own ratio, so
that a busy neighbour slows both of a pair alike.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from extauthz.cli.demo_stack import start_issuer
from loadtest import bench_report, figures, h2load, memory, report, servers
from loadtest.bench_runs import OPEN, STREAMS, VARIED, Bench, Cell, Sample
from loadtest.http2 import Question
from loadtest.openloop import Client, sharp_timers
from loadtest.questions import GRPC_HEADERS, officers, read_answer
from loadtest.servers import Target

BUDGET = {"streams_1": 0.55, "streams_16": 0.40, "rps_1000": 0.65}
QUESTIONS = 1000  # different ones, of as many callers as have their tokens cached
CALLERS = 10
ATTEMPTS, PAUSE_SECONDS = 3, 2.0


def measure(bench: Bench, cells: Sequence[Cell], rounds: int, seconds: float) -> dict[str, list[list[Sample]]]:
    """By name of the cell, for each round, a sample of each target in their order."""
    found: dict[str, list[list[Sample]]] = {cell.name: [] for cell in cells}
    for number in range(rounds):
        turn = number % len(cells)
        for cell in (*cells[turn:], *cells[:turn]):
            order = list(bench.targets) if number % 2 == 0 else list(reversed(bench.targets))
            samples = {target.name: retried(partial(bench.run, cell, target, seconds)) for target in order}
            row = [samples[target.name] for target in bench.targets]
            found[cell.name].append(row)
            mine, base = row
            report.say(
                f"round {number + 1} of {rounds}: {cell.name:18} extauthz {mine.cpu_us:6.1f} us,"
                f" no-op {base.cpu_us:6.1f} us, ratio {mine.cpu_us / base.cpu_us:.3f}"
            )
    return found


def retried(run: Callable[[], Sample]) -> Sample:
    """A machine that stood still for a moment is no result; three times in a row is."""
    for _ in range(ATTEMPTS - 1):
        try:
            return run()
        except h2load.LoadError as error:
            report.say(f"once more, because {error}")
            time.sleep(PAUSE_SECONDS)
    return run()


def row(cell: Cell, samples: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """The figures of one cell; of each round a pair (extauthz, no-op)."""
    mine, base = ([pair[place].cpu_us for pair in samples] for place in (0, 1))
    found: dict[str, Any] = {
        "scenario": cell.scenario,
        "pinned": cell.pinned,
        **figures.paired(mine, base)._asdict(),
        "ratios": [round(a / b, 4) for a, b in zip(mine, base, strict=True)],
    }
    for place, name in enumerate(("extauthz", "noop")):
        found[name] = {
            "cpu_us": round(median(pair[place].cpu_us for pair in samples), 2),
            "rps": round(median(pair[place].rps for pair in samples), 1),
            "latency_ms": figures.latency_ms([each for pair in samples for each in pair[place].latencies]),
        }
    return found


def cells(scenarios: Sequence[str], *, free: bool) -> list[Cell]:
    """What is measured; pinned only where there are two cores."""
    kinds = [True] if len(servers.cores()) > 1 else []
    if free or not kinds:
        kinds.append(False)
    return [Cell(scenario, pinned) for pinned in kinds for scenario in scenarios]


def summary(rows: Sequence[dict[str, Any]], transport: str, rounds: int, seconds: float) -> dict[str, Any]:
    """What is in bench.json before steps and scaling; the ratios that are judged are the pinned ones."""
    strict = any(each["pinned"] for each in rows)
    return {
        "cpu_ratio": {
            each["scenario"]: each["median"] for each in rows if each["pinned"] == strict and each["scenario"] in BUDGET
        },
        "cpu_ratio_free": {each["scenario"]: each["median"] for each in rows if not each["pinned"]},
        "pinned": strict,
        "transport": transport,
        "rounds": rounds,
        "seconds": seconds,
        "client": "h2load" if h2load.available() else "own",
        "budget": BUDGET,
        "cells": list(rows),
        "environment": report.environment(),
    }


def compare(measured: Sequence[Cell], rounds: int, seconds: float, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Start both servers, measure, and return what belongs into bench.json."""
    sharp_timers()
    h2load.say_if_absent()
    if not measured[0].pinned:
        report.say("this machine lets us use one core: nothing is pinned, and the ratios say less")
    with tempfile.TemporaryDirectory(prefix="extauthz-bench-") as name, ExitStack() as stack:
        work = Path(name)
        report.say("starting the issuer, extauthz with examples/banking, and the no-op server")
        issuer = start_issuer(work, stack)
        mine = servers.start_extauthz(work, stack, issuer, settings)
        asked = officers(issuer, QUESTIONS, CALLERS)
        answer = warm_up(mine, asked)
        base = servers.start_noop(work, stack, answer[5:])
        warm_up(base, asked)
        transport = servers.transport_kind(mine)
        size = len(asked[0].body)
        report.say(f"transport {transport}, a question of {size} bytes, an answer of {len(answer)}")
        found = measure(Bench(asked, len(answer), (mine, base), work), measured, rounds, seconds)
    return summary([row(cell, found[cell.name]) for cell in measured], transport, rounds, seconds)


def warm_up(target: Target, asked: Sequence[Question]) -> bytes:
    """One of many answers; ends here unless all are an explicit yes of one size."""
    client = Client(target.address, GRPC_HEADERS, timeout=5)
    for _ in range(2):
        answers = [each for some in client.closed_loop(4, len(asked), cycle(asked)) for each in some]
    client.close()
    found, sizes = {read_answer(each.body) for each in answers if each.kind > 0}, {each.kind for each in answers}
    if found != {(200, "policy_allowed")} or len(sizes) != 1:
        sys.exit(f"{target.name} does not allow every question alike: {found}, sizes {sizes}")
    return answers[-1].body


def steps() -> dict[str, Any]:
    """The breakdown by step and the growth with size, from loadtest/steps.py; {} when it fails."""
    report.say("where the time goes, and how it grows with policies, tenants, headers and tokens: loadtest/steps.py")
    with tempfile.TemporaryDirectory(prefix="extauthz-steps-") as work:
        file = Path(work) / "steps.json"
        command: list[str | Path] = [sys.executable, servers.HOME / "steps.py", "--json", file]
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
        if done.returncode:
            report.say(f"loadtest/steps.py ended with {done.returncode}")
            return {}
        return dict(json.loads(file.read_text()))


def main() -> int:
    """Measure and write; always 0, `make gate` judges."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5, help="of every scenario and server (5)")
    options.add_argument("--seconds", type=float, default=2.0, help="of one run (2)")
    options.add_argument("--only-ratios", action="store_true", help="leave out memory, steps and growth")
    options.add_argument("--pinned-only", action="store_true", help="leave out the runs that are not pinned")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = options.parse_args()
    measured = cells((*STREAMS, OPEN, *VARIED), free=not given.pinned_only)
    result = compare(measured, given.rounds, given.seconds, given.set)
    if not given.only_ratios:
        result["memory"] = memory.measure()
        result |= {name: value for name, value in steps().items() if name != "rounds"}
    report.say_files(bench_report.write(result))
    for name, ratio in result["cpu_ratio"].items():
        report.say(f"{name}: {ratio:.3f} of the no-op server's CPU (budget {BUDGET[name]:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
