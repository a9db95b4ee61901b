"""What a whole Check costs, in processor time, against a no-op stock `grpc.server` in the same minutes: `make bench`.

Both servers run; every round measures each of them at one stream, at sixteen and at 1,000 requests a second, pinned to
a core of their own and free, in rotated order. The ratio is the median over the rounds of each round's own ratio, so
that a busy neighbour slows both of a pair alike.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from extauthz.cli.demo_stack import start_issuer
from loadtest import figures, h2load, report, servers
from loadtest.http2 import Question
from loadtest.openloop import Client, always, poisson, sharp_timers
from loadtest.questions import GRPC_HEADERS, framed, officer, read_answer
from loadtest.servers import Target

BUDGET = {"streams_1": 0.55, "streams_16": 0.40, "rps_1000": 0.65}
STREAMS = {"streams_1": 1, "streams_16": 16}
RATE = 1000.0
CLIENT_CORE, SERVER_CORE = 0, 1  # places in the list of cores we may use
_WARM_UP = 300
_CALIBRATION = 400


class Sample(NamedTuple):
    """One run against one server."""

    cpu_us: float  # of the server, for one Check
    rps: float
    latencies: list[float]  # seconds


class Cell(NamedTuple):
    """One scenario, pinned or free."""

    scenario: str
    pinned: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.scenario} {'pinned' if self.pinned else 'free'}"


class Bench:
    """Two servers and the questions for them."""

    def __init__(self, question: bytes, answer_size: int, targets: Sequence[Target], work: Path) -> None:
        """`answer_size`: bytes of a right answer with gRPC's prefix; every answer has that many."""
        self._question, self._size, self.targets, self._work = question, answer_size, targets, work
        self._counts: dict[tuple[str, str], int] = {}  # questions of a closed loop, by server and scenario
        self._all = set(servers.cores())

    def run(self, cell: Cell, target: Target, seconds: float) -> Sample:
        """Measure. Raises LoadError when an answer is missing or not the right one."""
        places = servers.cores()
        client = places[CLIENT_CORE] if cell.pinned else None
        servers.pin(target.pid, {places[SERVER_CORE]} if cell.pinned else self._all)
        before = _allowed(target)
        if cell.scenario in STREAMS:
            asked, sample = self._closed(target, cell, seconds, client)
        else:
            asked, sample = self._open(target, seconds, client)
        if target.admin and (allowed := _allowed(target) - before) < asked:
            message = f"the server counts {allowed:g} allowed Checks of {asked} that were answered"
            raise h2load.LoadError(message)
        return sample

    def _closed(self, target: Target, cell: Cell, seconds: float, core: int | None) -> tuple[int, Sample]:
        streams, place = STREAMS[cell.scenario], (target.name, cell.name)
        if place not in self._counts:
            rate = _CALIBRATION / self._ask(target, streams, _CALIBRATION, core).seconds
            self._counts[place] = max(200, int(seconds * rate))
        count = self._counts[place]
        start = servers.cpu_seconds(target.pid)
        run = self._ask(target, streams, count, core)
        used = servers.cpu_seconds(target.pid) - start
        if run.body_bytes != count * self._size:
            message = f"{target.name}: {count} answers have {run.body_bytes} bytes instead of {count * self._size}"
            raise h2load.LoadError(message)
        return count, Sample(used / count * 1e6, count / run.seconds, run.latencies)

    def _ask(self, target: Target, streams: int, count: int, core: int | None) -> h2load.Run:
        shape = h2load.Shape(streams, count, core=core)
        return h2load.closed_loop(target.address, GRPC_HEADERS, self._question, shape, self._work)

    def _open(self, target: Target, seconds: float, core: int | None) -> tuple[int, Sample]:
        if core is not None:
            os.sched_setaffinity(0, {core})
        client = Client(target.address, GRPC_HEADERS)
        try:
            arrivals = list(poisson(RATE, seconds, seed=time.time_ns()))
            start = servers.cpu_seconds(target.pid)
            asked = always(Question(b"", self._question))
            answers = [each for some in client.open_loop(arrivals, asked) for each in some]
            used = servers.cpu_seconds(target.pid) - start
        finally:
            client.close()
            os.sched_setaffinity(0, self._all)
        wrong = sum(each.kind != self._size for each in answers)
        if wrong:
            message = f"{target.name}: {wrong} of {len(answers)} answers at {RATE:g} a second are not the right one"
            raise h2load.LoadError(message)
        latencies = [each.ended - each.due for each in answers]
        return len(answers), Sample(used / len(answers) * 1e6, len(answers) / seconds, latencies)


