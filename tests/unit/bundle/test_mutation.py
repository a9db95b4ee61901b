"""Mutants: what is changed, which case notices, and what one that notices would have to be."""

from typing import Any

import msgspec
import pytest

from extauthz.bundle.mutation import Fate, Mutation
from tests.unit.bundle.small_bundle import POLICY, PROFILE, TENANCY, files

CASE: dict[str, Any] = {
    "name": "an officer reads",
    "request": {"host": "api.bank.test", "path": "/api/acme/accounts/1"},
    "token": {"issuer": "bank", "claims": {"tenant_id": "acme", "roles": ["officer"], "limit": 10}},
    "expect": {"outcome": "allow", "policy": "staff", "rule": "read"},
}


def case(name: str, outcome: str = "deny", **changes: Any) -> dict[str, Any]:
    claims = {**CASE["token"]["claims"], **changes.pop("claims", {})}
    request = {**CASE["request"], **changes.pop("request", {})}
    made = {"name": name, "request": request, "token": {"issuer": "bank", "claims": claims}, **changes}
    return {"expect": {"outcome": outcome}, **made}


def mutation(*cases: dict[str, Any], **changes: str | None) -> Mutation:
    document = {"apiVersion": "extauthz.io/v1", "kind": "PolicyTest", "metadata": {"name": "t"}, "spec": {"cases": list(cases)}}  # fmt: skip
    return Mutation({**files(**changes), "tests/staff.yaml": msgspec.json.encode(document)})


def fates(tried: Mutation) -> dict[str, Fate]:
    """By what is changed."""
    return {mutant.change.what: tried.run(number) for number, mutant in enumerate(tried.mutants)}


def survivors(tried: Mutation) -> list[str]:
    return [what for what, fate in fates(tried).items() if fate.outcome == "survived"]


FULL = POLICY.replace(
    "    condition:", "    when: [{key: subject.tenant, values: [acme, globex]}]\n    condition:"
).replace("  match:", "  tenant: acme\n  match:")
OBLIGATIONS = "    obligations: {upstreamHeaders: {x-a: \"'b'\"}, removeHeaders: [x-c], metadata: {d: \"'e'\"}}\n"


def test_every_place_of_a_policy_is_changed_and_named_with_its_line() -> None:
    made = mutation(CASE, policy=FULL + OBLIGATIONS, profile=PROFILE.replace("/api/**", "/**"))
    assert [
        ("drop-tenant", 6, "AccessPolicy staff", "`tenant: acme` is dropped"),
        ("drop-rule", 9, "staff/read", "the rule is dropped"),
        ("swap-effect", 9, "staff/read", "the rule's effect becomes `deny`"),
        ("negate-condition", 16, "staff/read", "the condition is negated"),
        ("drop-condition", 16, "staff/read", "the condition is dropped"),
        ("drop-field", 11, "staff/read", "`from[0].roles` is dropped"),
        ("drop-to", 12, "staff/read", "`to` is dropped"),
        ("drop-field", 13, "staff/read", "`to[0].methods` is dropped"),
        ("drop-field", 14, "staff/read", "`to[0].paths` is dropped"),
        ("drop-when", 15, "staff/read", "`subject.tenant` is dropped from `when`"),
        ("drop-value", 15, "staff/read", "`acme` is dropped from `values` of `subject.tenant`"),
        ("drop-value", 15, "staff/read", "`globex` is dropped from `values` of `subject.tenant`"),
        ("widen-path", 14, "staff/read", "path `/api/{tenant}/accounts/**` becomes `/api/{tenant}/**`"),
        ("drop-obligation", 17, "staff/read", "`x-a` is dropped from `upstreamHeaders`"),
        ("drop-obligation", 17, "staff/read", "`d` is dropped from `metadata`"),
        ("drop-obligation", 17, "staff/read", "`x-c` is dropped from `removeHeaders`"),
    ] == [
        (mutant.change.operator, mutant.line, mutant.subject, mutant.change.what)
        for mutant in made.mutants
        if mutant.kind == "AccessPolicy"
    ]


def test_a_mutant_is_another_bundle_and_the_same_in_every_process() -> None:
    one, two = (mutation(CASE, policy=FULL + OBLIGATIONS).mutants for _ in range(2))
    assert one == two
    original = {("staff", mutant.kind): mutant for mutant in one}
    assert original
    assert all(mutant.change.documents or "dropped" in mutant.change.what for mutant in one)


