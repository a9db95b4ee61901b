"""`explain` shows what became of each candidate rule, with the tests that `evaluate` runs, and no secrets."""

from msgspec.structs import replace

from extauthz.policy import PartTrace
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW, policy_set

TEXT = """
name: customers
effect: allow
tenant: acme
match: {hosts: [api.bank.test]}
rules:
- name: managers
  from: [{roles: [manager], requestPrincipals: ["https://idp.test/*"]}]
  to: [{methods: [GET], paths: ["/api/customers/{id}"]}]
- name: mobile
  to: [{paths: ["/api/customers/{id}"], notPaths: [/api/customers/c1]}]
  when: [{key: "request.headers[x-channel]", values: [branch]}]
  condition: request.query.amount == '1'
- name: elsewhere
  to: [{paths: [/api/loans]}]
---
name: refused
effect: allow
rules: [{name: scoped, from: [{scopes: [payments]}]}]
"""


def traces(tenant: str = "acme"):
    request = a_request(path="/api/customers/c1", headers=[("x-channel", "secret-channel-value")])
    return {trace.rule: trace for trace in policy_set(TEXT).explain(request, ALICE, tenant, NOW)}


def test_only_candidates_are_shown_in_the_order_in_which_they_are_tried() -> None:
    assert ["managers", "mobile", "scoped"] == list(traces())
    assert ["scoped"] == list(traces(tenant="globex"))


def test_the_part_that_failed_is_named_with_what_was_found() -> None:
    found = traces()["managers"]
    assert "no match" == found.result
    assert (PartTrace("from[0].roles", "no match", "officer, auditor", "manager"),) == found.failed


def test_every_failing_part_is_shown_not_only_the_first() -> None:
    assert ["to[0].notPaths"] == [part.field for part in traces()["mobile"].failed]
    text = TEXT.replace(", notPaths: [/api/customers/c1]", "")
    request = a_request(path="/api/customers/c1", headers=[("x-channel", "secret-channel-value")])
    found = policy_set(text).explain(request, ALICE, "acme", NOW)[1]
    assert [("when: request.headers[x-channel]", "no match"), ("condition", "error")] == [
        (part.field, part.result) for part in found.failed
    ]


def test_header_values_and_identities_are_masked() -> None:
    request = a_request(path="/api/customers/c1", headers=[("x-channel", "secret-channel-value")])
    text = TEXT.replace(", notPaths: [/api/customers/c1]", "")
    shown = repr(policy_set(text).explain(request, replace(ALICE, id="alice-the-secret"), "acme", NOW))
    assert "secret" not in shown
    assert "se… (20 characters)" in shown


def test_a_missing_scope_is_told_apart() -> None:
    assert "scope missing" == traces()["scoped"].result


def test_explain_agrees_with_evaluate() -> None:
    made = policy_set(
        "{name: a, effect: allow, rules: [{name: r, obligations: {metadata: {a: subject.claims.nothing}}}]}"
    )
    request = a_request()
    assert ("a/r",) == made.evaluate(request, ALICE, "", NOW).condition_errors
    assert "error" == made.explain(request, ALICE, "", NOW)[0].result


def test_the_set_lists_its_policies_for_status_and_coverage() -> None:
    found = [
        (policy.name, policy.effect, policy.mode, policy.tenant, policy.rules) for policy in policy_set(TEXT).policies
    ]
    assert [
        ("customers", "allow", "enforce", "acme", ("managers", "mobile", "elsewhere")),
        ("refused", "allow", "enforce", "", ("scoped",)),
    ] == found
