"""Step-up by acr and by age of the authentication."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.guards import Refusal, StepUp, StepUpRuleSpec, compile_step_up
from extauthz.guards.step_up import MAX_AHEAD
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from extauthz.model.subject import ANONYMOUS, Subject
from tests.fakes import a_request

NOW = 1_760_000_000
LOA2, LOA3 = "urn:brasil:openbanking:loa2", "urn:brasil:openbanking:loa3"
BRAZIL = (
    StepUpRuleSpec(methods=("GET",), acr=(LOA2, LOA3)),
    StepUpRuleSpec(methods=("POST", "PATCH"), acr=(LOA3,)),
)


def step_up(spec: object) -> StepUp:
    problems: list[Problem] = []
    compiled = compile_step_up(spec, problems, ("spec", "stepUp"))
    assert [] == problems
    assert compiled is not None
    return compiled


def check(spec: object, acr: str = "", auth_time: int = 0, **request: object) -> Refusal | None:
    subject = Subject("https://idp.test", "u", acr=acr, auth_time=auth_time)
    return step_up(spec).check(a_request(**request), subject, NOW)


@pytest.mark.parametrize("acr", ["gold", "silver"])
def test_st_01_any_listed_acr_suffices(acr):
    assert check(StepUpRuleSpec(acr=("gold", "silver")), acr) is None


@pytest.mark.parametrize("acr", ["", "bronze", "GOLD", "gold silver", "gol"])
def test_st_01_a_missing_or_other_acr_is_not_met_and_the_challenge_lists_acrs_in_order_of_preference(acr):
    refusal = check(StepUpRuleSpec(acr=("gold", "silver")), acr)

    assert refusal is not None
    assert (Reason.STEP_UP_REQUIRED, "ST-01") == (refusal.reason, refusal.check)
    assert (("acr_values", "gold silver"),) == refusal.parameters


# The challenge that Microsoft's page on claims challenges prints for the context `cp1`.
CP1 = "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiY3AxIn19fQ=="


def test_st_01_any_listed_context_of_entra_suffices() -> None:
    rule = step_up(StepUpRuleSpec(acrs=("c1", "c2")))
    for contexts in (("c1",), ("c9", "c2")):
        assert rule.check(a_request(), Subject("https://idp.test", "u", acrs=contexts), NOW) is None


@pytest.mark.parametrize("contexts", [(), ("c3",), ("C1",), ("c1 c2",)])
def test_st_01_st_03_a_missing_context_is_asked_for_by_a_claims_challenge(contexts: tuple[str, ...]) -> None:
    rule = step_up(StepUpRuleSpec(acrs=("cp1", "c2"), authorization_uri="https://login.test/authorize"))
    refusal = rule.check(a_request(), Subject("https://idp.test", "u", acr="cp1", acrs=contexts), NOW)

    assert refusal is not None
    assert (Reason.AUTHENTICATION_CONTEXT_REQUIRED, "ST-01") == (refusal.reason, refusal.check)
    assert (("authorization_uri", "https://login.test/authorize"), ("claims", CP1)) == refusal.parameters


@pytest.mark.parametrize("age", [-MAX_AHEAD, 0, 299, 300])
def test_st_02_an_authentication_within_the_max_age_suffices(age):
    assert check(StepUpRuleSpec(max_age="300s"), auth_time=NOW - age) is None


@pytest.mark.parametrize("auth_time", [0, NOW - 301, 1, NOW + MAX_AHEAD + 1])
def test_st_02_a_missing_old_or_future_auth_time_is_not_met(auth_time):
    refusal = check(StepUpRuleSpec(max_age="5m"), auth_time=auth_time)

    assert refusal is not None
    assert (Reason.STEP_UP_REQUIRED, "ST-02") == (refusal.reason, refusal.check)
    assert (("max_age", "300"),) == refusal.parameters


def test_st_01_st_02_both_must_be_met_and_the_challenge_tells_both():
    spec = StepUpRuleSpec(acr=("gold",), max_age=60)

    assert check(spec, "gold", NOW) is None
    for refusal in (check(spec, "gold"), check(spec, "", NOW)):
        assert refusal is not None
        assert (("acr_values", "gold"), ("max_age", "60")) == refusal.parameters


@pytest.mark.parametrize(
    ("method", "acr", "met"),
    [("GET", LOA2, True), ("GET", LOA3, True), ("POST", LOA2, False), ("POST", LOA3, True), ("DELETE", "", True)],
)
def test_st_03_brazil_reads_with_loa2_and_writes_with_loa3(method, acr, met):
    assert met == (check(BRAZIL, acr, method=method) is None)


def test_st_03_a_rule_for_paths_leaves_others_alone():
    spec = StepUpRuleSpec(paths=("/payments/**",), acr=("gold",))

    assert check(spec, path="/accounts/1") is None
    assert check(spec, path="/payments/1") is not None


def test_st_03_every_rule_that_covers_a_request_must_be_met():
    spec = (StepUpRuleSpec(acr=("gold",)), StepUpRuleSpec(methods=("POST",), max_age=60))

    assert check(spec, "gold", NOW, method="POST") is None
    assert (check(spec, "gold", NOW - 61, method="POST") or Refusal(Reason.POLICY_DENIED)).check == "ST-02"
    assert (check(spec, "", NOW, method="POST") or Refusal(Reason.POLICY_DENIED)).check == "ST-01"


def test_st_01_without_a_credential_the_challenge_is_bare():
    refusal = step_up(StepUpRuleSpec(acr=("gold",))).check(a_request(), ANONYMOUS, NOW)

    assert Refusal(Reason.NO_CREDENTIAL, "ST-01", "nobody has authenticated") == refusal


@given(acr=st.text(max_size=12), auth_time=st.integers(0, 2**33), now=st.integers(1, 2**33))
def test_st_01_st_02_only_a_listed_acr_and_a_recent_time_pass(acr, auth_time, now):
    rule = step_up(StepUpRuleSpec(acr=("gold", "silver"), max_age=300))
    passed = rule.check(a_request(), Subject("https://idp.test", "u", acr=acr, auth_time=auth_time), now) is None

    assert passed == (acr in {"gold", "silver"} and auth_time > 0 and now - 300 <= auth_time <= now + MAX_AHEAD)


@pytest.mark.parametrize(
    ("spec", "where", "message"),
    [
        (StepUpRuleSpec(), (), "asks for nothing: write `acr`, `maxAge` or both, or `acrs`"),
        (
            StepUpRuleSpec(acrs=("c1",), max_age=60),
            ("acrs",),
            "has a challenge of its own: write `acr` and `maxAge` in another rule",
        ),
        (
            StepUpRuleSpec(acrs=("c 1",)),
            ("acrs", 0),
            "`c 1` is not an acr value: visible ASCII without spaces, quotes and backslashes",
        ),
        (
            StepUpRuleSpec(acrs=("c1",), authorization_uri="http://login.test"),
            ("authorizationUri",),
            "`http://login.test` must begin with `https://`, without spaces, quotes and backslashes",
        ),
        ((), (), "an empty list asks for nothing: write a rule, or leave the field out"),
        (
            StepUpRuleSpec(acr=("gold", 'si"lver')),
            ("acr", 1),
            '`si"lver` is not an acr value: visible ASCII without spaces, quotes and backslashes',
        ),
        (
            (StepUpRuleSpec(max_age="5 min"),),
            (0, "maxAge"),
            "`5 min` must be a duration of at least a second, such as `300s`, `5m` or `1h`",
        ),
        (
            StepUpRuleSpec(max_age=0),
            ("maxAge",),
            "`0` must be a duration of at least a second, such as `300s`, `5m` or `1h`",
        ),
        (
            StepUpRuleSpec(acr=("a",), methods=("post",)),
            ("methods", 0),
            "`post` is not an upper-case method: write `POST`",
        ),
        (StepUpRuleSpec(acr=("a",), paths=("x",)), ("paths", 0), "path pattern `x` must begin with `/`"),
        (
            StepUpRuleSpec(acr=tuple(map(str, range(17)))),
            ("acr",),
            "more than 16 values do not fit into a challenge",
        ),
    ],
)
def test_a_rule_that_could_not_be_meant_is_reported_where_it_is(spec, where, message):
    problems: list[Problem] = []

    assert compile_step_up(spec, problems, ("spec", "stepUp")) is None
    assert [Problem(("spec", "stepUp", *where), message)] == problems
