"""Lint never accuses a rule that decides: what it calls unreachable or shadowed can go, and nobody notices.

Policies and requests are generated from few words, so that rules overlap; connections without HTTP are asked, too.
"""

import time
from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.bundle import lint_bundle
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer
from extauthz.model.subject import ANONYMOUS
from extauthz.policy import AccessPolicySpec, NamedPolicy, Names, PolicySet, compile_policies
from extauthz.policy.asked import Asked
from extauthz.policy.condition import FAILED, Conditions
from extauthz.policy.reach.examine import Examined
from extauthz.policy.reach.facts import NO_FACTS
from extauthz.policy.reach.formula import read_condition
from extauthz.policy.reach.solve import ERROR, FALSE, TRUE, possible_results
from tests.engine import Engine
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW
from tests.unit.policy.generated import both, optional, spec_of

PATHS = st.sampled_from(["/api/**", "/api/x", "/api/{id}", "/API/x", "/**", "/api/*/y", "/**/y", "/other"])
CONDITIONS = st.sampled_from(
    [
        "",
        "",
        "",
        "true",
        "1 > 2",
        "request.method == 'GET'",
        "request.method == 'GET' && subject.tenant == 'acme'",
        "request.method in ['POST', 'PUT'] && request.query.a == 'b'",
        "request.method == 'GET' && request.method == 'POST'",
        "!('clerk' in subject.roles)",
        "!('payments' in subject.scopes)",
        "'officer' in subject.roles || request.headers['x-channel'] == 'web'",
        "request.headers['x-channel'] == 'web'",
        "request.headers['x-channel'] == 'web' && request.headers['x-channel'].startsWith('app')",
        "has(subject.claims.limit) && subject.claims.limit > 100 && subject.claims.limit < 50",
        "subject.claims.limit > 100",
        "request.path == '/api/x'",
        "params.id == 'x'",
        "request.query.a == 'b' ? subject.tenant == 'acme' : subject.tenant == 'globex'",
        "resource.tenant == 'globex'",
        "int('x') == 1",
    ]
)
SOURCES = spec_of(
    *both("roles", st.sampled_from(["officer", "clerk", "off*", "*"])),
    *both("tenants", st.sampled_from(["acme", "globex", "*", "ac*"])),
    *both("scopes", st.sampled_from(["openid", "payments"])),
    *both("principals", st.sampled_from(["td/ns/a/sa/b", "td/ns/a/*", "*"])),
    *both("ipBlocks", st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"])),
)
OPERATIONS = spec_of(
    *both("hosts", st.sampled_from(["api.test", "*.test", "b.test", "*"])),
    *both("methods", st.sampled_from(["GET", "POST", "P*", "*"])),
    *both("paths", PATHS),
    *both("ports", st.sampled_from([80, 443])),
)
WHENS = st.builds(
    lambda key, field, values: {"key": key, field: values},
    st.sampled_from(
        [
            *("subject.tenant", "subject.roles", "subject.scopes"),
            *("request.headers[x-channel]", "request.query[a]", "source.ip"),
        ]
    ),
    st.sampled_from(["values", "notValues"]),
    st.sampled_from([["acme"], ["officer"], ["web"], ["b"], ["acme", "web"], ["payments"]]),
).map(lambda when: {**when, **({k: ["10.1.0.0/16"] for k in when if k != "key"} if when["key"] == "source.ip" else {})})
OBLIGATIONS = st.sampled_from(
    [
        None,
        None,
        None,
        {"metadata": {"a": "subject.claims.nothing"}},
        {"upstreamHeaders": {"x-a": "'b'"}},
        {"removeQuery": ["a"]},
    ]
)


@st.composite
def rules(draw: Any, effect: str) -> dict[str, Any]:
    rule = draw(
        spec_of(
            st.just({}) | st.builds(lambda found: {"from": found}, st.lists(SOURCES, min_size=1, max_size=2)),
            st.just({}) | st.builds(lambda found: {"to": found}, st.lists(OPERATIONS, min_size=1, max_size=2)),
            st.just({}) | st.builds(lambda found: {"when": found}, st.lists(WHENS, min_size=1, max_size=2)),
            st.builds(lambda text: {"condition": text}, CONDITIONS),
        )
    )
    obligations = draw(OBLIGATIONS)
    return rule | ({"obligations": obligations} if obligations and effect == "allow" else {})


@st.composite
def specs(draw: Any) -> dict[str, Any]:
    effect = draw(st.sampled_from(["allow", "allow", "deny"]))
    return {
        "effect": effect,
        "mode": draw(st.sampled_from(["enforce", "enforce", "enforce", "shadow"])),
        "tenant": draw(st.sampled_from(["", "", "", "acme"])),
        "match": draw(
            spec_of(
                optional("hosts", st.sampled_from(["api.test", "*.test", "{t}.test", "*"])), optional("paths", PATHS)
            )
        ),
        "rules": draw(st.lists(rules(effect), min_size=1, max_size=3)),
    }


PEERS = st.sampled_from(
    [
        Peer(address="10.1.0.1", principal="spiffe://td/ns/a/sa/b"),
        Peer(address="10.2.0.1", principal="spiffe://td/ns/c/sa/d"),
        Peer(address="192.0.2.1"),
        Peer(address="/run/socket"),
    ]
)
TARGETS = st.sampled_from([Peer(port=80), Peer(port=443), Peer()])
REQUESTS = st.builds(
    lambda method, path, host, lines, peer, target: a_request(
        method, path, host=host, headers=lines, source=peer, destination=target
    ),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(
        ["/", "/api", "/api/x", "/API/X", "/api/x/y", "/api/z/y", "/other", "/api/x?a=b", "/api/x?a=c&A=b"]
    ),
    st.sampled_from(["api.test", "b.test", "elsewhere.example"]),
    st.sampled_from([[], [("x-channel", "web")], [("x-channel", "web,acme")], [("x-channel", "app-web")]]),
    PEERS,
    TARGETS,
)
CONNECTIONS = st.builds(lambda peer, target: Connection(Facts(source=peer), peer, target), PEERS, TARGETS)
CALLERS = st.sampled_from(
    [
        ALICE,
        replace(ALICE, tenant="globex", roles=("clerk",), scopes=("payments",), claims=b'{"limit":70}'),
        replace(ALICE, roles=("clerk", "officer"), scopes=(), claims=b'{"limit":"x"}'),
        replace(ALICE, tenant="", roles=(), claims=b"[]"),
        ANONYMOUS,
    ]
)
QUESTIONS = st.lists(
    st.tuples(REQUESTS, CALLERS, st.sampled_from(["", "acme", "globex"])) | CONNECTIONS, min_size=20, max_size=40
)


def made(policies: list[NamedPolicy]) -> PolicySet:
    return compile_policies(policies, Names(), {}, [[] for _ in policies])


def without(policies: list[NamedPolicy], document: int, position: int) -> list[NamedPolicy]:
    policy = policies[document]
    left = tuple(rule for at, rule in enumerate(policy.spec.rules) if at != position)
    rest = [other for at, other in enumerate(policies) if at != document]
    return [*rest, NamedPolicy(policy.name, replace(policy.spec, rules=left))] if left else rest


def without_alternative(policies: list[NamedPolicy], document: int, location: Any) -> list[NamedPolicy]:
    policy, position, what, at = (
        policies[document],
        location[2],
        {"from": "from_", "to": "to"}[location[3]],
        location[4],
    )
    rules = list(policy.spec.rules)
    entries = getattr(rules[position], what)
    rules[position] = replace(rules[position], **{what: entries[:at] + entries[at + 1 :]})
    changed = NamedPolicy(policy.name, replace(policy.spec, rules=tuple(rules)))
    return [changed if place == document else other for place, other in enumerate(policies)]


def verdict(policies: PolicySet, question: Any) -> tuple[Any, ...]:
    if isinstance(question, Connection):
        found = policies.evaluate_connection(question)
    else:
        request, subject, tenant = question
        found = policies.evaluate(request, subject, tenant, NOW)
    return found.reason, found.policy, found.rule, found.route, found.scopes, found.shadow


seen: Counter[str] = Counter()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(documents=st.lists(specs(), min_size=1, max_size=5), questions=QUESTIONS)
def test_a_rule_that_lint_reports_decides_nothing_and_can_be_removed(
    documents: list[Any], questions: list[Any]
) -> None:
    # Rules are called by number, so that removing one does not rename the others.
    for document in documents:
        for at, rule in enumerate(document["rules"]):
            rule["name"] = f"r{at}"
    policies = [NamedPolicy(f"p{at}", msgspec.convert(found, AccessPolicySpec)) for at, found in enumerate(documents)]
    problems: list[Any] = [[] for _ in policies]
    whole = compile_policies(policies, Names(), {}, problems)
    if any(problem.severity == "error" for found in problems for problem in found):
        return  # a condition that reads a capture which is not there
    for document, problem in Examined(policies, {}).problems(lambda _span, _box: ""):
        seen[problem.code] += 1
        policy, position = policies[document], int(problem.location[2])
        if problem.code == "dead-alternative":
            rest = made(without_alternative(policies, document, problem.location))
            for question in questions:
                assert verdict(whole, question) == verdict(rest, question), problem
            continue
        if problem.code == "never-true-condition" and policy.spec.effect == "deny":
            for question in questions:
                reason, name, rule, *_ = verdict(whole, question)
                if not isinstance(question, Connection):
                    assert (reason, name, rule) != (Reason.POLICY_DENIED, policy.name, f"r{position}")
            continue
        rest = made(without(policies, document, position))
        for question in questions:
            found = verdict(whole, question)
            assert found == verdict(rest, question), problem
            assert (policy.name, f"r{position}") != found[1:3]


# --- conditions


TERMS = st.sampled_from(
    [
        "request.method == 'GET'",
        "request.method != 'GET'",
        "'POST' == request.method",
        "request.method in ['GET', 'PUT']",
        "request.method < 'H'",
        "request.method.startsWith('P')",
        "request.port > 80",
        "request.port >= 443",
        "request.port == 81",
        "443 > request.port",
        "subject.claims.limit > 10",
        "subject.claims.limit == 10",
        "subject.claims.limit != 10",
        "subject.claims.limit < 10.5",
        "subject.claims.limit == 'ten'",
        "subject.claims.limit == true",
        "subject.claims.limit in [10, 'ten']",
        "has(subject.claims.limit)",
        "int(subject.claims.limit) <= 9",
        "'a' in subject.roles",
        "'b' in subject.roles",
        "subject.roles.exists(r, r == 'a' && r == 'b')",
        "subject.authenticated",
        "2 > 1",
        "'x'.startsWith('y')",
        "int('x') == 1",
    ]
)
TEXTS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)
READINGS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
        "port": st.sampled_from([0, 80, 81, 443, 8443]),
        "claims": st.sampled_from(
            [
                b"{}",
                *(
                    b'{"limit":%s}' % value
                    for value in (b"9", b"10", b"10.25", b"11", b'"ten"', b'"10"', b"true", b"null", b"[]")
                ),
            ]
        ),
        "roles": st.sampled_from([(), ("a",), ("a", "b"), ("c",)]),
    }
)


