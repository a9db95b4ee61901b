"""Rules mean what Istio's AuthorizationPolicy means by the same words."""

from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.model.request import Peer
from extauthz.policy import PolicySet
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, ANONYMOUS, allows, policy_set, rule, verdict

WEB = Peer(address="10.1.2.3", port=4711, principal="spiffe://cluster.local/ns/web/sa/front")
TARGET = Peer(address="10.9.9.9", port=8080)


def asked(path: str = "/api/customers/c1", **fields: Any) -> Any:
    return a_request(path=path, **{"source": WEB, "destination": TARGET, **fields})


def remote(address: str) -> Any:
    request = asked()
    return replace(request, facts=replace(request.facts, client_address=address))


# --- and/or


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{}", True),
        ("{from: [{roles: [officer]}]}", True),
        ("{from: [{roles: [nobody, officer]}]}", True),  # values are ORed
        ("{from: [{roles: [nobody]}, {roles: [officer]}]}", True),  # sources are ORed
        ("{from: [{roles: [officer], tenants: [other]}]}", False),  # fields are ANDed
        ("{from: [{roles: [officer], tenants: [acme]}]}", True),
        ("{from: [{roles: [nobody], tenants: [acme]}, {roles: [officer], tenants: [other]}]}", False),
        ("{to: [{methods: [POST]}, {methods: [GET], paths: [/api/**]}]}", True),  # operations are ORed
        ("{to: [{methods: [GET], paths: [/other]}]}", False),
        ("{from: [{roles: [officer]}], to: [{methods: [POST]}]}", False),  # from and to are ANDed
        ("{when: [{key: subject.tenant, values: [acme]}, {key: subject.roles, values: [nobody]}]}", False),
        ("{when: [{key: subject.tenant, values: [acme]}, {key: subject.roles, values: [officer]}]}", True),
        ("{when: [{key: subject.roles, values: [officer], notValues: [auditor]}]}", False),  # both must hold
        ("{from: [{roles: [officer]}], condition: 'false'}", False),
        ("{from: [{roles: [officer]}], condition: 'true'}", True),
    ],
)
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_alternatives_are_ored_and_fields_are_anded(effect: str, body: str, expected: bool) -> None:
    assert (expected if effect == "allow" else not expected) == allows(rule(effect, body), asked())


# --- every field and its negative twin: a value that matches, one that does not

FIELDS = [
    ("from", "principals", "cluster.local/ns/web/sa/front", "cluster.local/ns/web/sa/back"),
    ("from", "principals", "spiffe://cluster.local/ns/web/sa/front", "spiffe://other.domain/ns/web/sa/front"),
    ("from", "principals", "spiffe://cluster.local/ns/web/*", "spiffe://cluster.local/ns/we/*"),
    ("from", "principals", "'*/sa/front'", "'*/sa/ront'"),
    ("from", "principals", "'*'", "cluster.local/ns/web/sa/fron"),
    ("from", "requestPrincipals", "https://idp.test/alice", "https://idp.test/bob"),
    ("from", "requestPrincipals", "https://idp.test/*", "https://other.test/*"),
    ("from", "requestPrincipals", "'*/alice'", "'*/bob'"),
    ("from", "requestPrincipals", "'*'", "alice"),
    ("from", "namespaces", "web", "we"),
    ("from", "namespaces", "w*", "x*"),
    ("from", "serviceAccounts", "web/front", "web/fron"),
    ("from", "ipBlocks", "10.1.2.3", "10.1.2.4"),
    ("from", "ipBlocks", "10.1.0.0/16", "10.2.0.0/16"),
    ("from", "remoteIpBlocks", "203.0.113.0/24", "10.1.0.0/16"),
    ("from", "roles", "officer", "office"),
    ("from", "roles", "off*", "fficer"),
    ("from", "scopes", "accounts:read", "accounts:write"),
    ("from", "scopes", "accounts:*", "payments:*"),
    ("from", "tenants", "acme", "other"),
    ("from", "clients", "teller-app", "teller"),
    ("from", "actors", "portal-web", "portal"),
    ("from", "actors", "portal-*", "gateway"),  # who acted before does not act now
    ("from", "actors", "'*-web'", "'*way'"),
    ("from", "actors", "'*'", "'gate*'"),
    ("from", "issuers", "keycloak", "auth0"),
    ("to", "hosts", "api.bank.test", "api.bank"),
    ("to", "hosts", "API.Bank.Test", "API.Bank"),
    ("to", "hosts", "'*.bank.test'", "'*.shop.test'"),
    ("to", "hosts", "api.*", "app.*"),
    ("to", "hosts", "'*'", "bank.test"),
    ("to", "methods", "GET", "POST"),
    ("to", "methods", "'*'", "HEAD"),
    ("to", "paths", "'/api/customers/{id}'", "/api/customers"),
    ("to", "paths", "/api/**", "/apis/**"),
    ("to", "paths", "/**/c1", "/**/c2"),
    ("to", "ports", "8080", "'9090'"),
    ("to", "ports", "'8080'", "80"),
]