def test_one_case_alone_notices_what_takes_its_permission_away_and_no_more() -> None:
    found = fates(mutation(CASE))
    assert "killed" == found["the rule is dropped"].outcome
    assert "tests/staff.yaml:1: an officer reads" == found["the rule is dropped"].by
    assert {
        "`from[0].roles` is dropped",
        "`to` is dropped",
        "`to[0].methods` is dropped",
        "`to[0].paths` is dropped",
        "the condition is dropped",
        "path `/api/{tenant}/accounts/**` becomes `/api/{tenant}/**`",
        "`authentication.mode` becomes `optional`",
        "`tenancy` is dropped",
        "`tenancy.resourceTenant` is dropped",
    } >= set(survivors(mutation(CASE)))
    assert "`from[0].roles` is dropped" in survivors(mutation(CASE))


def test_the_cases_that_the_hints_ask_for_kill_the_rest() -> None:
    kills = [
        case("a clerk", claims={"roles": ["clerk"]}),
        case("too low a limit", claims={"limit": 1}),
        case("another method", request={"method": "POST"}),
        case("another resource", request={"path": "/api/acme/loans/1"}),
        case("another bank", request={"path": "/api/globex/accounts/1"}, expect={"outcome": "deny", "reason": "tenant_mismatch"}),
        {"name": "nobody", "request": CASE["request"], "expect": {"outcome": "deny", "reason": "no_credential"}},
    ]  # fmt: skip
    assert [] == survivors(mutation(CASE, *kills))


def test_the_parts_of_a_condition_are_taken_out_one_by_one() -> None:
    condition = '"has(subject.claims.limit) && (subject.claims.limit > 5 || subject.claims.vip) && !(1 > 2)"'
    made = mutation(CASE, policy=POLICY.replace("subject.claims.limit >= 10", condition))
    assert [
        "`has(subject.claims.limit)` becomes `true`",
        "`subject.claims.limit > 5` becomes `false`",
        "`subject.claims.vip` becomes `false`",
        "`!(1 > 2)` becomes `true`",
    ] == [mutant.change.what for mutant in made.mutants if mutant.change.operator == "drop-part"]
    found = fates(made)
    assert "survived" == found["`has(subject.claims.limit)` becomes `true`"].outcome
    assert "killed" == found["`subject.claims.limit > 5` becomes `false`"].outcome


def test_alternatives_values_and_negatives_are_taken_out_one_by_one() -> None:
    policy = POLICY.replace(
        "    - roles: [officer]", "    - roles: [officer, teller]\n      notClients: [a, b]\n    - scopes: [s]"
    )
    made = [
        mutant.change for mutant in mutation(CASE, policy=policy).mutants if mutant.change.location[3:4] == ("from",)
    ]
    assert [
        ("`from[0]` is dropped", "a case that `staff/read` allows by `from[0]` alone"),
        ("`from[0].roles` is dropped", "a case in which everything of `staff/read` holds but `roles: officer, teller`"),
        ("`officer` is dropped from `from[0].roles`", "a case that `staff/read` allows for `officer` alone of `roles`"),
        ("`teller` is dropped from `from[0].roles`", "a case that `staff/read` allows for `teller` alone of `roles`"),
        ("`from[0].notClients` is dropped", "a case in which everything of `staff/read` holds but `notClients: a, b`"),
        ("`a` is dropped from `from[0].notClients`", "a case of `staff/read` that only `a` in `notClients` keeps out"),
        ("`b` is dropped from `from[0].notClients`", "a case of `staff/read` that only `b` in `notClients` keeps out"),
        ("`from[1]` is dropped", "a case that `staff/read` allows by `from[1]` alone"),
        ("`from[1].scopes` is dropped", "a case in which everything of `staff/read` holds but `scopes: s`"),
    ] == [(change.what, change.kill) for change in made]


def test_deny_policies_and_shadow_policies_have_mutants_of_their_own() -> None:
    deny = POLICY.replace("name: staff", "name: never").replace("effect: allow", "effect: deny")
    deny += deny[deny.index("  - name: read") :].replace("name: read", "name: again")
    shadow = POLICY.replace("name: staff", "name: trial").replace("effect: allow", "effect: deny\n  mode: shadow")
    made = mutation({**CASE, "expect": {"outcome": "deny", "policy": "never"}}, deny=deny, trial=shadow)
    operators = {(mutant.name, mutant.change.operator) for mutant in made.mutants}
    assert {("never", "drop-policy"), ("trial", "enforce")} <= operators
    assert ("trial", "drop-policy") not in operators  # its only rule is dropped
    assert "killed" == fates(made)["the deny policy is dropped"].outcome


