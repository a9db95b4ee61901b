"""Constant rates against one server: what came of the Checks, what the client itself used, when calm returned."""

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from time import perf_counter, process_time

from msgspec import Struct

from loadtest.figures import percentile
from loadtest.http2 import Question
from loadtest.openloop import Client, poisson
from loadtest.tally import Tally

WINDOW = 0.1  # seconds in which recovery is looked for
STEADY = 3  # windows in a row that must be good


class Load(Struct):
    """One phase."""

    tally: Tally
    start: float  # of `perf_counter`
    offered_rps: float
    client_share: float  # of one core
    client_late_ms: float  # p99 of how much later than due a Check was sent


@contextmanager
def quiet(core: int | None) -> Iterator[None]:
    """Run the calling thread on that core (None: anywhere) and without the collector."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.sched_setaffinity(0, before)


def rates(steps: Sequence[tuple[float, float]], seed: int = 1) -> Iterator[float]:
    """Arrivals of several (rate, seconds) one after the other."""
    start = 0.0
    parts: list[Iterable[float]] = []
    for number, (rate, seconds) in enumerate(steps):
        parts.append([start + offset for offset in poisson(rate, seconds, seed + number)])
        start += seconds
    return chain.from_iterable(parts)


def run(client: Client, steps: Sequence[tuple[float, float]], questions: Iterator[Question], seed: int = 1) -> Load:
    """Ask at these rates, (a second, seconds) each, until everything is answered or given up."""
    offsets = list(rates(steps, seed))
    client.late.clear()
    used, start = process_time(), perf_counter()
    tally = Tally().take(client.open_loop(offsets, questions))
    share = (process_time() - used) / (perf_counter() - start)
    late = percentile(sorted(client.late), 0.99) * 1000
    return Load(tally, start, len(offsets) / sum(seconds for _, seconds in steps), round(share, 3), round(late, 3))


def part(load: Load, first: float, last: float) -> Tally:
    """What was due between these seconds since the start."""
    found = Tally()
    for due, latency, outcome in load.tally.timeline:
        if first <= due - load.start < last:
            found.count(due, latency, outcome)
    return found


def recovery(load: Load, after: float, good: str, most_seconds: float) -> float:
    """Seconds from `after` (since the start) until windows are good again: all of outcome `good`, p99 below the limit.

    As long as the phase itself when they never were.
    """
    windows: dict[int, list[tuple[float, str]]] = {}
    for due, latency, outcome in load.tally.timeline:
        since = due - load.start - after
        if since >= 0:
            windows.setdefault(int(since / WINDOW), []).append((latency, outcome))
    last = max(windows, default=0)
    row = 0
    for number in range(last + 1):
        found = windows.get(number, [])
        fine = all(outcome == good for _, outcome in found)
        fine = fine and percentile(sorted(latency for latency, _ in found), 0.99) < most_seconds
        row = row + 1 if fine else 0
        if row == STEADY:
            return round((number + 1 - STEADY) * WINDOW, 3)
    return round((last + 1) * WINDOW, 3)