def negative(field: str) -> str:
    return f"not{field[0].upper()}{field[1:]}"


@pytest.mark.parametrize(("part", "field", "matching", "other"), FIELDS)
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_each_field_and_its_not_twin(effect: str, part: str, field: str, matching: str, other: str) -> None:
    request = remote("203.0.113.9") if field == "remoteIpBlocks" else asked()
    cases = [(field, matching, True), (field, other, False), (negative(field), matching, False)]
    cases += [(negative(field), other, True), (field, f"{other}, {matching}", True)]
    for name, values, expected in cases:
        made = rule(effect, f"{{{part}: [{{{name}: [{values}]}}]}}")
        assert (expected == (effect == "allow")) == allows(made, request), (name, values)


WHENS = [
    ("request.headers[x-channel]", "mobile", "web"),
    ("request.headers[X-Channel]", "mob*", "web*"),  # T-74: names in any case
    ("request.query[amount]", "'250'", "'25'"),
    ("request.auth.claims[sub]", "alice", "ali"),
    ("request.auth.claims[groups]", "b", "c"),
    ("request.auth.claims[address][country]", "DE", "FR"),
    ("request.auth.claims[scope]", "openid", "open"),
    ("request.auth.claims[limit]", "'500'", "'50'"),
    ("request.auth.claims[vip]", "'true'", "'false'"),
    ("request.auth.principal", "https://idp.test/alice", "https://idp.test/al"),
    ("request.auth.audiences", "shop", "sho"),
    ("request.auth.presenter", "teller-app", "app"),
    ("source.ip", "10.1.0.0/16", "10.2.0.0/16"),
    ("remote.ip", "203.0.113.9", "203.0.113.8"),
    ("destination.ip", "10.9.9.9", "10.9.9.8"),
    ("destination.port", "'8080'", "'80'"),
    ("source.principal", "cluster.local/ns/web/*", "cluster.local/ns/we/*"),
    ("source.namespace", "web", "we"),
    ("connection.sni", "'*.bank.test'", "'*.shop.test'"),
    ("subject.roles", "officer", "office"),
    ("subject.scopes", "openid", "open"),
    ("subject.tenant", "acme", "acm"),
    ("subject.actors", "portal-web", "portal"),
    ("subject.actors", "gateway", "way"),
    ("params[id]", "c1", "c2"),
]


@pytest.mark.parametrize(("key", "matching", "other"), WHENS)
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_each_key_of_when(effect: str, key: str, matching: str, other: str) -> None:
    request = asked("/api/customers/c1?amount=250", headers=[("x-channel", "mobile")])
    request = replace(request, sni="api.bank.test", facts=replace(request.facts, client_address="203.0.113.9"))
    to = "to: [{paths: ['/api/customers/{id}']}], "
    cases = [("values", matching, True), ("values", other, False), ("notValues", matching, False)]
    for name, values, expected in [*cases, ("notValues", other, True)]:
        made = rule(effect, f"{{{to}when: [{{key: '{key}', {name}: [{values}]}}]}}")
        assert (expected == (effect == "allow")) == allows(made, request), (name, values)


# --- absence


@pytest.mark.parametrize("field", ["principals", "requestPrincipals", "namespaces", "roles", "scopes", "tenants"])
def test_an_anonymous_caller_matches_no_positive_field_not_even_presence(field: str) -> None:
    request = asked(source=Peer(address="10.1.2.3"))
    assert not allows(rule("allow", f"{{from: [{{{field}: ['*']}}]}}"), request, ANONYMOUS)
    assert allows(rule("deny", f"{{from: [{{{field}: ['*']}}]}}"), request, ANONYMOUS)
    assert not allows(rule("deny", f"{{from: [{{{negative(field)}: ['*']}}]}}"), request, ANONYMOUS)


@pytest.mark.parametrize(
    "key", ["request.headers[x-a]", "request.query[a]", "request.auth.claims[a][b]", "connection.sni"]
)
def test_an_absent_attribute_matches_no_value_and_so_every_not_values(key: str) -> None:
    assert not allows(rule("allow", f"{{when: [{{key: '{key}', values: ['*']}}]}}"), asked())
    assert allows(rule("allow", f"{{when: [{{key: '{key}', notValues: [x]}}]}}"), asked())
    assert not allows(rule("deny", f"{{when: [{{key: '{key}', notValues: [x]}}]}}"), asked())


