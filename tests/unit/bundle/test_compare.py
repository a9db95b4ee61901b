"""What counts as a disagreement between two bundles, and when a candidate may be promoted."""

import pytest
from msgspec.structs import replace

from extauthz.bundle.compare import CHANGES, Comparison, Gate, Group, compare, judge, together
from extauthz.model.decision import Allow, Deny, Evidence, Obligations, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject
from tests.fakes import a_request

ALICE, BOB = Subject(issuer="https://i", id="alice"), Subject(issuer="https://i", id="bob")
READ = Evidence(subject=ALICE, tenant="acme", policy="customers", rule="read")
PASS = Allow(evidence=READ)
STOP = Deny(Reason.POLICY_DENIED, evidence=Evidence(subject=ALICE, tenant="acme", policy="closed", rule="all"))
NOTHING = Deny(Reason.NO_POLICY_MATCHED, evidence=Evidence(subject=ALICE, tenant="acme"))
ENOUGH = Comparison(
    revision="2", digest="b" * 64, live_revision="1", live_digest="a" * 64, seconds=3600.0, compared=10_000
)


def with_headers(**changed: object) -> Allow:
    return Allow(evidence=READ, obligations=Obligations(**changed))


@pytest.mark.parametrize(
    ("live", "candidate", "expected"),
    [
        (PASS, PASS, None),
        (PASS, STOP, ("allow_to_deny", "closed", "all")),
        (PASS, NOTHING, ("allow_to_deny", "customers", "read")),  # the rule that allowed is gone
        (PASS, Undecided(Reason.INTERNAL_ERROR, evidence=READ), ("allow_to_deny", "customers", "read")),
        (STOP, PASS, ("deny_to_allow", "customers", "read")),
        (NOTHING, PASS, ("deny_to_allow", "customers", "read")),
        (STOP, NOTHING, ("reason", "closed", "all")),
        (PASS, with_headers(upstream_headers=(("x-limit", "5"),)), ("obligations", "customers", "read")),
        (PASS, Allow(evidence=replace(READ, subject=BOB)), ("obligations", "customers", "read")),
        (PASS, Allow(evidence=replace(READ, policy="others", rule="read")), None),  # nobody would notice
    ],
)
def test_a_disagreement_is_what_somebody_would_notice_and_names_the_rule(live, candidate, expected) -> None:
    found = compare(live, candidate)
    assert expected == (found and (found.change, found.policy, found.rule))
    assert found is None or "acme" == found.tenant


def test_the_order_of_obligations_is_none_of_anybodys_business() -> None:
    one = with_headers(upstream_headers=(("x-a", "1"), ("x-b", "2")))
    other = with_headers(upstream_headers=(("x-b", "2"), ("x-a", "1")))
    assert compare(one, other) is None


@pytest.mark.parametrize("field", ["removed_headers", "removed_twins"])
def test_a_header_that_only_one_bundle_removes_counts_for_requests_that_have_it(field: str) -> None:
    """A new rule that sets `x-limit` takes a client's own `x-limit` from every request of the bundle (T-27, T-28)."""
    candidate = with_headers(**{field: ("x-limit",)})
    assert compare(PASS, candidate, a_request()) is None
    assert compare(PASS, candidate, a_request(headers=[("x-other", "1")])) is None
    for name in ("x-limit", "x_limit"):
        found = compare(PASS, candidate, a_request(headers=[(name, "1")]))
        assert found is not None
        assert "obligations" == found.change


def test_without_a_comparison_nothing_is_promoted() -> None:
    assert not judge(None, Gate()).passed


def test_a_candidate_that_did_enough_without_a_difference_passes() -> None:
    assert judge(ENOUGH, Gate()).passed


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"compared": 9_999}, "9999 checks were compared, `minCompared` is 10000"),
        ({"seconds": 3599.0}, "it was compared for 3599 s, `minSeconds` is 3600"),
        *(({"changes": {change: 1}}, f"1 checks differ in `{change}`") for change in CHANGES),
        ({"errors": 1}, "the candidate failed on 1 checks, `maxErrors` is 0"),
        ({"skipped": {"credential": 1200}}, "10.7 % of the checks cannot be compared, `maxIncomparable` is 0.1"),
    ],
)
def test_each_threshold_alone_is_in_the_way_and_says_so(shown, words) -> None:
    verdict = judge(replace(ENOUGH, **shown), Gate())
    assert not verdict.passed
    assert 1 == len(verdict.reasons)
    assert verdict.reasons[0].startswith(words)


def test_thresholds_are_the_most_that_is_let_pass_and_null_lets_any_number_pass() -> None:
    gate = Gate(max_allow_to_deny=3, max_deny_to_allow=2, max_reason=None, max_obligations=None, max_errors=1)
    changes = {"allow_to_deny": 3, "deny_to_allow": 2, "reason": 999, "obligations": 999}
    assert judge(replace(ENOUGH, changes=changes, errors=1), gate).passed


def test_what_was_skipped_for_want_of_time_is_not_held_against_the_candidate() -> None:
    assert judge(replace(ENOUGH, skipped={"queue": 90_000, "share": 90_000, "late": 1, "changed": 5}), Gate()).passed


def test_workers_that_compare_the_same_bundles_are_added_up() -> None:
    read = Group("allow_to_deny", "customers", "read", "acme", 2, "d1")
    other = Group("deny_to_allow", "customers", "write", "acme", 3, "d2")
    one = replace(ENOUGH, seconds=10.0, changes={"allow_to_deny": 2}, groups=(read,))
    two = replace(ENOUGH, seconds=9.0, changes={"allow_to_deny": 2, "deny_to_allow": 3}, groups=(other, read))
    found = together([one, two], 10)
    assert found is not None
    assert (9.0, 20_000, {"allow_to_deny": 4, "deny_to_allow": 3}) == (found.seconds, found.compared, found.changes)
    assert (replace(read, count=4), other) == found.groups


def test_workers_that_compare_different_bundles_have_no_common_verdict() -> None:
    assert together([ENOUGH, replace(ENOUGH, digest="c" * 64)], 10) is None
    assert together([], 10) is None
