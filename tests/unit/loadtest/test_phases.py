"""Outcomes by phase, recovery after an overload, and what a capacity run misses."""

import json
from itertools import count
from typing import Any

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from loadtest import capacity, phases
from loadtest.http2 import FAILED, LATE, Answer, Question
from loadtest.phases import Load
from loadtest.questions import framed
from loadtest.tally import Tally

GOOD = "200 policy_allowed"
_times = count()


def response(status: int, reason: str, *headers: str) -> bytes:
    message = CheckResponse()
    message.dynamic_metadata.update({"reason": reason})
    if status != 200:
        message.status.code = 7
        message.denied_response.status.code = status  # type: ignore[assignment]
        for name in headers:
            message.denied_response.headers.add().header.key = name
    return framed(message.SerializeToString())


def answered(body: bytes, kind: int | None = None) -> Answer:
    due = float(next(_times))
    return Answer(due, due + 0.002, len(body) if kind is None else kind, Question(b"", b"x"), body)


def test_answers_are_told_apart_by_what_they_say() -> None:
    yes, no = response(200, "policy_allowed"), response(503, "overloaded", "retry-after")
    tally = Tally()
    tally.add([answered(yes), answered(no), answered(yes), answered(b"", FAILED), answered(b"", LATE)])
    assert {GOOD: 2, "503 overloaded": 1, "failed": 1, "late": 1} == dict(tally.outcomes)
    assert 2.0 == tally.latency_ms(GOOD)["p99"]
    assert 2 == json.loads(json.dumps(tally.as_json()))[GOOD]["count"]


def test_a_refusal_that_does_not_say_when_to_come_again_is_another_outcome() -> None:
    tally = Tally()
    tally.add([answered(response(503, "overloaded"))])
    assert ["503 overloaded without retry-after"] == list(tally.outcomes)


def test_different_answers_of_one_length_are_not_mixed_up() -> None:
    one, other = response(403, "aaaa"), response(403, "bbbb")
    assert len(one) == len(other)
    tally = Tally()
    tally.add([answered(one), answered(other), *[answered(other) for _ in range(50)]])
    assert {"403 aaaa": 1, "403 bbbb": 51} == dict(tally.outcomes)


def load(*parts: tuple[float, float, str]) -> Load:
    """(due since the start, latency, outcome) of each Check; the start is at 100 s."""
    tally = Tally()
    for due, latency, outcome in parts:
        tally.count(100 + due, latency, outcome)
    return Load(tally, 100.0, 0.0, 0.0, 0.0)


def every(first: float, last: float, latency: float, outcome: str = GOOD) -> list[tuple[float, float, str]]:
    """A Check every 10 ms."""
    return [(first + at / 100, latency, outcome) for at in range(round((last - first) * 100))]


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (every(5, 8, 0.001), 0.0),
        (every(5, 5.4, 0.2) + every(5.4, 8, 0.001), 0.4),
        (every(5, 5.4, 0.001, "503 overloaded") + every(5.4, 8, 0.001), 0.4),
        (every(5, 5.2, 0.001) + every(5.2, 5.3, 0.5) + every(5.3, 8, 0.001), 0.3),
        (every(5, 8, 0.2), 3.0),
    ],
    ids=["at once", "slow first", "refused first", "slow again", "never"],
)
def test_calm_is_back_when_three_windows_in_a_row_are_good(after: list[Any], seconds: float) -> None:
    overloaded = every(0, 5, 0.3, "late")
    assert seconds == pytest.approx(phases.recovery(load(*overloaded, *after), 5.0, GOOD, 0.010), abs=0.011)


def test_a_part_of_a_phase_is_what_was_due_in_it() -> None:
    found = phases.part(load(*every(0, 5, 0.3, "late"), *every(5, 8, 0.001)), 0.0, 5.0)
    assert {"late": 500} == dict(found.outcomes)


def test_rates_follow_each_other() -> None:
    offsets = list(phases.rates([(1000, 2.0), (100, 3.0)]))
    assert offsets == sorted(offsets)
    assert offsets[-1] < 5.0
    assert 2000 == pytest.approx(sum(offset < 2 for offset in offsets), rel=0.1)
    assert 300 == pytest.approx(sum(offset >= 2 for offset in offsets), rel=0.25)


def row(factor: float, **changed: Any) -> dict[str, Any]:
    good = {
        "kind": "cached",
        "decided": GOOD,
        "factor": factor,
        "goodput_share": 0.97,
        "admitted_ms": {"p99": 6.0},
        "recovery_seconds": 0.1,
        "outcomes": {GOOD: {"count": 90}, "503 overloaded": {"count": 10}},
    }
    return good | changed


def test_an_overload_that_keeps_the_goals_misses_nothing() -> None:
    assert [] == capacity.judge([row(0.5), row(1.0, admitted_ms={"p99": 20.0}), row(2.0), row(4.0, goodput_share=0.9)])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"goodput_share": 0.94}, "goodput is 94.0% of capacity, at least 95%"),
        ({"admitted_ms": {"p99": 10.0}}, "p99 of the admitted is 10.00 ms"),
        ({"recovery_seconds": 1.3}, "calm came back after 1.3 s"),
        ({"outcomes": {GOOD: {"count": 9}, "late": {"count": 3}}}, "{'late': 3}"),
        ({"outcomes": {"503 overloaded without retry-after": {"count": 3}}}, "without retry-after"),
    ],
)
def test_what_an_overload_misses_is_said(changed: dict[str, Any], said: str) -> None:
    (line,) = capacity.judge([row(2.0, **changed)])
    assert said in line
