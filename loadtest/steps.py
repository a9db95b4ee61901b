"""Where the microseconds of a Check go: each step of the path as it runs, and how the whole grows with size.

A Check here is all of `Handler.answer`: from the bytes of Envoy's question to those of the answer, with a token that
was verified before, the journal on the disk and metrics on. Steps are timed where they are called, one after the other,
for a step alone in a loop is up to a half cheaper than it is on the path. Figures are the best of several rounds; those
of one run can be compared, those of two runs only as ratios. `--json FILE` writes them to a file.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import scale
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from points import BANK_CASES, Case, Point, bank, public_key, questions, token

import extauthz.check
import extauthz.handler
import extauthz.wire.inbound
from extauthz.guards import FapiHeaders, TenancyGuard
from extauthz.journal import Journal
from extauthz.policy import PolicySet
from extauthz.precedents import Precedents
from extauthz.wire import AnswerWriter

BATCH = 512  # questions of a round, all different
WHOLE, ALONE, YARDSTICK = "whole Check, 16 at a time", "whole Check, alone", "upb's parser alone (yardstick)"
TOGETHER = 16  # Checks that are answered at a time, as at sixteen streams
CALLERS = 200
DISTURBED = 0.0005  # seconds that no step takes
GROWTH = 1.10  # the goal: whatever grows, a Check costs less than this many times as much
SCALE_CASE = Case(
    "scale",
    "/banks/bank-0/accounts-1/{n}",
    {"tenant_id": "bank-0", "roles": ["teller", "staff"]},
    issuer=scale.ISSUER,
    audience="bank",
    host="api.bank.example",
)

# (name, how deep it is shown, who owns the function, its name)
STEPS: list[tuple[str, int, Any, str]] = [
    ("read_check", 0, extauthz.handler, "read_check"),
    ("path", 1, extauthz.wire.inbound, "canonicalise"),
    ("facts", 1, extauthz.wire.inbound, "_read_facts"),
    ("decide", 0, extauthz.handler, "advance"),
    ("route and profile", 1, Precedents, "route"),
    ("FAPI headers", 1, FapiHeaders, "check_headers"),
    ("credential and token", 1, extauthz.check, "identify"),
    ("emergencies", 1, extauthz.check, "in_force"),
    ("tenancy", 1, TenancyGuard, "own"),
    ("standing", 1, Precedents, "standing"),
    ("policy", 1, PolicySet, "judge"),
    ("ids", 0, extauthz.handler, "decision_id"),
    ("DecisionRecord", 0, extauthz.handler, "DecisionRecord"),
    ("write and settle", 0, AnswerWriter, "conclude"),
    ("journal.record_all", 0, Journal, "record_all"),
    ("metrics.observe", 0, extauthz.handler.Handler, "_observe"),
]


@contextmanager
def timed(step: tuple[str, int, Any, str]) -> Iterator[Callable[[], float]]:
    """While open, the seconds spent in a step are added up, less what the clock itself takes.

    A call in which the machine turned to somebody else takes the mean of the others.
    """
    _, _, owner, attribute = step
    call = owner.__dict__[attribute]
    now = time.perf_counter
    spent, calls, disturbed = 0.0, 0, 0

    def watched(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the step takes and gives
        nonlocal spent, calls, disturbed
        start = now()
        result = call(*args, **named)
        took = now() - start
        if took < DISTURBED:
            spent += took
            calls += 1
        else:
            disturbed += 1
        return result

    setattr(owner, attribute, watched)
    try:
        yield lambda: (spent / calls - CLOCK) * (calls + disturbed) if calls else 0.0
    finally:
        setattr(owner, attribute, call)


def _clock_seconds() -> float:
    """What is measured of a call that does nothing."""
    now, found = time.perf_counter, []
    for _ in range(10_000):
        start = now()
        found.append(now() - start)
    return median(found)


CLOCK = _clock_seconds()


def run(point: Point, asked: Sequence[bytes], together: int = TOGETHER) -> float:
    """Microseconds of processor time a Check, so many of them coming at a time."""
    batches = [asked[first : first + together] for first in range(0, len(asked), together)]
    start = time.thread_time()
    for batch in batches:
        point.answer_all(batch)
    return (time.thread_time() - start) / len(asked) * 1e6


def breakdown(point: Point, asked: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Microseconds of each step, the best of several rounds, and of the whole without a clock in it."""
    found: dict[str, list[float]] = {name: [] for name in (WHOLE, ALONE, *(name for name, *_ in STEPS))}
    for _ in range(rounds):
        found[WHOLE].append(run(point, asked))
        found[ALONE].append(run(point, asked, 1))
        for step in STEPS:  # one at a time, so that no clock is inside of another's time
            with timed(step) as spent:
                run(point, asked)
            found[step[0]].append(spent() / len(asked) * 1e6)
    return {name: min(times) for name, times in found.items()} | {YARDSTICK: _yardstick(asked, rounds)}