def test_what_the_profiles_keep_everybody_from_seeing_is_no_mutant() -> None:
    narrow = PROFILE.replace("/api/**", "/api/{tenant}/accounts/**").replace("\n    - path", "\n    - path")
    made = mutation(CASE, profile=narrow)
    assert not [mutant for mutant in made.mutants if mutant.change.operator in {"widen-path", "drop-match"}]
    wide = mutation(CASE, profile=PROFILE.replace("hosts: [api.bank.test]", "hosts: [api.bank.test, other.test]"))
    assert {"widen-path", "drop-match"} <= {mutant.change.operator for mutant in wide.mutants}


def test_issuers_that_are_the_only_ones_above_a_rule_are_no_mutant() -> None:
    policy = POLICY.replace("- roles: [officer]", "- roles: [officer]\n      issuers: [bank]")
    whats = [mutant.change.what for mutant in mutation(CASE, policy=policy).mutants if mutant.kind == "AccessPolicy"]
    assert whats
    assert not [what for what in whats if "issuers" in what]


def test_a_mutant_that_does_not_compile_needs_no_case() -> None:
    policy = POLICY.replace("subject.claims.limit >= 10", "params.tenant == subject.tenant")
    found = fates(mutation(CASE, policy=policy))
    assert "refused" == found["`to[0].paths` is dropped"].outcome


GUARDS = (
    PROFILE
    + """\
    whenAbsent: deny
  fapi: {ecosystem: uk-obie, financialId: {required: false, header: x-id}}
  stepUp: [{methods: [GET, PUT], acr: [a, b]}]
  senderConstraint: {required: false, accept: [mtls]}
  audit: {whenUnavailable: proceed}
"""
)


def test_guards_are_dropped_section_by_section() -> None:
    granted = TENANCY.replace("data.tenants}", "data.tenants, crossTenant: [{name: a, roles: [s, t], methods: [GET], requireHeader: x-t}]}")  # fmt: skip
    revoked = "apiVersion: extauthz.io/v1\nkind: Revocation\nmetadata: {name: r}\nspec: {entries: [{tokenId: a}, {tokenId: b, note: c}]}\n"
    data = {"data__tenants": "acme: {financialId: f1}\nglobex: {financialId: f2}\n"}
    made = mutation(CASE, profile=GUARDS, tenancy=granted, revoked=revoked, **data)
    whats = [mutant.change.what for mutant in made.mutants if mutant.kind != "AccessPolicy"]
    assert [
        "`authentication.mode` becomes `optional`",
        "`authentication.issuers` is dropped",
        "`fapi` is dropped",
        "`fapi.ecosystem` is dropped",
        "`fapi.financialId` is dropped",
        "`fapi.financialId.required` becomes `true`",
        "`fapi.financialId.header` becomes `x-fapi-financial-id`",
        "`stepUp` is dropped",
        "`stepUp[0].acr` is dropped",
        "`stepUp[0].acr[0]` is dropped",
        "`stepUp[0].acr[1]` is dropped",
        "`stepUp[0].methods` is dropped",
        "`stepUp[0].methods[0]` is dropped",
        "`stepUp[0].methods[1]` is dropped",
        "`senderConstraint` is dropped",
        '`senderConstraint.accept` becomes `["mtls","dpop"]`',
        "`senderConstraint.required` becomes `true`",
        "`tenancy` is dropped",
        "`tenancy.resourceTenant` is dropped",
        "`tenancy.resourceTenant[0].path` is dropped",
        "`tenancy.whenAbsent` becomes `subject`",
        "`crossTenant` is dropped",
        "`crossTenant[0].roles` is dropped",
        "`crossTenant[0].roles[0]` is dropped",
        "`crossTenant[0].roles[1]` is dropped",
        "`crossTenant[0].methods` is dropped",
        "`crossTenant[0].requireHeader` is dropped",
        "`entries[0]` is dropped",
        "`entries[0].tokenId` is dropped",
        "`entries[1]` is dropped",
        "`entries[1].tokenId` is dropped",
    ] == whats


@pytest.mark.parametrize("kind", ["AccessPolicy", "SecurityProfile"])
def test_cases_that_fail_already_are_told_and_no_mutant_is_judged_by_them(kind: str) -> None:
    made = mutation({**CASE, "expect": {"outcome": "deny"}})
    assert ["an officer reads"] == [result.case for result in made.failing]
    assert any(mutant.kind == kind for mutant in made.mutants)