# --- deny over allow, default deny, order


def test_without_a_matching_allow_the_answer_is_no() -> None:
    assert Reason.NO_POLICY_MATCHED is verdict(rule("allow", "{to: [{paths: [/other]}]}"), asked()).reason
    assert Reason.NO_POLICY_MATCHED is verdict(PolicySet([]), asked()).reason


def test_a_deny_wins_over_any_allow_whatever_the_names() -> None:
    made = policy_set(
        "{name: a, effect: allow, rules: [{}]}\n---\n{name: z, effect: deny, rules: [{name: stop, to: [{methods: [GET]}]}]}"
    )
    found = verdict(made, asked())
    assert (Reason.POLICY_DENIED, "z", "stop") == (found.reason, found.policy, found.rule)


def test_the_first_allow_by_policy_name_then_by_rule_decides() -> None:
    made = policy_set(
        "{name: b, effect: allow, rules: [{}]}\n---\n"
        "{name: a, effect: allow, rules: [{name: zero, to: [{methods: [PUT]}]}, {name: one}, {name: two}]}"
    )
    found = verdict(made, asked())
    assert ("a", "one") == (found.policy, found.rule)


def test_the_matched_pattern_is_the_route() -> None:
    made = rule("allow", "{to: [{paths: [/x, '/api/customers/{id}']}]}")
    assert "/api/customers/{id}" == verdict(made, asked()).route
    assert "" == verdict(rule("allow", "{}"), asked()).route
    assert "/api/**" == verdict(policy_set("{effect: allow, match: {paths: [/api/**]}, rules: [{}]}"), asked()).route


# --- tenants, match, shadow


def test_a_policy_bound_to_a_tenant_is_silent_about_other_resources() -> None:
    allow = policy_set("{effect: allow, tenant: acme, rules: [{}]}")
    assert allows(allow, asked(), tenant="acme")
    assert not allows(allow, asked(), tenant="other")
    assert not allows(allow, asked(), tenant="")
    deny = policy_set("{name: a, effect: allow, rules: [{}]}\n---\n{name: b, effect: deny, tenant: acme, rules: [{}]}")
    assert not allows(deny, asked(), tenant="acme")
    assert allows(deny, asked(), tenant="other")


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        ("[api.bank.test]", "api.bank.test", True),
        ("[api.bank.test]", "x.api.bank.test", False),
        ("['*.bank.test']", "a.b.bank.test", True),
        ("['*.bank.test']", "bank.test", False),
        ("['{tenant}.bank.test']", "acme.bank.test", True),
        ("['{tenant}.bank.test']", "a.b.bank.test", False),
        ("['*']", "anything.test", True),
    ],
)
def test_match_limits_the_policy_to_hosts(hosts: str, host: str, expected: bool) -> None:
    made = policy_set(f"{{effect: allow, match: {{hosts: {hosts}}}, rules: [{{}}]}}")
    assert expected == allows(made, asked(host=host))


def test_match_and_to_must_both_cover_the_path() -> None:
    made = policy_set("{effect: allow, match: {paths: [/api/**]}, rules: [{to: [{paths: ['/*/customers/{id}']}]}]}")
    assert allows(made, asked("/api/customers/c1"))
    assert not allows(made, asked("/other/customers/c1"))
    assert not allows(made, asked("/api/loans/c1"))


def test_shadow_policies_are_recorded_and_change_nothing() -> None:
    made = policy_set(
        "{name: a, effect: allow, mode: shadow, rules: [{name: would, to: [{methods: [GET]}]}, {name: second}]}\n---\n"
        "{name: b, effect: deny, mode: shadow, rules: [{name: stop}]}\n---\n"
        "{name: c, effect: deny, mode: shadow, rules: [{name: erring, condition: \"request.query.x == 'y'\"}]}"
    )
    found = verdict(made, asked())
    assert Reason.NO_POLICY_MATCHED is found.reason
    assert [("a", "would", "allow"), ("b", "stop", "deny"), ("c", "erring", "deny")] == [
        (match.policy, match.rule, match.effect) for match in found.shadow
    ]
    assert ("c/erring",) == found.condition_errors


# --- scopes


def test_a_lack_of_scopes_alone_is_told_with_what_is_needed() -> None:
    made = rule("allow", "{from: [{roles: [officer], scopes: [payments:write, payments:all]}]}")
    found = verdict(made, asked())
    assert Reason.SCOPE_INSUFFICIENT is found.reason
    assert ("payments:write", "payments:all") == found.scopes


