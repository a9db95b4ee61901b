"""PolicyTests: a case goes through the function that serves, and says what came out otherwise."""

from typing import Any

import msgspec
import pytest

from extauthz.bundle import TestResult, read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from tests.unit.bundle.small_bundle import ISSUER, POLICY, PROFILE, changed, files

CASE: dict[str, Any] = {
    "name": "it",
    "request": {"host": "api.bank.test", "path": "/api/acme/accounts/1"},
    "token": {"issuer": "bank", "claims": {"tenant_id": "acme", "roles": ["officer"], "limit": 10}},
    "expect": {"outcome": "allow"},
}


def run(bundle: dict[str, bytes] | None = None, now: Any = None, **case: Any) -> TestResult:
    spec: dict[str, Any] = {"cases": [{**CASE, **case}]} | ({"now": now} if now is not None else {})
    document = {"apiVersion": "extauthz.io/v1", "kind": "PolicyTest", "metadata": {"name": "t"}, "spec": spec}
    text = msgspec.json.encode({key: value for key, value in document.items() if value is not None})
    (result,) = run_tests(read_bundle({**(bundle or files()), "tests/staff.yaml": text}, NoTokenCache()))
    return result


def token(**claims: Any) -> dict[str, Any]:
    return {"issuer": "bank", "claims": {**CASE["token"]["claims"], **claims}}


def with_certificate(shown: str, **claims: Any) -> dict[str, Any]:
    return {"token": token(**claims), "request": {**CASE["request"], "clientCertificate": shown}}


def test_a_good_case_passes_and_names_what_matched() -> None:
    (result,) = run_tests(read_bundle(files(), NoTokenCache()))
    assert result.passed
    assert (result.reason, result.rules) == ("policy_allowed", (("staff", "read"),))
    assert (result.file, result.line, result.test, result.case) == ("tests/staff.yaml", 6, "staff", "an officer reads")


def test_a_failing_case_says_everything_that_came_out_otherwise() -> None:
    result = run(
        expect={"outcome": "allow", "reason": "policy_allowed", "policy": "staff", "rule": "read", "tenant": "acme"},
        token=token(roles=["clerk"]),
    )
    assert result.differences == (
        "outcome: expected `allow`, got `deny`",
        "reason: expected `policy_allowed`, got `no_policy_matched`",
        "policy: expected `staff`, got none",
        "rule: expected `read`, got none",
    )


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"token": None}, "no_credential"),
        ({"token": token(exp=1)}, "token_expired"),
        ({"token": token(nbf=4102444800)}, "token_not_yet_valid"),
        ({"token": token(aud="another")}, "token_audience_refused"),
        ({"token": token(aud=None)}, "token_audience_refused"),
        ({"token": token(sub=None)}, "token_claim_invalid"),
        ({"token": token(roles="officer")}, "roles_invalid"),
        ({"token": token(tenant_id=None)}, "tenant_claim_invalid"),
        ({"token": token(tenant_id="globex")}, "tenant_mismatch"),
        ({"token": token(cnf={"kid": "k1"})}, "token_binding_unverified"),
        ({"token": token(cnf={"x5t#S256": "A" * 43})}, "certificate_missing"),
        (with_certificate("B" * 42 + "A", cnf={"x5t#S256": "A" * 43}), "certificate_mismatch"),
        (with_certificate("A" * 43, cnf={"x5t#S256": "A" * 43}), "policy_allowed"),
        ({"token": token(), "dpop": {}}, "policy_allowed"),
        ({"token": token(cnf={"jkt": "A" * 43})}, "token_binding_unverified"),
        ({"token": token(cnf={"jkt": "A" * 43}), "dpop": {}}, "proof_key_mismatch"),
        ({"token": token(), "dpop": {"key": "other"}}, "proof_key_mismatch"),
        ({"token": token(), "dpop": {"claims": {"htm": "POST"}}}, "proof_invalid"),
        ({"token": token(), "dpop": {"claims": {"ath": None}}}, "proof_invalid"),
        ({"token": token(), "dpop": {"used": True}}, "proof_replayed"),
        ({"token": token(iss="https://evil.test")}, "token_issuer_refused"),
        ({"token": token(exp=1767225600 + 10**6)}, "token_lifetime_too_long"),
        ({"token": None, "request": CASE["request"] | {"headers": {"Authorization": "Basic x"}}}, "scheme_unsupported"),
        (
            {"token": None, "request": CASE["request"] | {"headers": {"authorization": ["Bearer a", "Bearer b"]}}},
            "credential_repeated",
        ),
        ({"request": CASE["request"] | {"path": "/api/acme//accounts"}}, "path_ambiguous"),
        ({"request": CASE["request"] | {"path": "/API/acme/accounts/1"}}, "path_ambiguous"),
        ({"request": CASE["request"] | {"path": "/elsewhere"}}, "no_profile"),
        ({"request": CASE["request"] | {"host": "a,b"}}, "host_invalid"),
        ({"request": CASE["request"] | {"method": "get it"}}, "method_invalid"),
        ({"request": CASE["request"] | {"path": "/api/acme/accounts/1?access_token=x"}}, "credential_in_query"),
        ({"request": CASE["request"] | {"host": "API.bank.test.:443"}}, "policy_allowed"),
        ({"request": {"tcp": True}, "token": None}, "no_policy_matched"),
    ],
)
def test_every_step_of_the_path_is_reached(case: dict[str, Any], reason: str) -> None:
    """Tokens are really signed and really verified, so a wrong audience fails a case as it fails a request."""
    outcome = Reason[reason.upper()].outcome
    result = run(**{**case, "expect": {"outcome": outcome, "reason": reason}})
    assert result.differences == ()


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256", "PS512"])
def test_a_case_works_with_every_algorithm_an_issuer_may_demand(algorithm: str) -> None:
    assert run(changed("issuer.yaml", "[ES256]", f"[{algorithm}]")).passed


