"""T-28 and T-07: what a rule or guard decided by is what the upstream gets, in no other spelling."""

import json
import time
from typing import Any

import pytest

from tests.engine import Answer, Engine

ISSUER = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec:
  preset: rfc9068
  issuer: https://idp.bank.test
  jwks: {uri: "https://idp.bank.test/certs"}
  audiences: [bank]
  algorithms: [ES256]
  claims: {tenant: tenant, roles: [roles]}
---
apiVersion: extauthz.io/v1
kind: Tenancy
metadata: {name: tenants}
spec:
  tenants: data.tenants
  crossTenant:
  - {name: support, roles: [support], methods: [GET], requireHeader: x-support-ticket}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: everything}
spec: {effect: allow, rules: [{name: all, from: [{roles: ["*"]}]}]}
---
"""
PROFILE = """
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {paths: ["/t/**"]}
  authentication: {mode: required, issuers: [bank]}
  tenancy: {resourceTenant: [{path: "/t/{tenant}/**"}]}
"""
UK = "  fapi: {ecosystem: uk-obie-3.1.1}\n"
DENY = """---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: no}
spec: {effect: deny, rules: [%s]}
"""
TENANTS = {"acme": {"financialId": "ACME"}, "globex": {"financialId": "GLOBEX"}}


class Desk(Engine):
    """A bank's API for its clerks."""

    def __init__(self, documents: str) -> None:
        files = {"bundle.yaml": (ISSUER + documents).encode(), "data/tenants.json": json.dumps(TENANTS).encode()}
        super().__init__(files)

    def ask_as(self, path: str = "/t/acme/x", roles: str = "clerk", **request: Any) -> Answer:
        now = int(time.time())
        about = {"iss": "https://idp.bank.test", "aud": "bank", "sub": "u", "client_id": "c", "jti": "1"}
        claims = about | {"iat": now, "exp": now + 300, "tenant": "acme", "roles": [roles]}
        token = self.sign("bank", claims, {"typ": "at+jwt"})
        return self.ask(path, host="api.bank.test", token=token, **request)


def twins(*spelled: str) -> set[str]:
    return set(spelled)


def test_t28_only_the_financial_id_that_was_checked_reaches_the_upstream() -> None:
    headers = {"x-fapi-financial-id": "ACME", "x_fapi_financial_id": "GLOBEX", "x-fapi_financial-id": "GLOBEX"}
    answer = Desk(PROFILE + UK).ask_as(headers=headers)
    assert answer.allowed
    assert {"x_fapi_financial_id", "x-fapi_financial-id", "x_fapi-financial_id"} <= answer.removed_upstream
    assert "x-fapi-financial-id" not in answer.removed_upstream


def test_t28_nor_does_another_value_of_any_header_of_the_ecosystem() -> None:
    answer = Desk(PROFILE + UK).ask_as(headers={"x-fapi-financial-id": "ACME"})
    assert {"x_fapi_auth_date", "x_fapi_customer_ip_address", "x_idempotency_key"} <= answer.removed_upstream
    assert {"x-fapi-auth-date", "x-idempotency-key"}.isdisjoint(answer.removed_upstream)


def test_t28_nor_another_ticket_than_the_one_that_led_across_tenants() -> None:
    desk = Desk(PROFILE)
    assert not desk.ask_as("/t/globex/x", "support", headers={"x_support_ticket": "T-1"}).allowed
    answer = desk.ask_as("/t/globex/x", "support", headers={"x-support-ticket": "T-1", "x_support_ticket": "T-2"})
    assert answer.allowed
    assert {"x_support_ticket", "x-support_ticket", "x_support-ticket"} <= answer.removed_upstream
    assert "x-support-ticket" not in answer.removed_upstream


@pytest.mark.parametrize(
    "rule",
    [
        '{when: [{key: "request.headers[X-Channel]", notValues: [mobile]}]}',
        '{condition: \'request.headers["X-Channel"] != "mobile"\'}',
        "{condition: '!(\"x-channel\" in request.headers)'}",
        '{when: [{key: "request.headers[x-channel]", notValues: [mobile]}], from: [{roles: [nobody]}]}',
    ],
)
def test_t28_a_header_that_a_rule_reads_reaches_the_upstream_in_one_spelling(rule: str) -> None:
    answer = Desk(PROFILE + DENY % rule).ask_as(headers={"x-channel": "mobile", "x_channel": "branch"})
    assert answer.allowed
    assert "x_channel" in answer.removed_upstream
    assert "x-channel" not in answer.removed_upstream


def test_t28_two_spellings_that_are_both_read_are_both_left() -> None:
    rules = '{when: [{key: "request.headers[x-channel]", values: [a]}]}, {condition: request.headers.x_channel == "b"}'
    answer = Desk(PROFILE + DENY % rules).ask_as(headers={"x-channel": "mobile", "x_channel": "branch"})
    assert answer.allowed
    assert {"x-channel", "x_channel"}.isdisjoint(answer.removed_upstream)


def test_t28_a_bundle_that_reads_no_header_removes_none_for_it() -> None:
    plain = Desk(PROFILE.replace('  tenancy: {resourceTenant: [{path: "/t/{tenant}/**"}]}\n', ""))
    with_rule = Desk(PROFILE + DENY % '{when: [{key: "request.headers[x-v]", values: [a]}]}')
    more = with_rule.ask_as().removed_upstream - plain.ask_as().removed_upstream
    assert {"x_v", "x_support_ticket", "x-support_ticket", "x_support-ticket"} == more


AMOUNTS = [
    "{condition: has(request.query.amount) && int(request.query.amount) > 1000}",
    '{condition: \'"amount" in request.query && int(request.query["amount"]) > 1000\'}',
    '{when: [{key: "request.query[amount]", values: ["5000"]}]}',
]


@pytest.mark.parametrize("rule", AMOUNTS)
@pytest.mark.parametrize(
    "query",
    [
        "AMOUNT=5000", "Amount=5", "amount=5&AMOUNT=5000", "amount=5&+amount=5000", "amount=5&amount+=5000", "+amount=5000",
        "amount=5&amount[]=5000", "amount%5B%5D=5000", "amount[0]=5000", "amount=5&amount=5", "amount=5&%61mount=5000",
        "amount=5&amount%00=5000", "amount=5&amount%01=5000", "%0aamount=5000", "x%7f=1", "%C2%85amount=1", "amount%C2%A0=5000",
    ],
)  # fmt: skip
def test_t07_a_parameter_in_a_spelling_that_other_servers_fold_is_not_absent(rule: str, query: str) -> None:
    """Neither is it present: what cannot be told is an error, and an error in a deny rule denies."""
    assert "condition_error" == Desk(PROFILE + DENY % rule).ask_as(f"/t/acme/x?{query}").reason


@pytest.mark.parametrize("rule", AMOUNTS)
def test_t07_one_parameter_in_the_spelling_that_the_rule_names_is_compared(rule: str) -> None:
    desk = Desk(PROFILE + DENY % rule)
    assert "policy_denied" == desk.ask_as("/t/acme/x?amount=5000").reason
    for query in ("", "amount=5", "%61mount=5", "amounts=1&the_amount=2&page[size]=5&page[size]=5&AM=5000"):
        assert desk.ask_as(f"/t/acme/x?{query}").allowed
