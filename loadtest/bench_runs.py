"""One run against one server: so many Checks, and the processor time that the server used for them.

Rule 1: an answer counts only if it is the right one: its size, a sample's content and the server's own counters say so.
"""

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from loadtest import h2load, phases, servers
from loadtest.http2 import Answer, Question
from loadtest.openloop import Client, poisson
from loadtest.questions import GRPC_HEADERS
from loadtest.servers import Target

RATE = 1000.0
STREAMS = {"streams_1": 1, "streams_16": 16}  # h2load, one question
VARIED = {"varied_16": 16}  # our own client, different questions
OPEN = "rps_1000"  # the same at a constant rate
MOSTLY = 0.95  # of what comes at a constant rate must be answered by a yes; a machine that stands still sheds the rest
_TRIAL = 400


class Sample(NamedTuple):
    """What one run has measured."""

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
    """Servers and the questions for them."""

    def __init__(self, asked: Sequence[Question], answer_size: int, targets: Sequence[Target], work: Path) -> None:
        """`answer_size`: bytes of a right answer with gRPC's prefix; every answer has that many."""
        self.targets = targets
        self._asked, self._size, self._work = asked, answer_size, work
        self._counts: dict[tuple[str, str], int] = {}  # questions of a closed loop, by server and cell
        self._all = set(servers.cores())

    def run(self, cell: Cell, target: Target, seconds: float) -> Sample:
        """Measure. Raises LoadError when an answer is missing or not the right one."""
        places = servers.cores()
        core = places[servers.CLIENT_CORE] if cell.pinned else None
        servers.pin(target.pid, {places[servers.SERVER_CORE]} if cell.pinned else self._all)
        before = servers.allowed(target) if target.admin else 0.0
        asked, sample = self._measure(cell, target, seconds, core)
        least = MOSTLY if cell.scenario == OPEN else 1.0
        if target.admin and (allowed := servers.allowed(target) - before) < least * asked:
            message = f"the server counts {allowed:g} allowed Checks of {asked} that were answered"
            raise h2load.LoadError(message)
        return sample

    def _measure(self, cell: Cell, target: Target, seconds: float, core: int | None) -> tuple[int, Sample]:
        ask: Callable[[int], h2load.Run]
        if cell.scenario == OPEN:
            return self._use(target, lambda: self._at_a_rate(target, seconds, core))
        if cell.scenario in STREAMS:
            body, streams = self._asked[0].body, STREAMS[cell.scenario]

            def ask(count: int) -> h2load.Run:
                shape = h2load.Shape(streams, count, core=core)
                return h2load.closed_loop(target.address, GRPC_HEADERS, body, shape, self._work)
        else:

            def ask(count: int) -> h2load.Run:
                return self._different(target, VARIED[cell.scenario], count, core)

        place = target.name, cell.name
        if place not in self._counts:
            self._counts[place] = max(200, int(seconds * _TRIAL / ask(_TRIAL).seconds))
        return self._use(target, lambda: ask(self._counts[place]))

    def _use(self, target: Target, ask: Callable[[], h2load.Run]) -> tuple[int, Sample]:
        start = servers.cpu_seconds(target.pid)
        run = ask()
        used = servers.cpu_seconds(target.pid) - start
        if run.body_bytes != run.answered * self._size:
            wanted = run.answered * self._size
            message = f"{target.name}: {run.answered} answers have {run.body_bytes} bytes instead of {wanted}"
            raise h2load.LoadError(message)
        return run.answered, Sample(used / run.answered * 1e6, run.answered / run.seconds, run.latencies)

    def _at_a_rate(self, target: Target, seconds: float, core: int | None) -> h2load.Run:
        arrivals = list(poisson(RATE, seconds, seed=time.time_ns()))
        client = Client(target.address, GRPC_HEADERS, timeout=1.0)
        try:
            with phases.quiet(core):
                answers = [each for some in client.open_loop(arrivals, cycle(self._asked)) for each in some]
        finally:
            client.close()
        right = sum(each.kind == self._size for each in answers)
        if right < MOSTLY * len(answers):
            message = f"{target.name}: of {len(answers)} questions at {RATE:g} a second {right} were answered rightly"
            raise h2load.LoadError(message)
        run = _run(answers, seconds)
        return run._replace(body_bytes=run.answered * self._size)

    def _different(self, target: Target, streams: int, count: int, core: int | None) -> h2load.Run:
        client = Client(target.address, GRPC_HEADERS, timeout=5.0)
        try:
            with phases.quiet(core):
                closed = client.closed_loop(streams, count, cycle(self._asked))
                answers = [each for some in closed for each in some]
        finally:
            client.close()
        return _run(answers, max(each.ended for each in answers) - min(each.due for each in answers))


def _run(answers: Sequence[Answer], seconds: float) -> h2load.Run:
    size = sum(len(each.body) for each in answers)
    return h2load.Run(len(answers), size, seconds, [each.ended - each.due for each in answers])
