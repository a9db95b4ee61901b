"""Replay agrees with asking the other bundle: for every decision it says the same, or that it cannot tell.

Bundles are generated from few words, so that rules, guards and requests meet; tokens are real.
"""

import json
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from extauthz.bundle.replay import Changed, Same, Unknown
from extauthz.wire import InboundOptions, read_check
from tests.engine import Engine
from tests.properties.recording import NOW, decide, record, verdict, world_of

TENANTS = {"acme": {"financialId": "f-1"}, "globex": {"financialId": "f-2"}, "initech": {}}
DATA = {"portfolio": {"u1": ["c1", "c2"], "u2": ["c3"]}, "blocked": ["u2", "203.0.113.9"], "limits": {"mobile": 100}}
PATHS = [
    "/api/**",
    "/api/{customer}",
    "/api/{customer}/loans",
    "/api/c1/*",
    "/API/{customer}",
    "/**",
    "/{tenant}/api/**",
]
CONDITIONS = [
    "params.customer == subject.id",
    "params.customer in data.portfolio[subject.id]",
    "subject.id in data.blocked",
    "request.headers['x-channel'] == 'mobile'",
    "request.headers['x-channel'] in ['mobile', 'branch'] && subject.tenant == resource.tenant",
    "has(request.headers.x_ticket) || request.query.view == 'all'",
    "request.query.owner == subject.id",
    "request.query.owner != params.customer",
    "subject.claims.department == 'loans'",
    "subject.claims.limit >= 100",
    "subject.claims.vip == true",
    "'c1' in subject.claims.groups",
    "subject.claims.groups.exists(g, g == request.query.owner)",
    "request.path == '/api/c1'",
    "request.path.startsWith('/api/c')",
    "subject.id.startsWith('u')",
    "remote.address in data.blocked || source.address == '203.0.113.9'",
    "request.headers['x-owner'] == subject.id",
    "request.segments[1] == 'c1'",
    "data.limits[request.headers['x-channel']] >= 100",
    "resource.tenant == request.headers['x-tenant']",
    "request.headers['x-owner'] == subject.claims.department",
    "connection.sni == 'api.bank.test' && source.namespace == 'web'",
]
WHENS = [
    {"key": "request.headers[x-channel]", "values": ["mobile", "bra*"]},
    {"key": "request.headers[x-channel]", "notValues": ["mobile"]},
    {"key": "request.headers[x-owner]", "values": ["u1", "*2"]},
    {"key": "request.query[owner]", "values": ["u1", "c1"]},
    {"key": "request.query[view]", "notValues": ["all"]},
    {"key": "request.auth.claims[department]", "values": ["loans", "cards"]},
    {"key": "request.auth.claims[groups]", "notValues": ["c1"]},
    {"key": "request.auth.claims[scope]", "values": ["read"]},
    {"key": "params[customer]", "values": ["c1", "U1", "u2"]},
    {"key": "remote.ip", "values": ["203.0.113.0/24"]},
    {"key": "source.ip", "notValues": ["10.0.0.0/8", "203.0.113.9"]},
    {"key": "request.auth.principal", "values": ["https://idp.bank.test/u1"]},
    {"key": "request.auth.principal", "values": ["https://idp.bank.test/*"]},
    {"key": "destination.port", "values": ["8443"]},
    {"key": "source.namespace", "values": ["web"]},
]
SOURCES = [
    {"roles": ["officer"]},
    {"notRoles": ["officer"]},
    {"scopes": ["read"]},
    {"tenants": ["acme", "glo*"]},
    {"clients": ["teller"]},
    {"requestPrincipals": ["https://idp.bank.test/u1", "https://idp.bank.test/u3"]},
    {"notRequestPrincipals": ["*"]},
    {"ipBlocks": ["10.0.0.0/8"]},
    {"notRemoteIpBlocks": ["203.0.113.0/25"]},
    {"principals": ["cluster.local/ns/web/sa/front"]},
    {"actors": ["u9"]},
    {"issuers": ["bank"]},
]
OBLIGATIONS = [
    {"upstreamHeaders": {"x-user": "subject.id"}},
    {"upstreamHeaders": {"x-limit": "subject.claims.limit"}},
    {"upstreamHeaders": {"x-groups": "subject.claims.groups"}},
    {"setQuery": {"owner": "subject.id"}},
    {"clientHeaders": {"x-for": "'for ' + subject.id"}},
    {"removeQuery": ["view"]},
]


