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
from extauthz.snapshot import ProfileIndex

BATCH = 512  # questions asked at a time, all different
CALLERS = 200
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
    ("parse (upb)", 1, extauthz.wire.inbound, "_parse"),
    ("decide", 0, extauthz.handler, "advance"),
    ("profile", 1, ProfileIndex, "find"),
    ("FAPI headers", 1, FapiHeaders, "check_headers"),
    ("credential and token", 1, extauthz.check, "identify"),
    ("possession", 1, extauthz.check, "prove_possession"),
    ("revocation", 1, extauthz.check, "refuse_revoked"),
    ("tenancy", 1, TenancyGuard, "resolve"),
    ("policy", 1, PolicySet, "evaluate"),
    ("settle", 0, extauthz.handler, "settle"),
    ("ids", 0, extauthz.handler, "_new_ids"),
    ("DecisionRecord", 0, extauthz.handler, "DecisionRecord"),
    ("write_answer", 0, extauthz.handler, "write_answer"),
    ("journal.record_all", 0, Journal, "record_all"),
    ("metrics.observe", 0, extauthz.handler.Handler, "_observe"),
]


@contextmanager
def timed(steps: Sequence[tuple[str, int, Any, str]]) -> Iterator[dict[str, float]]:
    """While open, seconds spent in each step are added up, less what the clock itself takes."""
    spent = dict.fromkeys((name for name, *_ in steps), 0.0)
    kept = [(owner, attribute, owner.__dict__[attribute]) for _, _, owner, attribute in steps]

    def watch(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        now = time.perf_counter

        def watched(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the step takes and gives
            start = now()
            result = call(*args, **named)
            spent[name] += now() - start
            return result

        return watched

    for (name, *_), (owner, attribute, call) in zip(steps, kept, strict=True):
        setattr(owner, attribute, watch(name, call))
    try:
        yield spent
    finally:
        for owner, attribute, call in kept:
            setattr(owner, attribute, call)


def run(point: Point, asked: Sequence[bytes]) -> float:
    """Microseconds a Check."""
    answer = point.answer
    start = time.perf_counter()
    for raw in asked:
        answer(raw)
    return (time.perf_counter() - start) / len(asked) * 1e6


def breakdown(point: Point, asked: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Microseconds of each step, the best of several rounds, and of the whole without a clock in it."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        whole = run(point, asked)
        best["whole"] = min(best.get("whole", whole), whole)
        for step in STEPS:  # one at a time, so that no clock is inside of another's time
            with timed([step]) as spent:
                run(point, asked)
            found = spent[step[0]] / len(asked) * 1e6
            best[step[0]] = min(best.get(step[0], found), found)
    best["parse alone (yardstick)"] = _yardstick(asked, rounds)
    return best


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
    names = list(found)
    print(f"{'microseconds':30}" + "".join(f"{name:>13}" for name in names))
    rows = [("whole Check", "whole"), *(("  " * (depth + 1) + name, name) for name, depth, _, _ in STEPS)]
    for label, key in (*rows, ("parse alone (yardstick)",) * 2):
        print(f"{label:30}" + "".join(f"{found[name][key]:13.2f}" for name in names))


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
