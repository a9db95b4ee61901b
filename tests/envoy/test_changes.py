"""Activations, rollbacks and freezes under requests through a real Envoy: nothing fails, nothing is decided by two revisions.

The small sister of `make changes`.
"""

from pathlib import Path

import pytest

from loadtest import changes
from loadtest.changer import Plan
from loadtest.revisions import Line, wrong_with

LINE = Line(
    path="/parity/1",
    response_code=200,
    outcome="allow",
    reason="policy_allowed",
    policy="lets-pass",
    rule="yes-7",
    revision="change-7",
    x_policy="7",
    x_data="7",
)


def test_no_request_fails_and_each_is_decided_by_one_revision(tmp_path: Path) -> None:
    plan = Plan(rate=60, activations=30, rollbacks=5, freezes=3)
    # A machine that does other things at the same time is slow, and not overloaded.
    result = changes.run(plan, tmp_path, lambda _text: None, ["transport.maxQueueSeconds=1"])
    assert [] == result["missed"]
    assert 30 <= result["revisions_that_decided"] <= 31


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ""),
        ({"x_data": "6"}, "not"),
        ({"x_policy": "8"}, "not"),
        ({"rule": "yes-6"}, "not"),
        ({"revision": "change-6"}, "/parity/1 got 200 by revision 6"),
        ({"path": "/parity/0"}, "/parity/0 got 200 by revision 7"),
        ({"response_code": 403, "outcome": "deny", "reason": "policy_denied"}, "/parity/1 got 403 by revision 7"),
        ({"response_code": 503, "revision": None, "reason": "overloaded"}, "503 by no revision: overloaded"),
    ],
)
def test_an_answer_of_two_revisions_is_noticed(changed: dict[str, object], expected: str) -> None:
    found = wrong_with(Line(**({name: getattr(LINE, name) for name in Line.__struct_fields__} | changed)))
    assert expected in found
    assert bool(expected) == bool(found)