@pytest.mark.parametrize(
    ("preset", "issuer"),
    [
        ("rfc9068", "https://idp.bank.test"),
        ("keycloak", "https://idp.bank.test/realms/bank"),
        ("auth0", "https://bank.auth0.test/"),
        ("okta", "https://bank.okta.test/oauth2/default"),
        ("entra", "https://login.microsoftonline.com/7f3b1c80-0000-4000-8000-000000000001/v2.0"),
        ("cognito", "https://cognito-idp.eu-west-1.amazonaws.com/pool"),
        ("firebase", "https://securetoken.google.com/bank"),
    ],
)
def test_what_an_issuer_demands_of_every_token_is_filled_in(preset: str, issuer: str) -> None:
    """Authors write the claims that matter; kind, audience, ids and times come by themselves."""
    text = ISSUER.replace("https://idp.bank.test\n", f"{issuer}\n  preset: {preset}\n").replace("[ES256]", "[RS256]")
    assert run(files(issuer=text)).differences == ()


def test_time_is_the_documents_and_not_the_day_of_the_run() -> None:
    condition = changed("policy.yaml", "subject.claims.limit >= 10", "now >= timestamp('2030-01-01T00:00:00Z')")
    late = {"outcome": "allow"}
    early = {"outcome": "deny"}
    assert run(condition, expect=early).passed
    assert run(condition, now="2030-01-01T01:00:00+01:00", expect=late).passed
    assert run(condition, now="2030-01-01T00:59:59+01:00", expect=early).passed
    assert run(condition, now=1893456000, expect=late).passed


def test_headers_that_obligations_set_and_remove_are_compared() -> None:
    obligations = (
        '    obligations: {upstreamHeaders: {x-limit: "string(subject.claims.limit)"}, removeHeaders: [x-debug]}\n'
    )
    bundle = files(policy=POLICY + obligations)
    expect = {"outcome": "allow", "upstreamHeaders": {"X-Limit": "10"}, "removedHeaders": ["x-debug"]}
    assert run(bundle, expect=expect).differences == ()
    expect = {"outcome": "allow", "upstreamHeaders": {"x-limit": "11", "x-none": "1"}, "removedHeaders": ["x-other"]}
    assert run(bundle, expect=expect).differences == (
        "upstreamHeaders.x-limit: expected `11`, got `10`",
        "upstreamHeaders.x-none: expected `1`, got none",
        "removedHeaders: expected `x-other` to be removed",
    )