def _yardstick(asked: Sequence[bytes], rounds: int) -> float:
    """What upb's parser takes in a loop: how fast the machine is at this moment."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for raw in asked:
            CheckRequest.FromString(raw)
        found.append((time.perf_counter() - start) / len(asked) * 1e6)
    return min(found)


class Growth:
    """The same Check beside little and beside much, measured in turn: A B A B."""

    def __init__(self, rounds: int, say: Callable[[str], None]) -> None:
        self._rounds, self._say = rounds, say
        self.rows: list[dict[str, object]] = []

    def compare(self, what: str, *asking: tuple[int, Point, Callable[[int], Sequence[bytes]]]) -> None:
        """Each is a size, a decision point, and the questions of a round."""
        times: list[list[float]] = [[] for _ in asking]
        for number in range(self._rounds):
            self._say(f"{what}: round {number + 1} of {self._rounds}")
            for (_, point, make), found in zip(asking, times, strict=True):
                found.append(run(point, make(number)))
        for (size, _, _), found in zip(asking, times, strict=True):
            ratio = median(mine / first for mine, first in zip(found, times[0], strict=True))
            self.rows.append({"what": what, "size": size, "us": median(found), "best_us": min(found), "ratio": ratio})


class Pauses:
    """The longest that the garbage collector stopped everything."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._start = 0.0

    def __call__(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._start = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._start)


def grow(rounds: int, tokens: int, say: Callable[[str], None]) -> dict[str, object]:
    """Policies, tenants, headers and cached tokens, few and many."""
    growth = Growth(rounds, say)
    one = token(SCALE_CASE, 0)

    def steady(asked: Sequence[bytes]) -> Callable[[int], Sequence[bytes]]:
        return lambda _: asked

    say("loading bundles")
    plain = questions(SCALE_CASE, [one], 0, BATCH)
    points = [_scaled(*size) for size in ((10, 1), (10_000, 1), (10, 1_000))]
    small, policies, tenants = points
    longer = questions(SCALE_CASE, [one], 0, BATCH, 60)
    shorter = questions(SCALE_CASE, [one], 0, BATCH, 10)
    for point in points:
        warm(point, [*plain[:9], *longer[:9], *shorter[:9]])
    freeze()
    growth.compare("policies", (10, small, steady(plain)), (10_000, policies, steady(plain)))
    growth.compare("tenants", (1, small, steady(plain)), (1_000, tenants, steady(plain)))
    growth.compare("headers", (10, small, steady(shorter)), (22, small, steady(plain)), (60, small, steady(longer)))

    full = _scaled(10_000, 1_000, tokens)
    points.append(full)
    callers = _fill(full, tokens, say)
    freeze()
    pauses = Pauses()
    gc.callbacks.append(pauses)
    growth.compare(
        "cached tokens",
        (1, full, lambda number: questions(SCALE_CASE, callers[:1], number * BATCH, BATCH)),
        (1_000, full, lambda number: questions(SCALE_CASE, callers[:1_000], number * BATCH, BATCH)),
        (tokens, full, lambda number: questions(SCALE_CASE, callers, number * BATCH, BATCH)),
    )
    gc.callbacks.remove(pauses)
    for point in points:
        point.close()
    return {"growth": growth.rows, "longest_gc_pause_ms": pauses.longest * 1e3, "goal": GROWTH}


def _scaled(policies: int, tenants: int, tokens: int = 1_000) -> Point:
    keys = json.dumps({"keys": [public_key()]}).encode()
    return Point(scale.bundle(policies, tenants) | {"keys.json": keys}, tokens)


def _fill(point: Point, count: int, say: Callable[[str], None]) -> list[str]:
    """So many callers whose tokens are in the cache."""
    callers = []
    for number in range(count):
        if number % 1_000 == 0:
            say(f"verifying tokens: {number:,} of {count:,}")
        callers.append(token(SCALE_CASE, number))
        point.answer(questions(SCALE_CASE, callers[-1:], number, 1)[0])
    return callers


def warm(point: Point, asked: Sequence[bytes]) -> None:
    """Ask once; ends here unless every answer is an allow."""
    for raw in asked:
        answer = CheckResponse.FromString(point.answer(raw))
        if answer.status.code:
            sys.exit(f"a Check was not allowed: {answer.dynamic_metadata}")


def freeze() -> None:
    """As the server does after activation."""
    gc.collect()
    gc.freeze()


def show(found: dict[str, dict[str, float]]) -> None:
    """The steps of every case."""
    print(f"{'microseconds':34}" + "".join(f"{name:>13}" for name in found))
    depths = {ALONE: 0, WHOLE: 0, **{name: depth + 1 for name, depth, *_ in STEPS}, YARDSTICK: 0}
    for name, depth in depths.items():
        print(f"{'  ' * depth + name:34}" + "".join(f"{found[case][name]:13.2f}" for case in found))


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--tokens", type=int, default=100_000, help="of the largest cache (default: 100000)")
    options.add_argument("--no-growth", action="store_true", help="only the steps")
    options.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    given = options.parse_args()

    def say(text: str) -> None:
        print(f"{text:60}", end="\r", file=sys.stderr)

    point = bank()
    steps = {}
    for case in BANK_CASES:
        say(case.name)
        asked = questions(case, [token(case, number) for number in range(CALLERS)], 0, BATCH)
        warm(point, asked)
        freeze()
        steps[case.name] = breakdown(point, asked, given.rounds)
    point.close()
    show(steps)
    outer = [name for name, depth, _, _ in STEPS if depth == 0]  # the others are parts of these
    found: dict[str, object] = {"steps": steps, "outer": outer, "rounds": given.rounds}
    if not given.no_growth:
        grown = grow(given.rounds, given.tokens, say)
        found |= grown
        for row in grown["growth"]:  # type: ignore[attr-defined] # a list
            print("{what:>14} {size:>8,} {us:10.1f} us  ratio {ratio:5.2f}".format(**row))
        print(f"longest pause of the collector: {grown['longest_gc_pause_ms']:.3f} ms (goal: below 1)")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