def some(items: list[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(items), max_size=most)


@st.composite
def rules(draw: Any, effect: str) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    captures = False
    if draw(st.booleans()):
        sources = draw(some(SOURCES, 2))
        if sources:
            rule["from"] = sources
    paths = draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=2))
    operation: dict[str, Any] = {"paths": paths}
    if draw(st.booleans()):
        operation["methods"] = draw(st.lists(st.sampled_from(["GET", "POST"]), min_size=1, max_size=1))
    if draw(st.integers(0, 5)) == 0:
        operation["ports"] = [8443]
    if draw(st.integers(0, 5)) == 0:
        operation["notPaths"] = ["/api/secret/**"]
    rule["to"] = [operation]
    captures = any("{customer}" in path for path in paths)
    whens = [when for when in draw(some(WHENS, 2)) if captures or "params" not in when["key"]]
    if whens:
        rule["when"] = whens
    if draw(st.booleans()):
        condition = draw(st.sampled_from(CONDITIONS))
        if captures or "params" not in condition:
            rule["condition"] = condition
    if effect == "allow" and draw(st.integers(0, 2)) == 0:
        rule["obligations"] = draw(st.sampled_from(OBLIGATIONS))
    return rule


@st.composite
def policies(draw: Any) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        effect = draw(st.sampled_from(["allow", "allow", "deny"]))
        spec: dict[str, Any] = {"effect": effect, "rules": draw(st.lists(rules(effect), min_size=1, max_size=3))}
        if draw(st.integers(0, 5)) == 0:
            spec["tenant"] = "acme"
        if draw(st.integers(0, 7)) == 0:
            spec["mode"] = "shadow"
        for place, rule in enumerate(spec["rules"]):
            rule["name"] = f"r{place}"
        found.append({"kind": "AccessPolicy", "metadata": {"name": f"p{number}"}, "spec": spec})
    return found


@st.composite
def profiles(draw: Any) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {
        "match": {"hosts": ["api.bank.test"], "paths": ["/**"]},
        "authentication": {
            "mode": draw(st.sampled_from(["required", "required", "optional"])),
            "issuers": draw(st.sampled_from([["bank"], ["bank"], ["bank"], ["bank", "shop"], ["shop"]])),
        },
    }
    if draw(st.integers(0, 3)):
        spec["tenancy"] = {
            "resourceTenant": draw(
                st.sampled_from([[{"header": "x-tenant"}], [{"path": "/{tenant}/api/**"}, {"header": "x-tenant"}], []])
            )
        }
    if draw(st.integers(0, 3)) == 0:
        spec["stepUp"] = {"acr": ["gold"], "maxAge": "300s"}
    if draw(st.integers(0, 3)) == 0:
        spec["fapi"] = draw(
            st.sampled_from(
                [
                    {
                        "ecosystem": "custom",
                        "headers": {"x-kind": {"format": "text", "required": True, "methods": ["POST"]}},
                    },
                    {"ecosystem": "custom", "headers": {"x-kind": {"format": "uuid"}}},
                    {"ecosystem": "custom", "headers": {"x-channel": {"values": ["mobile"]}}},
                    {"ecosystem": "custom", "financialId": {"required": False}},
                    {"ecosystem": "cdr", "versions": [1, 2]},
                ]
            )
        )
    if draw(st.integers(0, 5)) == 0:
        spec["senderConstraint"] = {"accept": ["mtls"]}
    found = [{"kind": "SecurityProfile", "metadata": {"name": "bank"}, "spec": spec}]
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["none", "optional"]))
        open_spec: dict[str, Any] = {"match": {"hosts": ["api.bank.test"], "paths": ["/api/c1/**"]}}
        open_spec["authentication"] = {"mode": mode} if mode == "none" else {"mode": mode, "issuers": ["bank"]}
        found.append({"kind": "SecurityProfile", "metadata": {"name": "open"}, "spec": open_spec})
    return found