def test_everything_that_an_obligation_adds_is_compared() -> None:
    obligations = (
        "    obligations: {clientHeaders: {X-Served: \"'north'\"}, setQuery: {tenant: resource.tenant}, removeQuery: [debug], "
        "metadata: {size: \"'small'\"}}\n"
    )
    bundle = files(policy=POLICY + obligations)
    right = {
        "outcome": "allow",
        "clientHeaders": {"x-served": "north"},
        "setQuery": {"tenant": "acme"},
        "removedQuery": ["debug"],
        "metadata": {"size": "small"},
    }
    assert run(bundle, expect=right).differences == ()
    wrong = {
        "outcome": "allow",
        "clientHeaders": {"X-Served": "south"},
        "setQuery": {"tenant": "globex"},
        "removedQuery": ["trace"],
        "metadata": {"size": "large"},
    }
    assert run(bundle, expect=wrong).differences == (
        "clientHeaders.x-served: expected `south`, got `north`",
        "setQuery.tenant: expected `globex`, got `acme`",
        "removedQuery: expected `trace` to be removed",
        "metadata.size: expected `large`, got `small`",
    )


def test_what_shadow_policies_would_have_done_is_compared_as_a_whole() -> None:
    shadow = POLICY.replace("name: staff", "name: trial").replace("effect: allow", "effect: deny\n  mode: shadow")
    bundle = files(trial=shadow)
    assert run(bundle, expect={"outcome": "allow", "shadow": ["trial/read"]}).differences == ()
    assert run(bundle, expect={"outcome": "allow"}).differences == ()
    assert run(bundle, expect={"outcome": "allow", "shadow": []}).differences == (
        "shadow: expected `trial/read` not to match",
    )
    assert run(bundle, token=token(limit=1), expect={"outcome": "deny", "shadow": ["trial/read"]}).differences == (
        "shadow: expected `trial/read` to match",
    )


def test_a_connection_without_http_is_asked_by_principal_and_port() -> None:
    policy = """\
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  effect: allow
  rules:
  - name: orders
    from: [{principals: [spiffe://cluster.local/ns/shop/sa/orders]}]
    to: [{ports: [8443]}]
"""
    request = {"tcp": True, "principal": "spiffe://cluster.local/ns/shop/sa/orders", "destinationPort": 8443}
    expect = {"outcome": "allow", "policy": "mesh", "rule": "orders"}
    assert run(files(mesh=policy), request=request, token=None, expect=expect).passed
    other = request | {"destinationPort": 8080}
    assert run(files(mesh=policy), request=other, token=None, expect={"outcome": "deny"}).passed


def test_cases_never_touch_the_snapshot_that_serves() -> None:
    """The keys that sign cases are nowhere in it, before or after."""
    built = read_bundle(files(), NoTokenCache())
    run_tests(built)
    assert built.snapshot.keys == {}


def test_a_case_of_a_profile_without_authentication() -> None:
    public = PROFILE[: PROFILE.index("  tenancy:")].replace("{mode: required, issuers: [bank]}", "{mode: none}")
    result = run(files(profile=public), token=None, expect={"outcome": "deny", "reason": "no_policy_matched"})
    assert result.passed


@pytest.mark.parametrize(
    ("claims", "reason"), [({}, "policy_allowed"), ({"tenant_id": "globex"}, "tenant_claim_invalid")]
)
def test_a_case_of_a_template_names_the_first_tenant_unless_it_says_otherwise(
    claims: dict[str, str], reason: str
) -> None:
    """And its RSA key is as long as the document wants."""
    many = ISSUER.replace(
        "https://idp.bank.test\n", '"https://idp.bank.test/{tenantid}"\n  issuerTenants: [acme, globex]\n'
    )
    bundle = files() | {"issuer.yaml": many.replace("[ES256]", "[PS256]\n  minRsaBits: 3072").encode()}
    made = {"issuer": "bank", "claims": {"roles": ["officer"], "limit": 10, **claims}}
    assert reason == run(bundle, token=made).reason