def _allowed(target: Target) -> float:
    if not target.admin:
        return 0.0
    return servers.counters(target, "extauthz_checks_total", "outcome").get(("allow",), 0.0)


def measure(bench: Bench, cells: Sequence[Cell], rounds: int, seconds: float) -> dict[str, list[list[Sample]]]:
    """By name of the cell, for each round, a sample of each target in their order."""
    found: dict[str, list[list[Sample]]] = {cell.name: [] for cell in cells}
    for number in range(rounds):
        turn = number % len(cells)
        for cell in (*cells[turn:], *cells[:turn]):
            order = list(bench.targets) if number % 2 == 0 else list(reversed(bench.targets))
            samples = {target.name: _retried(partial(bench.run, cell, target, seconds)) for target in order}
            row = [samples[target.name] for target in bench.targets]
            found[cell.name].append(row)
            mine, base = row
            report.say(
                f"round {number + 1} of {rounds}: {cell.name:18} extauthz {mine.cpu_us:6.1f} us,"
                f" no-op {base.cpu_us:6.1f} us, ratio {mine.cpu_us / base.cpu_us:.3f}"
            )
    return found


def _retried(run: Callable[[], Sample]) -> Sample:
    """A machine that stood still for a moment is no result; twice in a row is."""
    try:
        return run()
    except h2load.LoadError as error:
        report.say(f"once more, because {error}")
        return run()