EMERGENCIES = [
    [],
    [],
    [],
    [{"kind": "Revocation", "metadata": {"name": "r"}, "spec": {"entries": [{"subject": "u2", "issuer": "bank"}]}}],
    [{"kind": "Revocation", "metadata": {"name": "r"}, "spec": {"entries": [{"tokenId": "t-1"}]}}],
    [{"kind": "Revocation", "metadata": {"name": "r"}, "spec": {"entries": [{"tenant": "globex"}]}}],
]


def issuer(name: str, iss: str, **more: Any) -> dict[str, Any]:
    spec = {
        "preset": "rfc9068",
        "issuer": iss,
        "jwks": {"uri": f"{iss}/certs"},
        "audiences": ["bank"],
        "algorithms": ["ES256"],
        "requireClaims": [],
        "claims": {"tenant": "tenant_id", "tenantOptional": True, "roles": ["roles"]},
        **more,
    }
    return {"kind": "Issuer", "metadata": {"name": name}, "spec": spec}


ISSUERS = [
    [issuer("bank", "https://idp.bank.test"), issuer("shop", "https://idp.shop.test")],
    [issuer("bank", "https://idp.bank.test"), issuer("shop", "https://idp.shop.test")],
    [issuer("bank", "https://idp.bank.test", audiences=["bank", "till"]), issuer("shop", "https://idp.shop.test")],
    [issuer("bank", "https://idp.shop.test"), issuer("shop", "https://idp.bank.test")],
]


@st.composite
def bundles(draw: Any) -> dict[str, bytes]:
    grants = [{"name": "support", "roles": ["officer"], "methods": ["GET"], "requireHeader": "x-ticket"}]
    documents = [
        *draw(st.sampled_from(ISSUERS)),
        {"kind": "Tenancy", "metadata": {"name": "t"}, "spec": {"tenants": "data.tenants", "crossTenant": grants}},
        *draw(profiles()),
        *draw(policies()),
        *draw(st.sampled_from(EMERGENCIES)),
    ]
    files = {
        f"{number}.yaml": json.dumps({"apiVersion": "extauthz.io/v1", **document}).encode()
        for number, document in enumerate(documents)
    }
    tenants = draw(st.sampled_from([TENANTS, TENANTS, {name: TENANTS[name] for name in ("acme", "globex")}]))
    files["data/tenants.json"] = json.dumps(tenants).encode()
    files |= {f"data/{name}.json": json.dumps(value).encode() for name, value in DATA.items()}
    return files


