"""What obligations come to, bundle in and answer out: the bytes that Envoy acts on."""

from typing import Any

import pytest

from tests.engine import Engine

BUNDLE = b"""
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: all}
spec: {match: {hosts: ["*"]}, authentication: {mode: none}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: shop}
spec:
  effect: allow
  rules:
  - name: limited
    to: [{paths: ["/limited/**"]}]
    obligations: {upstreamHeaders: {X-Limit: "'9'"}, setQuery: {tenant: "'acme'"}}
  - name: told
    to: [{paths: [/told]}]
    obligations: {upstreamHeaders: {x-name: request.query.name}}
  - {name: plain, to: [{paths: [/plain]}]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: planned}
spec:
  effect: allow
  mode: shadow
  rules: [{to: [{paths: [/never]}], obligations: {upstreamHeaders: {x-risk-class: "'low'"}}}]
"""


@pytest.fixture(scope="module")
def shop() -> Engine:
    return Engine({"bundle.yaml": BUNDLE})


def test_t27_headers_of_all_policies_are_removed_where_the_matching_rule_does_not_set_them(shop: Any) -> None:
    spoofed = {"x-limit": "1000000", "x_limit": "1000000", "x-risk-class": "none"}
    plain = shop.ask("/plain", host="shop.test", headers=spoofed)
    assert plain.allowed
    assert {"x-limit", "x_limit", "x-name", "x_name", "x-risk-class", "x_risk_class"} <= plain.removed_upstream
    limited = shop.ask("/limited/1", host="shop.test", headers=spoofed)
    assert "9" == limited.set_upstream["x-limit"]
    assert {"x_limit", "x-name", "x-risk-class"} <= limited.removed_upstream
    assert "x-limit" not in limited.removed_upstream


def test_t38_a_parameter_that_is_set_is_set_in_every_reading(shop: Any) -> None:
    assert shop.ask("/limited/1?tenant=globex", host="shop.test").allowed
    for query in ("%74enant=globex", "Tenant=globex", "a=1;tenant=globex"):
        found = shop.ask(f"/limited/1?{query}", host="shop.test")
        assert ("no_policy_matched", 403) == (found.reason, found.http_status)


@pytest.mark.parametrize("sent", ["a%C2%85b", "a%E2%80%A8b", "a%C2%80"])
def test_t38_a_value_that_no_header_may_carry_is_a_refusal_and_not_an_outage(shop: Any, sent: str) -> None:
    assert 403 == shop.ask(f"/told?name={sent}", host="shop.test").http_status
    assert shop.ask("/told?name=Zo%C3%AB", host="shop.test").allowed