def row(cell: Cell, samples: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """The figures of one cell."""
    mine, base = ([pair[place].cpu_us for pair in samples] for place in (0, 1))
    ratio = figures.paired(mine, base)
    found: dict[str, Any] = {"scenario": cell.scenario, "pinned": cell.pinned, **ratio._asdict()}
    for place, name in enumerate(("extauthz", "noop")):
        found[name] = {
            "cpu_us": round(median(pair[place].cpu_us for pair in samples), 2),
            "rps": round(median(pair[place].rps for pair in samples), 1),
            "latency_ms": figures.latency_ms([each for pair in samples for each in pair[place].latencies]),
        }
    return found


def cells(*, free: bool) -> list[Cell]:
    """What is measured; pinned only where there are two cores."""
    kinds = [True] if len(servers.cores()) > 1 else []
    if free or not kinds:
        kinds.append(False)
    return [Cell(scenario, pinned) for pinned in kinds for scenario in (*STREAMS, "rps_1000")]


def compare(rounds: int, seconds: float, *, free: bool = True, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Start both servers, measure, and return what belongs into bench.json."""
    sharp_timers()
    h2load.say_if_absent()
    measured = cells(free=free)
    if not measured[0].pinned:
        report.say("this machine lets us use one core: nothing is pinned, and the ratios say less")
    with tempfile.TemporaryDirectory(prefix="extauthz-bench-") as name, ExitStack() as stack:
        work = Path(name)
        report.say("starting the issuer, extauthz with examples/banking, and the no-op server")
        issuer = start_issuer(work, stack)
        mine = servers.start_extauthz(work, stack, issuer, settings)
        question = framed(officer(issuer))
        answer = _sample(mine, question)
        base = servers.start_noop(work, stack, answer[5:])
        for target in (mine, base):
            _warm_up(target, question)
        bench = Bench(question, len(answer), (mine, base), work)
        transport = servers.transport_kind(mine)
        report.say(f"transport {transport}, a question of {len(question)} bytes, an answer of {len(answer)}")
        found = measure(bench, measured, rounds, seconds)
    rows = [row(cell, found[cell.name]) for cell in measured]
    strict = measured[0].pinned
    return {
        "cpu_ratio": {each["scenario"]: each["median"] for each in rows if each["pinned"] == strict},
        "cpu_ratio_free": {each["scenario"]: each["median"] for each in rows if not each["pinned"]},
        "pinned": strict,
        "transport": transport,
        "rounds": rounds,
        "seconds": seconds,
        "client": "h2load" if h2load.available() else "own",
        "budget": BUDGET,
        "cells": rows,
        "environment": report.environment(),
    }


def _sample(target: Target, question: bytes) -> bytes:
    """One answer, after the token was verified; ends here unless all of many are an explicit yes of one size."""
    client = Client(target.address, GRPC_HEADERS, timeout=5)
    asked = always(Question(b"", question))
    answers = [each for some in client.closed_loop(1, _WARM_UP, asked) for each in some]
    client.close()
    found = {read_answer(each.body) for each in answers if each.kind > 0}
    if found != {(200, "policy_allowed")} or len({each.kind for each in answers}) != 1:
        sys.exit(f"the server does not allow the question: {found}, { ({each.kind for each in answers}) }")
    return answers[-1].body


def _warm_up(target: Target, question: bytes) -> None:
    client = Client(target.address, GRPC_HEADERS, timeout=5)
    for _ in client.closed_loop(16, 10 * _WARM_UP, always(Question(b"", question))):
        pass
    client.close()


def steps() -> Any:  # noqa: ANN401 - whatever the other script measured
    """The breakdown by step, from loadtest/steps.py."""
    if not (servers.HOME / "steps.py").exists():
        return None
    report.say("where the time goes: loadtest/steps.py")
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.steps", "--json"], cwd=servers.ROOT, check=False, stdout=subprocess.PIPE
    )
    if done.returncode:
        report.say(f"loadtest/steps.py ended with {done.returncode}")
        return None
    return json.loads(done.stdout)


def write(result: dict[str, Any]) -> list[Path]:
    """bench.json, plots and page."""
    rows, scenarios = result["cells"], list(BUDGET)
    groups = [
        report.Series(name, scenarios, [each["median"] for each in rows if each["pinned"] == pinned])
        for name, pinned in (("pinned", True), ("free", False))
        if any(each["pinned"] == pinned for each in rows)
    ]
    cost = [
        report.Series(name, scenarios, [each[name]["cpu_us"] for each in rows if each["pinned"] == result["pinned"]])
        for name in ("extauthz", "noop")
    ]
    plots = {
        "ratio": report.bars("CPU of a whole Check, no-op stock server = 1 (red: budget)", "ratio", groups, BUDGET),
        "cpu": report.bars("CPU of one request", "microseconds", cost),
    }
    table = report.Table(
        f"CPU for one Check, transport {result['transport']}, {result['rounds']} rounds",
        ("scenario", "pinned", "ratio", "lowest", "highest", "budget", "extauthz us", "no-op us", "p50 ms", "p99 ms"),
        [
            (
                *(each["scenario"], each["pinned"], each["median"], each["low"], each["high"]),
                *(BUDGET[each["scenario"]], each["extauthz"]["cpu_us"], each["noop"]["cpu_us"]),
                *(each["extauthz"]["latency_ms"]["p50"], each["extauthz"]["latency_ms"]["p99"]),
            )
            for each in rows
        ],
    )
    around = report.Table("Measured on", ("", ""), list(result["environment"].items()))
    return report.write(servers.RESULTS, "bench", result, plots, [table, around])


def main() -> int:
    """Measure and write; always 0, `make gate` judges."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5, help="of every scenario and server (5)")
    options.add_argument("--seconds", type=float, default=2.0, help="of one run (2)")
    options.add_argument("--only-ratios", action="store_true", help="leave out steps and scaling")
    options.add_argument("--pinned-only", action="store_true", help="leave out the runs that are not pinned")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = options.parse_args()
    result = compare(given.rounds, given.seconds, free=not given.pinned_only, settings=given.set)
    if not given.only_ratios:
        result["steps"] = steps()
    report.say_files(write(result))
    for name, ratio in result["cpu_ratio"].items():
        report.say(f"{name}: {ratio:.3f} of the no-op server's CPU (budget {BUDGET[name]:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