@st.composite
def requests(draw: Any) -> dict[str, Any]:
    headers = {}
    for name, values in {
        "x-channel": ["mobile", "branch", "web", "mobile,web", "", "u1"],
        "x-owner": ["u1", "u2", "loans", "c1"],
        "x-tenant": ["acme", "globex", "hooli", "acme,globex"],
        "x-ticket": ["T-1", ""],
        "x-kind": ["abc", "é", "0190b2c4-7d1e-7cc0-8a3e-5a9f7f3b1c11"],
        "x-v": ["1", "3", "x"],
        "x-fapi-financial-id": ["f-1", "f-2", "f 3"],
        "x-fapi-auth-date": ["Sun, 06 Nov 1994 08:49:37 GMT"],
    }.items():
        if draw(st.integers(0, 2)) == 0:
            headers[name] = draw(st.sampled_from(values))
    query = "&".join(draw(some(["owner=u1", "owner=c1", "view=all", "view=one", "Owner=u2", "%zz", "owner=u2"], 2)))
    path = draw(
        st.sampled_from(
            [
                "/api/c1",
                "/api/c9",
                "/api/u1",
                "/api/U1",
                "/API/c1",
                "/api/c1/loans",
                "/api/c9/loans",
                "/acme/api/c1",
                "/globex/api/u1",
                "/ACME/api/c1",
                "/api/secret/x",
                "/api/c%C3%A9",
                "/",
            ]
        )
    )
    claims = None
    if draw(st.integers(0, 5)):
        claims = {
            "iss": draw(st.sampled_from(["bank", "bank", "bank", "shop"])),
            "sub": draw(st.sampled_from(["u1", "u2", "u3", "c1"])),
            "aud": draw(st.sampled_from(["bank", "bank", "bank", "till"])),
            "exp": NOW + draw(st.sampled_from([600, 600, 600, -600])),
            "iat": NOW - 60,
            "client_id": draw(st.sampled_from(["teller", "kiosk"])),
            "jti": draw(st.sampled_from(["t-1", "t-2"])),
            "roles": draw(some(["officer", "clerk"], 2)),
        }
        for name, values in {
            "tenant_id": ["acme", "globex", "hooli"],
            "scope": ["read", "read write", "pay"],
            "department": ["loans", "sales", 5, None],
            "limit": [100, 5, "100", 1.5],
            "vip": [True, False],
            "groups": [["c1", "x"], [], ["u1", 5], "c1", ["a,b"]],
            "acr": ["gold", "silver"],
            "auth_time": [NOW - 10, NOW - 10_000],
            "act": [{"sub": "u9"}],
        }.items():
            if draw(st.booleans()):
                claims[name] = draw(st.sampled_from(values))
    return {
        "path": f"{path}?{query}" if query else path,
        "method": draw(st.sampled_from(["GET", "POST"])),
        "headers": headers,
        "claims": claims,
        "address": draw(st.sampled_from(["203.0.113.9", "203.0.113.200", "10.1.2.3", "2001:db8::1"])),
        "principal": draw(st.sampled_from(["", "spiffe://cluster.local/ns/web/sa/front"])),
        "port": draw(st.sampled_from([0, 8443, 80])),
    }


def check_of(engine: Engine, request: dict[str, Any]) -> bytes:
    found: list[bytes] = []
    token = None
    if request["claims"] is not None:
        claims = {name: value for name, value in request["claims"].items() if value is not None}
        name = claims["iss"]
        claims["iss"] = {"bank": "https://idp.bank.test", "shop": "https://idp.shop.test"}[name]
        token = engine.sign(name, claims, {"typ": "at+jwt"})

    def change(check: Any) -> None:
        check.attributes.source.address.socket_address.address = request["address"]
        check.attributes.destination.address.socket_address.port_value = request["port"]
        check.attributes.tls_session.sni = "api.bank.test"
        found.append(check.SerializeToString())

    engine.ask(
        request["path"],
        method=request["method"],
        host="api.bank.test",
        token=token,
        headers=request["headers"],
        principal=request["principal"],
        change=change,
    )
    return found[0]


TOLD: Counter[str] = Counter()


@settings(
    max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(old=bundles(), new=bundles(), asked=st.lists(requests(), min_size=4, max_size=12))
def test_replay_says_what_the_other_bundle_says_or_that_it_cannot_tell(
    old: dict[str, bytes], new: dict[str, bytes], asked: list[dict[str, Any]]
) -> None:
    before, after = Engine(old), Engine(new)
    world, same = world_of(new), world_of(old)
    kept, wanted = before.world.keeping, after.world.keeping
    reads_kept = all(
        set(getattr(wanted, name)) <= set(getattr(kept, name)) for name in ("headers", "query", "claims", "others")
    )
    for request in asked:
        raw = check_of(before, request)
        question = read_check(raw, InboundOptions())
        decision = decide(question, before.world, NOW)
        decided, event = record(question, decision, before.world)
        actual = decide(read_check(raw, InboundOptions()), after.world, NOW)
        found = world.replay(decided)
        if isinstance(found, Same):
            assert verdict(decision) == verdict(actual), (request, event)
        elif isinstance(found, Changed):
            assert verdict(found.decision) == verdict(actual), (request, event)
            assert verdict(decision) != verdict(actual)
        TOLD[("kept " if reads_kept else "other ") + type(found).__name__] += 1
        if isinstance(found, Unknown) and reads_kept:
            TOLD[found.needs] += 1
        again = same.replay(decided)
        assert not isinstance(again, Changed), (verdict(again.decision), verdict(decision), event)
        TOLD["self " + type(again).__name__] += 1
        if isinstance(again, Unknown):
            TOLD["self: " + again.needs] += 1