@pytest.mark.parametrize(
    "body",
    [
        "{from: [{scopes: [payments:write], notScopes: ['payments:*']}]}",
        "{from: [{scopes: [payments:write]}], when: [{key: subject.scopes, notValues: [payments:write]}]}",
        "{from: [{scopes: [payments:write]}], condition: \"!('payments:write' in subject.scopes)\"}",
    ],
)
def test_a_scope_that_would_not_help_is_not_asked_for(body: str) -> None:
    found = verdict(rule("allow", body), asked())
    assert (Reason.NO_POLICY_MATCHED, ()) == (found.reason, found.scopes)


def test_only_the_scopes_that_would_help_are_asked_for() -> None:
    made = rule("allow", "{from: [{scopes: [a, b], notScopes: [a]}, {scopes: [c]}]}")
    assert ("b",) == verdict(made, asked()).scopes
    made = rule("allow", "{from: [{scopes: [a], notScopes: [a]}, {scopes: ['pay*']}]}")
    assert ("pay*",) == verdict(made, asked()).scopes


@pytest.mark.parametrize(
    "body",
    [
        "{from: [{roles: [nobody], scopes: [payments]}]}",  # the role is missing, too
        "{from: [{scopes: [payments]}], to: [{methods: [PUT]}]}",
        "{from: [{scopes: [payments]}], when: [{key: subject.tenant, values: [other]}]}",
        "{from: [{scopes: [payments]}], condition: 'false'}",
    ],
)
def test_scopes_are_not_asked_for_when_they_would_not_help(body: str) -> None:
    found = verdict(rule("allow", body), asked())
    assert (Reason.NO_POLICY_MATCHED, ()) == (found.reason, found.scopes)


def test_scopes_of_a_deny_rule_are_no_hint_to_get_more() -> None:
    assert allows(rule("deny", "{from: [{scopes: [payments]}]}"), asked())


def test_another_allow_makes_up_for_missing_scopes() -> None:
    made = policy_set(
        "{name: a, effect: allow, rules: [{from: [{scopes: [payments]}]}]}\n---\n{name: b, effect: allow, rules: [{}]}"
    )
    assert allows(made, asked())


def test_who_sends_no_token_is_not_told_about_scopes() -> None:
    found = verdict(rule("allow", "{from: [{scopes: [payments]}]}"), asked(), ANONYMOUS)
    assert Reason.NO_POLICY_MATCHED is found.reason


# --- captures


def test_captures_of_host_match_and_path_are_params() -> None:
    text = """
    effect: allow
    match: {hosts: ["{tenant}.bank.test"], paths: ["/{area}/**"]}
    rules:
    - to: [{paths: ["/api/customers/{id}"]}]
      condition: params.tenant == 'acme' && params.area == 'api' && params.id == 'c1'
    """
    made = policy_set(text)
    assert allows(made, asked(host="acme.bank.test"))
    assert not allows(made, asked(host="other.bank.test"))


def test_every_way_to_match_the_path_is_tried_when_a_rule_reads_captures() -> None:
    made = rule("deny", "{to: [{paths: ['/api/{a}/*', '/api/*/{a}']}], condition: \"params.a == 'c1'\"}")
    assert not allows(made, asked("/api/customers/c1"))
    assert not allows(made, asked("/api/c1/customers"))
    assert allows(made, asked("/api/customers/c2"))


def test_two_patterns_that_capture_one_name_differently_are_a_condition_error() -> None:
    text = (
        "effect: EFFECT\nmatch: {paths: ['/{a}/**']}\nrules: [{to: [{paths: ['/*/{a}']}], condition: params.a != ''}]"
    )
    found = verdict(policy_set(text.replace("EFFECT", "allow")), asked("/x/y"))
    assert (Reason.NO_POLICY_MATCHED, ("policy-0/rule-0",)) == (found.reason, found.condition_errors)
    assert Reason.CONDITION_ERROR is verdict(policy_set(text.replace("EFFECT", "deny")), asked("/x/y")).reason
    assert allows(policy_set(text.replace("EFFECT", "allow")), asked("/x/x"))


def test_the_subject_is_who_the_token_names_not_the_peer() -> None:
    made = rule("allow", "{from: [{principals: ['cluster.local/ns/web/*'], roles: [officer]}]}")
    assert allows(made, asked())
    assert not allows(made, asked(), replace(ALICE, roles=()))
    assert not allows(made, asked(source=Peer(principal="spiffe://cluster.local/ns/evil/sa/front")))
