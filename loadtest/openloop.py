"""Requests that are sent when they are due, whatever became of earlier ones; latency counts from then.

Rule 1: no coordinated omission: a server that stalls is charged for everything that was due meanwhile.
Rule 2: one thread and no queue but the peer's limits, so that one core drives tens of thousands a second.
Rule 3: the client collects no garbage meanwhile: 100,000 answers take 0.1 s, which the server would be charged with.
"""

import ctypes
import gc
import random
import select
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from time import perf_counter

from loadtest.header_blocks import Header
from loadtest.http2 import Answer, Connection, Question

_TIMER_SLACK = 29  # prctl(PR_SET_TIMERSLACK): the kernel otherwise adds up to 50 us to every sleep
_LONGEST_SLEEP = 0.05


def poisson(rate: float, seconds: float, seed: int = 1) -> Iterator[float]:
    """Arrival times as offsets in seconds: independent clients, as a gateway sees them."""
    generator, due = random.Random(seed), 0.0
    while (due := due + generator.expovariate(rate)) < seconds:
        yield due


def sharp_timers() -> None:
    """Sleeps of this thread end within a microsecond or so of when they should, where the kernel lets us."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_TIMER_SLACK, 1000)


@contextmanager
def _no_collections() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Client:
    """Connections to one server; a connection that the server closes is replaced."""

    def __init__(
        self,
        address: tuple[str, int],
        constant: Sequence[Header],
        *,
        connections: int = 1,
        timeout: float = 0.25,
        read_status: bool = False,
    ) -> None:
        """`timeout`: seconds after which a question is cancelled, as Envoy would."""
        self._connect: Callable[[], Connection] = lambda: Connection(address, constant, read_status=read_status)
        self._connections = [self._connect() for _ in range(connections)]
        self._leaving: list[Connection] = []
        self.late: list[float] = []  # by how many seconds each question was sent later than due, by our own fault
        self._turn, self._timeout, self._expired = 0, timeout, 0.0

    @property
    def in_flight(self) -> int:
        """Questions without an answer."""
        return sum(each.in_flight for each in self.everyone)

    def ask(self, question: Question, due: float) -> None:
        """Send it on the next connection in turn."""
        self._turn = (self._turn + 1) % len(self._connections)
        self._connections[self._turn].ask(question, due)

    def turn(self, wait: float) -> list[Answer]:
        """Send what can be sent, wait for at most that many seconds; what was answered meanwhile."""
        return turn((self,), wait)

    @property
    def everyone(self) -> list[Connection]:
        """Every connection, those that the server is closing too."""
        return [*self._connections, *self._leaving]

    def collect(self) -> list[Answer]:
        """What was answered or given up since the last time."""
        now = perf_counter()
        if now - self._expired > self._timeout / 10:
            self._expired = now
            for each in self.everyone:
                each.expire(now - self._timeout)
        answers: list[Answer] = []
        for each in self.everyone:
            if each.answers:
                answers += each.answers
                each.answers = []
            if each.closing:
                self._replace(each)
        return answers

    def _replace(self, leaving: Connection) -> None:
        if leaving in self._connections:
            fresh = self._connect()
            self._connections[self._connections.index(leaving)] = fresh
            self._leaving.append(leaving)
            for question, due in leaving.take_held():
                fresh.ask(question, due)
        if not leaving.in_flight:
            self._leaving.remove(leaving)
            leaving.close()

    def open_loop(self, offsets: Iterable[float], questions: Iterator[Question]) -> Iterator[list[Answer]]:
        """Ask each question when it is due; the answers as they come, until all have."""
        with _no_collections():
            start = perf_counter() + 0.001
            arrivals = iter(offsets)
            due = next(arrivals, None)
            while due is not None or self.in_flight:
                now = perf_counter() - start
                while due is not None and due <= now:
                    self.late.append(now - due)
                    self.ask(next(questions), start + due)
                    due = next(arrivals, None)
                # After the flush, sleep until the next is due; a flush that took long shortens it.
                wait = _LONGEST_SLEEP if due is None else min(start + due - perf_counter(), _LONGEST_SLEEP)
                if answers := self.turn(wait):
                    yield answers

    def closed_loop(self, streams: int, count: int, questions: Iterator[Question]) -> Iterator[list[Answer]]:
        """Keep `streams` questions in flight until `count` were asked; due is when the place became free."""
        with _no_collections():
            asked = 0
            while asked < count or self.in_flight:
                while asked < count and self.in_flight < streams:
                    self.ask(next(questions), perf_counter())
                    asked += 1
                if answers := self.turn(_LONGEST_SLEEP):
                    yield answers

    def close(self) -> None:
        """Hang up."""
        for each in self.everyone:
            each.close()


def turn(clients: Collection[Client], wait: float) -> list[Answer]:
    """Of several clients at once: send, wait for at most that many seconds, collect."""
    everyone = [each for client in clients for each in client.everyone]
    for each in everyone:
        each.flush()
    readable, _, _ = select.select(everyone, [each for each in everyone if each.pending], [], max(0.0, wait))
    for each in readable:
        each.receive()
    return [answer for client in clients for answer in client.collect()]


def always(question: Question) -> Iterator[Question]:
    """The same question for ever."""
    return cycle((question,))
