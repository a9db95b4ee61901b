"""PolicyTests about opaque tokens: a case says what the issuer would, and goes through the whole path with it."""

from typing import Any

import msgspec
import pytest

from extauthz.bundle import BundleError, TestResult, read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import ISSUER, PROFILE, files

ASKED = ISSUER + "  introspection: {endpoint: 'https://idp.bank.test/introspect'%s}\n"
STAFF: dict[str, Any] = {"tenant_id": "acme", "roles": ["officer"], "limit": 10}
REQUEST = {"host": "api.bank.test", "path": "/api/acme/accounts/1"}


def run(more: str = "", **case: Any) -> TestResult:
    spec = {"cases": [{"name": "it", "request": REQUEST, "expect": {"outcome": "allow"}, **case}]}
    document = {"apiVersion": "extauthz.io/v1", "kind": "PolicyTest", "metadata": {"name": "t"}, "spec": spec}
    bundle = {**files(issuer=ASKED % more), "tests/staff.yaml": msgspec.json.encode(document)}
    (result,) = run_tests(read_bundle(bundle, NoTokenCache()))
    return result


SIGNED = ", signedResponses: true"


@pytest.mark.parametrize("more", ["", SIGNED, ", only: true, signedResponses: true", ", jwt: true"])
def test_an_opaque_token_is_who_the_answer_says(more: str) -> None:
    result = run(more, introspection=STAFF)
    assert ("policy_allowed", (("staff", "read"),)) == (result.reason, result.rules)


@pytest.mark.parametrize("more", ["", SIGNED])
@pytest.mark.parametrize(
    ("said", "reason", "check"),
    [
        ({"active": False}, "token_inactive", "INT-03"),
        ({"active": "true"}, "token_inactive", "INT-02"),
        ({**STAFF, "roles": ["clerk"]}, "no_policy_matched", ""),
        ({**STAFF, "aud": "payments"}, "token_audience_refused", "JWT-08"),
        ({**STAFF, "aud": None}, "token_claim_invalid", "INT-04"),
        ({**STAFF, "exp": 1_700_000_000}, "token_expired", "JWT-09"),
        ({**STAFF, "iss": "https://other.test"}, "token_issuer_refused", "INT-04"),
        ({**STAFF, "tenant_id": "globex"}, "tenant_mismatch", "TEN-02"),
    ],
)
def test_an_answer_is_checked_as_it_is_in_service(more: str, said: dict[str, Any], reason: str, check: str) -> None:
    result = run(more, introspection=said)
    assert reason == result.reason
    if not check.startswith("TEN"):
        assert check == result.check


def test_without_an_answer_the_issuer_is_silent() -> None:
    result = run(request={**REQUEST, "headers": {"authorization": "Bearer opaque"}})
    assert ("undecided", "introspection_unavailable") == (result.outcome, result.reason)


def test_a_jwt_that_is_asked_about_is_said_to_be_active_with_its_own_claims() -> None:
    token = {"issuer": "bank", "claims": {**STAFF, "sub": "u1", "client_id": "mobile"}}
    assert "policy_allowed" == run(", jwt: true", token=token, introspection={}).reason
    assert "token_inactive" == run(", jwt: true", token=token, introspection={"active": False}).reason
    assert "introspection_unavailable" == run(", jwt: true", token=token).reason
    assert "policy_allowed" == run(token=token).reason


def test_an_opaque_dpop_token_is_bound_to_the_cases_key() -> None:
    assert "policy_allowed" == run(introspection=STAFF, dpop={}).reason
    assert "proof_key_mismatch" == run(introspection=STAFF, dpop={"key": "other"}).reason


def test_an_answer_that_nobody_would_be_asked_for_is_a_mistake() -> None:
    spec = {"cases": [{"name": "it", "request": REQUEST, "introspection": {}, "expect": {"outcome": "allow"}}]}
    document = {"apiVersion": "extauthz.io/v1", "kind": "PolicyTest", "metadata": {"name": "t"}, "spec": spec}
    with pytest.raises(BundleError, match="no Issuer has `introspection`: nobody would be asked"):
        read_bundle({**files(), "tests/staff.yaml": msgspec.json.encode(document)}, NoTokenCache())
    spec["cases"][0]["request"] = {"tcp": True, "destinationPort": 1}  # type: ignore[index] # a case
    bundle = {**files(issuer=ASKED % ""), "tests/staff.yaml": msgspec.json.encode(document)}
    with pytest.raises(BundleError, match="a connection without HTTP has no token to ask about"):
        read_bundle(bundle, NoTokenCache())


def test_int_01_two_introspecting_issuers_in_a_profile_are_an_error_with_its_line() -> None:
    other = ISSUER.replace("bank}", "other}").replace("idp.bank.test", "other.test")
    asked = "  introspection: {endpoint: 'https://other.test/introspect'}\n"
    profile = PROFILE.replace("issuers: [bank]", "issuers: [bank, other]")
    bundle = files(issuer=ASKED % "", other=other + asked, profile=profile)
    with pytest.raises(BundleError, match=r"profile\.yaml:6: .*`bank` and `other` both introspect"):
        read_bundle(bundle, NoTokenCache())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (", cacheSeconds: -1", r"issuer\.yaml:\d+: spec\.introspection\.cacheSeconds"),
        (", clientSecret: x", "clientSecret"),
        (", timeoutSeconds: 0", "timeoutSeconds"),
    ],
)
def test_a_mistake_in_the_section_has_its_line(more: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_bundle(files(issuer=ASKED % more), NoTokenCache())
