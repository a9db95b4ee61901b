"""OR-01: the first failure wins. A request with many faults is mended one by one, and told the next each time."""

from typing import Any

import msgspec

from extauthz.bundle import read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import PROFILE, files

PROFILE_WITH_ALL = (
    PROFILE.replace(
        "{mode: required, issuers: [bank]}",
        "{mode: required, issuers: [bank], service: {mode: required, trustDomains: [cluster.local]}}",
    )
    + """\
  fapi:
    profile: fapi2-security
    ecosystem: custom
    headers: {x-channel: {required: true, values: [mobile]}}
    financialId: {required: false}
  stepUp: {acr: [gold], maxAge: 60s}
"""
)
REVOCATION = """\
apiVersion: extauthz.io/v1
kind: Revocation
metadata: {name: stolen}
spec: {entries: [{issuer: bank, tokenId: jti-1}]}
"""
TENANTS = "acme: {financialId: '0015800001041RHAAY'}\nglobex: {financialId: '0015800000jf9GgAAI'}\n"
NOW = 1_767_225_600
DIGEST, OTHER = "A" * 43, "B" * 42 + "A"

# Each step mends what the one before was told; the last one is allowed.
STEPS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("fapi_header_missing", {}, {}),
    ("service_identity_missing", {"headers": {"x-channel": "mobile"}}, {}),
    ("service_identity_refused", {"principal": "spiffe://evil.test/ns/a/sa/b"}, {}),
    ("token_expired", {"principal": "spiffe://cluster.local/ns/a/sa/b"}, {}),
    ("sender_constraint_missing", {}, {"exp": NOW + 60}),
    ("certificate_missing", {}, {"cnf": {"x5t#S256": DIGEST}}),
    ("certificate_mismatch", {"clientCertificate": OTHER}, {}),
    ("token_revoked", {"clientCertificate": DIGEST}, {}),
    ("step_up_required", {}, {"jti": "jti-2"}),
    ("step_up_required", {}, {"acr": "gold"}),
    ("tenant_mismatch", {}, {"auth_time": NOW - 10}),
    ("fapi_financial_id_mismatch", {}, {"tenant_id": "acme"}),
    ("no_policy_matched", {"headers": {"x-channel": "mobile"}}, {}),
    ("policy_allowed", {}, {"roles": ["officer"], "limit": 10}),
]


def outcomes() -> list[str]:
    """What each step is told."""
    request: dict[str, Any] = {"host": "api.bank.test", "path": "/api/acme/accounts/1"}
    claims: dict[str, Any] = {"exp": 1, "iat": NOW - 5, "jti": "jti-1", "tenant_id": "globex"}
    cases = []
    for number, (_, sent, claimed) in enumerate(STEPS):
        request, claims = request | sent, claims | claimed
        if number in FINANCIAL_IDS:
            request["headers"] = {"x-channel": "mobile", "x-fapi-financial-id": "0015800000jf9GgAAI"}
        case = {"name": str(number), "request": request, "token": {"issuer": "bank", "claims": claims}}
        cases.append({**case, "expect": {"outcome": "allow"}})
    document = {
        "apiVersion": "extauthz.io/v1",
        "kind": "PolicyTest",
        "metadata": {"name": "t"},
        "spec": {"cases": cases},
    }
    bundle = files(profile=PROFILE_WITH_ALL, revocation=REVOCATION, tests__staff=None, data__tenants=TENANTS)
    bundle["tests/order.yaml"] = msgspec.json.encode(document)
    return [result.reason for result in run_tests(read_bundle(bundle, NoTokenCache()))]


FINANCIAL_IDS = range(1, 12)


def test_or_01_every_check_has_its_place_in_the_path() -> None:
    assert [reason for reason, *_ in STEPS] == outcomes()