@settings(deadline=None, max_examples=120)
@given(text=TEXTS, readings=st.lists(READINGS, min_size=10, max_size=20))
def test_what_a_condition_comes_to_is_always_among_what_is_said_to_be_possible(text: str, readings: list[Any]) -> None:
    """CEL's own evaluation against the enumeration of cases."""
    conditions = Conditions({})
    program, _ = conditions.condition(text)
    read = read_condition(text, conditions)
    assert program is not None
    assert read is not None
    possible = possible_results(read.formula, NO_FACTS)
    for reading in readings:
        request = replace(a_request(reading["method"]), port=reading["port"])
        subject = replace(ALICE, roles=reading["roles"], claims=reading["claims"])
        value = program.value(Asked(request, subject, "", NOW))
        assert possible & {True: TRUE, False: FALSE, FAILED: ERROR}[value], (text, reading)


# --- under profiles


ISSUERS = ("bank", "shop")
ISSUER = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: %(name)s}
spec:
  issuer: https://%(name)s.test
  audiences: [api]
  algorithms: [ES256]
  jwks: {uri: "https://%(name)s.test/certs"}
  claims: {tenant: tenant_id, tenantOptional: true, roles: [roles]}
"""
PROFILES = st.lists(
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(["/api/**", "/api/x", "/**", "/other/**"]),
            "mode": st.sampled_from(["required", "optional", "none"]),
            "issuers": st.sampled_from([["bank"], ["shop"], ["bank", "shop"]]),
        }
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda profile: profile["path"],
)
SIMPLE_RULES = spec_of(
    st.just({})
    | st.builds(
        lambda found: {"from": [found]},
        spec_of(
            optional("issuers", st.sampled_from(ISSUERS)),
            optional("roles", st.sampled_from(["officer", "clerk"])),
            optional("principals", st.sampled_from(["td/ns/a/sa/b"])),
        ),
    ),
    st.just({})
    | st.builds(
        lambda found: {"to": [found]},
        spec_of(
            optional("paths", st.sampled_from(["/api/x", "/api/**", "/other", "/API/x"])),
            optional("ports", st.just(80)),
        ),
    ),
    st.builds(
        lambda text: {"condition": text}, st.sampled_from(["", "", "request.path == '/api/x'", "subject.authenticated"])
    ),
)
SIMPLE = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["allow", "allow", "deny"]),
            "tenant": st.sampled_from(["", "", "acme"]),
            "rules": st.lists(SIMPLE_RULES, min_size=1, max_size=2),
        }
    ),
    min_size=1,
    max_size=3,
)
ASKED = st.lists(
    st.tuples(
        st.sampled_from(["/api/x", "/api/y", "/other", "/API/x", "/"]),
        st.sampled_from([None, *ISSUERS]),
        st.sampled_from([[], ["officer"], ["clerk"]]),
        st.sampled_from(["", "acme"]),
        st.sampled_from(["", "spiffe://td/ns/a/sa/b"]),
    ),
    min_size=8,
    max_size=12,
)


def documents_of(profiles: list[Any], policies: list[Any]) -> dict[str, bytes]:
    def document(kind: str, name: str, spec: Any) -> bytes:
        return msgspec.json.encode(
            {"apiVersion": "extauthz.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        )

    made = {f"{name}.yaml": (ISSUER % {"name": name}).encode() for name in ISSUERS}
    made["tenancy.yaml"] = document("Tenancy", "t", {"tenants": "data.tenants"})
    made["data/tenants.yaml"] = b"acme: {}\n"
    for at, profile in enumerate(profiles):
        issuers = {} if profile["mode"] == "none" else {"issuers": profile["issuers"]}
        spec = {"match": {"paths": [profile["path"]]}, "authentication": {"mode": profile["mode"], **issuers}}
        made[f"profile{at}.yaml"] = document("SecurityProfile", f"profile{at}", spec)
    for at, policy in enumerate(policies):
        made[f"policy{at}.yaml"] = document("AccessPolicy", f"p{at}", policy)
    return made


def decisions(bundle: dict[str, bytes], asked: list[Any]) -> list[tuple[Any, ...]]:
    engine = Engine(bundle)
    found = []
    for path, issuer, roles, tenant, principal in asked:
        claims = {
            "iss": f"https://{issuer}.test",
            "aud": "api",
            "sub": "u",
            "iat": int(time.time()),
            "exp": int(time.time()) + 60,
        }
        claims |= {"roles": roles} | ({"tenant_id": tenant} if tenant else {})
        token = engine.sign(issuer, claims) if issuer else None
        decision = engine.ask(path, host="api.test", token=token, principal=principal).decision
        found.append((decision.reason, decision.evidence.policy, decision.evidence.rule))
    return found


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(profiles=PROFILES, policies=SIMPLE, asked=ASKED)
def test_what_lint_reports_under_profiles_decides_nothing_either(
    profiles: list[Any], policies: list[Any], asked: list[Any]
) -> None:
    """The whole path, with real tokens: also what profiles keep out."""
    for policy in policies:
        for at, rule in enumerate(policy["rules"]):
            rule["name"] = f"r{at}"
    bundle = documents_of(profiles, policies)
    reported = {
        (int(finding.file.removeprefix("policy").removesuffix(".yaml")), int(finding.field[len("spec.rules[")]))
        for finding in lint_bundle(bundle).warnings
        if finding.code in {"unreachable-rule", "shadowed-rule"}
    }
    if not reported:
        return
    whole = decisions(bundle, asked)
    for document, position in reported:
        seen[f"under profiles: {document}"] += 1
        assert (f"p{document}", f"r{position}") not in [found[1:] for found in whole]
        rest = [
            {
                **policy,
                "rules": [rule for place, rule in enumerate(policy["rules"]) if (at, place) != (document, position)],
            }
            for at, policy in enumerate(policies)
        ]
        left = documents_of(profiles, rest)
        left = {name: text for name, text in left.items() if b'"rules":[]' not in text}
        assert whole == decisions(left, asked)
