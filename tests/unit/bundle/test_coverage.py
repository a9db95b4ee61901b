"""What coverage counts: rules that decide and refuse, and each branch of a condition both ways."""

from typing import Any

import msgspec
import yaml

from extauthz.bundle.coverage import RuleCoverage
from tests.unit.bundle.small_bundle import POLICY, covered, files


def cover(policy: str, *cases: dict[str, Any], more: str | None = None) -> dict[str, RuleCoverage]:
    """By name: the rules of policies, after these cases."""
    spec = {"cases": [{"name": f"case {at}", **case} for at, case in enumerate(cases)]}
    document = {"apiVersion": "extauthz.io/v1", "kind": "PolicyTest", "metadata": {"name": "t"}, "spec": spec}
    bundle = {**files(policy=policy, more=more), "tests/staff.yaml": msgspec.json.encode(document)}
    return {f"{rule.policy}/{rule.rule}": rule for rule in covered(bundle).rules}


def case(path: str = "/api/acme/accounts/1", method: str = "GET", **claims: Any) -> dict[str, Any]:
    return {
        "request": {"host": "api.bank.test", "path": path, "method": method},
        "token": {"issuer": "bank", "claims": {"tenant_id": "acme", "roles": ["officer"], "limit": 10, **claims}},
        "expect": {"outcome": "allow"},
    }


def with_condition(condition: str) -> str:
    return POLICY.replace("subject.claims.limit >= 10", yaml.safe_dump(condition, width=9999).strip())


def test_a_rule_decides_where_it_is_the_one_recorded_and_refuses_on_its_route_alone() -> None:
    (rule,) = cover(
        POLICY, case(), case(roles=["clerk"]), case(limit=1), case(path="/api/acme/loans"), case(method="PUT")
    ).values()
    assert (1, 2, True, []) == (rule.decided, rule.refused, rule.can_refuse, rule.missing)


def test_a_request_that_ends_before_the_policies_shows_nothing() -> None:
    (rule,) = cover(POLICY, case(tenant_id="globex"), case(exp=1)).values()
    assert (0, 0, 0) == (rule.decided, rule.refused, rule.parts[0].true)
    assert "it never decides" in rule.missing


def test_each_part_of_a_condition_counts_where_it_is_reached_and_the_rest_of_the_rule_holds() -> None:
    policy = with_condition("has(subject.claims.limit) && (subject.claims.limit > 5 || request.query.a == 'b')")
    (rule,) = cover(policy, case(), case(limit=None), case(limit=1), case(roles=["clerk"], limit=None)).values()
    assert [
        ("has(subject.claims.limit)", 2, 1, 0),
        ("subject.claims.limit > 5", 1, 1, 0),
        ("request.query.a == 'b'", 0, 0, 1),
    ] == [(part.text, part.true, part.false, part.error) for part in rule.parts]
    assert ["`request.query.a == 'b'` is never true", "`request.query.a == 'b'` is never false"] == rule.missing


def test_both_ways_of_a_conditional_count() -> None:
    policy = with_condition("subject.claims.vip ? true : subject.claims.limit > 5")
    (rule,) = cover(policy, case(vip=True), case(vip=False)).values()
    assert [(1, 1), (1, 0), (1, 0)] == [(part.true, part.false) for part in rule.parts]


def test_a_rule_about_a_route_alone_cannot_refuse_and_a_plain_true_is_no_condition() -> None:
    policy = POLICY[: POLICY.index("    from:")] + '    to: [{paths: [/api/**]}]\n    condition: "true"\n'
    (rule,) = cover(policy, case()).values()
    assert (1, False, (), 1, []) == (rule.decided, rule.can_refuse, rule.parts, rule.points, rule.missing)


def test_rules_in_shadow_mode_decide_what_they_would_have_decided() -> None:
    shadow = POLICY.replace("name: staff", "name: trial").replace("effect: allow", "effect: deny\n  mode: shadow")
    rules = cover(POLICY, case(), case(roles=["clerk"]), more=shadow)
    assert (1, 1) == (rules["trial/read"].decided, rules["trial/read"].refused)
    assert 1 == rules["staff/read"].decided


def test_connections_without_http_count() -> None:
    mesh = """\
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  effect: allow
  rules:
  - name: orders
    from: [{principals: [cluster.local/ns/shop/sa/orders]}]
    to: [{ports: [8443]}]
"""
    tcp = {"request": {"tcp": True, "principal": "spiffe://cluster.local/ns/shop/sa/orders", "destinationPort": 8443}}
    other = {"request": {"tcp": True, "principal": "spiffe://cluster.local/ns/shop/sa/x", "destinationPort": 8443}}
    rules = cover(POLICY, {**tcp, "expect": {"outcome": "allow"}}, {**other, "expect": {"outcome": "deny"}}, more=mesh)
    assert (1, 1) == (rules["mesh/orders"].decided, rules["mesh/orders"].refused)
