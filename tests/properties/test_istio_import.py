"""An imported bundle decides as Istio's documentation says, for generated policies, workloads and requests."""

import json
import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jwt
import pytest
from envoy.service.auth.v3 import external_auth_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.mesh import Imported, ImportOptions, import_istio
from extauthz.model.request import Refused
from extauthz.wire import InboundOptions, read_check
from tests.engine import RSA_KEY, Engine
from tests.istio import INVALID, Asked, allows

LABELS = {"app": "accounts", "tier": "gold"}
ISSUERS = ["https://idp.example/realms/a", "https://idp.example/realms/ab"]
AUDIENCE = "accounts"

PATHS = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/",
    "/ab",
    "/admin",
    "/admin/x",
    "/admin/x/y",
    "/ADMIN",
    "/administrator",
    "/x.html",
    "/a/x.html",
    "/health",
    "/a/health",
    "/%61dmin",
    "/a%20b",
    "/a/b?q=/admin",
]
ODD_PATHS = ["//admin", "/a//b", "/a/../admin", "/a%2fb", "/a;b", "/admin/.", "/caf%C3%A9", "/a/b!", "*", ""]
PATTERNS = [
    "/a",
    "/a/",
    "/a/b",
    "/admin",
    "/admin/x",
    "/admin*",
    "/admin/*",
    "/a*",
    "/a/*",
    "/*",
    "*",
    "/",
    "*.html",
    "*/health",
    "*/b/",
    "*b",
    "/a%20b",
    "/%61*",
    "/a/{*}",
    "/{*}/x",
    "/admin/{**}",
    "/{*}/b/{**}",
    "/admin/{**}/y",
    "/a//b",
    "admin",
    "/a?q",
    "*a*",
    "/x.html",
    "/%C3%A9*",
    "*/",
]
HOSTS = [
    "api.example.com",
    "API.example.com",
    "api.example.com:8443",
    "www.example.com",
    "example.com",
    "10.0.0.1",
    "10.0.0.1:80",
    "[fe80::1]",
    "[::80]",
    "[fe80::1]:80",
]
HOST_PATTERNS = [
    "fe80*",
    "f*",
    "*1",
    "*0",
    "api.example.com",
    "API.Example.com",
    "api.example.com:*",
    "api.example.com:8443",
    "*.example.com",
    "*example.com",
    "api.*",
    "*",
    "*:80",
    "*80",
    "*43",
    "api.example.com:8*",
    "10.0.0.1",
    "ex*",
    "*.1",
]
METHODS = ["GET", "POST", "DELETE", "OPTIONS"]
METHOD_PATTERNS = [*METHODS, "get", "G*", "*T", "*"]
PEERS = [
    "",
    "spiffe://cluster.local/ns/web/sa/front",
    "spiffe://cluster.local/ns/ops/sa/front",
    "spiffe://cluster.local/ns/web-old/sa/back",
    "spiffe://other.example/ns/web/sa/front",
    "spiffe://cluster.local/ns/banking/sa/front",
]
PRINCIPALS = [
    "cluster.local/ns/web/sa/front",
    "cluster.local/ns/web/*",
    "cluster.local/ns/web*",
    "*/sa/front",
    "*front",
    "cluster*",
    "*",
    "spiffe://cluster.local/ns/web/sa/front",
    "other.example/ns/web/sa/front",
]
NAMESPACES = ["web", "web*", "*b", "ops", "*"]
ACCOUNTS = ["web/front", "front", "web-old/back"]
ADDRESSES = ["192.0.2.7", "10.1.2.3", "2001:db8::7"]
BLOCKS = ["192.0.2.7", "192.0.2.0/24", "10.1.2.3/8", "2001:db8::/32", "0.0.0.0/0"]
SUBS = ["u1", "u2"]
REQUEST_PRINCIPALS = [
    f"{ISSUERS[0]}/u1",
    f"{ISSUERS[0]}/*",
    "*/u1",
    "*",
    "https://idp.example/*",
    f"{ISSUERS[1]}/u2",
    "*2",
]
TEXTS = ["admin", "user", "5", "true", "adm*", "*min", "*", "5*", "t*", "us*r", "*e"]
CLAIMS = ["groups", "level", "scope", "permission", "words", "azp", "a][b"]
CLAIM_VALUES = st.one_of(
    st.sampled_from(
        ["admin", "user", "admin user", "5", "", 5, True, None, 1.5, {"b": "admin"}, {"b": ["user", 5]}, {"b": 5}]
    ),
    st.lists(st.sampled_from(["admin", "user", "5", 5, True]), max_size=3),
)
HEADERS = ["x-role", "X-Role", "user-agent", "x-trace"]
HEADER_VALUES = ["admin", "user", "5", "administrator"]
ODD_HEADER_VALUES = ["admin,user", "user, admin", "", "a,dmin"]


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


def fields(**names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the fields, and of their `not` twins."""
    known = {name: some(values) for name, values in names.items()}
    known |= {f"not{name[0].upper()}{name[1:]}": some(values) for name, values in names.items()}
    chosen = st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda keys: st.fixed_dictionaries({key: known[key] for key in keys}))


sources = fields(
    principals=PRINCIPALS,
    requestPrincipals=REQUEST_PRINCIPALS,
    namespaces=NAMESPACES,
    serviceAccounts=ACCOUNTS,
    ipBlocks=BLOCKS,
    remoteIpBlocks=BLOCKS,
)
operations = fields(hosts=HOST_PATTERNS, methods=METHOD_PATTERNS, paths=PATTERNS, ports=["8080", "80", "443"])
KEYS = {
    **{f"request.headers[{name}]": TEXTS for name in HEADERS},
    **{f"request.auth.claims[{name}]": TEXTS for name in CLAIMS},
    "request.auth.principal": REQUEST_PRINCIPALS,
    "request.auth.audiences": [AUDIENCE, "acc*", "other"],
    "request.auth.presenter": TEXTS,
    "source.principal": PRINCIPALS,
    "source.namespace": NAMESPACES,
    "source.ip": BLOCKS,
    "remote.ip": BLOCKS,
    "destination.ip": ["10.0.0.0/24", "10.0.1.0/24"],
    "destination.port": ["8080", "443"],
    "connection.sni": ["api.example.com", "*.example.com", "*"],
}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    key = draw(st.sampled_from(sorted(KEYS)))
    which = draw(st.sampled_from([("values",), ("notValues",), ("values", "notValues")]))
    return {"key": key, **{each: draw(some(KEYS[key])) for each in which}}


rules = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(sources.map(lambda each: {"source": each}), min_size=1, max_size=2),
        "to": st.lists(operations.map(lambda each: {"operation": each}), min_size=1, max_size=2),
        "when": st.lists(conditions(), min_size=1, max_size=2),
    },
)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {"action": draw(st.sampled_from(["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"]))}
    if draw(st.integers(0, 9)):
        spec["rules"] = draw(st.lists(rules, min_size=1, max_size=2))
    if selector := draw(
        st.sampled_from([{}, {}, {}, {"app": "accounts"}, {"app": "loans"}, {"tier": "gold", "app": "accounts"}])
    ):
        spec["selector"] = {"matchLabels": selector}
    metadata: dict[str, Any] = {"namespace": draw(st.sampled_from(["banking", "banking", "istio-system", "retail"]))}
    if not draw(st.integers(0, 9)):
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


AUTHENTICATION = {
    "apiVersion": "security.istio.io/v1",
    "kind": "RequestAuthentication",
    "metadata": {"namespace": "banking"},
    "spec": {
        "jwtRules": [
            {
                "issuer": iss,
                "jwksUri": "https://idp.example/keys",
                "audiences": [AUDIENCE],
                "forwardOriginalToken": True,
                **more,
            }
            for iss, more in zip(ISSUERS, ({"spaceDelimitedClaims": ["words"]}, {}), strict=True)
        ]
    },
}


@st.composite
def meshes(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = draw(st.lists(policies(), min_size=1, max_size=4))
    if draw(st.booleans()):
        found.append(AUTHENTICATION)
    return [{**each, "metadata": {"name": f"p{at}", **each["metadata"]}} for at, each in enumerate(found)]


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    token: Any = draw(st.sampled_from([None, None, INVALID, "claims", "claims", "claims"]))
    if token == "claims":
        names = [name for name in CLAIMS if "]" not in name] + ["a"]
        claims = draw(st.dictionaries(st.sampled_from(names), CLAIM_VALUES, max_size=3))
        for name in ("azp", "scope"):  # who would sign anything but texts under these names is not believed
            if name in claims and (not isinstance(claims[name], str) or not claims[name]):
                claims[name] = draw(st.sampled_from(["admin", "user 5"]))
        token = {
            **claims,
            "iss": draw(st.sampled_from(ISSUERS)),
            "sub": draw(st.sampled_from(SUBS)),
            "aud": draw(st.sampled_from([AUDIENCE, [AUDIENCE, "other"], "other"])),
        }
    odd = draw(st.integers(0, 4)) == 0
    source, remote, tcp = (
        draw(st.sampled_from(ADDRESSES)),
        draw(st.sampled_from(ADDRESSES)),
        draw(st.integers(0, 9)) == 0,
    )
    return Asked(
        method=draw(st.sampled_from(METHODS)),
        authority=draw(st.sampled_from(HOSTS)),
        path=draw(st.sampled_from(PATHS + (ODD_PATHS if odd else []))),
        headers=draw(
            st.dictionaries(
                st.sampled_from(["x-role", "user-agent"]),
                st.sampled_from(HEADER_VALUES + (ODD_HEADER_VALUES if odd else [])),
                max_size=2,
            )
        ),
        peer=draw(st.sampled_from(PEERS)),
        source_ip=source,
        remote_ip=source if tcp else remote,  # what is no HTTP has no X-Forwarded-For
        destination_port=draw(st.sampled_from([8080, 443])),
        sni=draw(st.sampled_from(["", "api.example.com"])),
        token=token,
        tcp=tcp,
    )


def bundle_of(mesh: list[dict[str, Any]]) -> Imported | None:
    """The import, None when no document is for the workload (and nothing is written)."""
    text = "\n---\n".join(json.dumps(each) for each in mesh)
    mine = any(
        each["metadata"]["namespace"] != "retail"
        and all(LABELS.get(k) == v for k, v in each["spec"].get("selector", {}).get("matchLabels", {}).items())
        for each in mesh
    )
    return (
        import_istio({"mesh.yaml": text.encode()}, ImportOptions(namespace="banking", labels=LABELS)) if mine else None
    )


def check_of(asked: Asked) -> bytes:
    """The CheckRequest that Envoy would send."""
    check = external_auth_pb2.CheckRequest()
    attributes = check.attributes
    attributes.source.address.socket_address.address = asked.source_ip
    attributes.source.principal = asked.peer
    attributes.destination.address.socket_address.address = asked.destination_ip
    attributes.destination.address.socket_address.port_value = asked.destination_port
    attributes.tls_session.sni = asked.sni
    if asked.tcp:
        return check.SerializeToString()
    http = attributes.request.http
    http.id, http.method, http.path, http.host, http.protocol = (
        "1",
        asked.method,
        asked.path,
        asked.authority,
        "HTTP/1.1",
    )
    http.headers.update(asked.headers)
    http.headers["x-forwarded-for"] = asked.remote_ip
    if asked.token is not None:
        token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2ln" if asked.token == INVALID else sign(asked.token)
        kind, name = asked.place.split()
        if kind == "param":
            http.path += f"{'&' if '?' in asked.path else '?'}{name}={token}"
        else:
            http.headers["cookie" if kind == "cookie" else name] = {
                "header": f"Bearer {token}",
                "cookie": f"a=b; {name}={token}",
            }[kind]
    return check.SerializeToString()


def sign(claims: dict[str, Any]) -> str:
    return _sign(json.dumps(claims))


@lru_cache(maxsize=4096)
def _sign(claims: str) -> str:
    now = int(time.time())
    whole = {"iat": now, "exp": now + 3600, **json.loads(claims)}
    return jwt.encode(whole, RSA_KEY, algorithm="RS256", headers={"kid": "k1"})


def is_plain(asked: Asked, engine: Engine) -> bool:
    """Whether the request has one reading to everybody; others are refused, or their headers held against them."""
    claims = asked.token if isinstance(asked.token, dict) else {}
    if any(isinstance(value, float) or (isinstance(value, dict) and name != "a") for name, value in claims.items()):
        return False  # fractions and objects have no one text
    values = asked.headers.values()
    known = not isinstance(read_check(check_of(asked), engine.inbound), Refused)
    return known and not asked.tcp and not any("," in value or not value for value in values)


ALLOW_ALL = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "rest", "namespace": "banking"},
    "spec": {"rules": [{}]},
}
EVERY_PATH = [Asked(path=path) for path in PATHS + ODD_PATHS]
EVERY_PEER = [Asked(peer=peer) for peer in PEERS]
EVERY_ADDRESS = [Asked(source_ip=one, remote_ip=two) for one in ADDRESSES for two in ADDRESSES]
BEARERS = [{"iss": iss, "sub": sub, "aud": AUDIENCE} for iss in ISSUERS for sub in [*SUBS, "a/u1"]]
EVERY_CALLER = [Asked(), Asked(token=INVALID), *(Asked(token=token) for token in BEARERS)]
PLAIN_VALUES = [
    "admin",
    "user",
    "admin user",
    "5",
    5,
    True,
    None,
    1.5,
    [],
    ["admin", 5],
    ["user", "5"],
    [True],
    {"b": "admin"},
    {"b": ["user", 5]},
    {"b": 5},
    "true",
    "trusted",
    "us*r",
]


def every_claim(key: str) -> list[Asked]:
    name = key.removeprefix("request.auth.claims[").removesuffix("]").split("][")[0]
    values = PLAIN_VALUES if name not in {"azp", "scope"} else ["admin", "user", "admin user", "5", "true"]
    tokens = [{**BEARERS[at % 2 * 3], name: value} for value in values for at in (0, 1)]
    return [*EVERY_CALLER, *(Asked(token=token) for token in tokens)]


EVERY_HEADER = [
    Asked(headers={name: value})
    for name in ("x-role", "user-agent")
    for value in [*HEADER_VALUES, *ODD_HEADER_VALUES, "true", "us*r"]
]
# A field, what its values may be, and requests of which some match and some do not.
FIELDS: dict[str, tuple[list[str], list[Asked]]] = {
    "paths": (PATTERNS, EVERY_PATH),
    "hosts": (HOST_PATTERNS, [Asked(authority=host) for host in HOSTS]),
    "methods": (METHOD_PATTERNS, [Asked(method=method) for method in METHODS]),
    "ports": (["8080", "0443", "80"], [Asked(destination_port=port) for port in (8080, 443)]),
    "principals": (PRINCIPALS, EVERY_PEER),
    "namespaces": (NAMESPACES, EVERY_PEER),
    "serviceAccounts": (ACCOUNTS, EVERY_PEER),
    "requestPrincipals": (REQUEST_PRINCIPALS, EVERY_CALLER),
    "ipBlocks": (BLOCKS, EVERY_ADDRESS),
    "remoteIpBlocks": (BLOCKS, EVERY_ADDRESS),
}


def rules_about(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Rules that compare one attribute."""
    if name in KEYS:
        return st.builds(
            lambda sign, values: {"when": [{"key": name, sign: values}]},
            st.sampled_from(["values", "notValues"]),
            some(KEYS[name]),
        )
    where, part = ("to", "operation") if name in {"paths", "hosts", "methods", "ports"} else ("from", "source")
    both = [name, f"not{name[0].upper()}{name[1:]}"]
    return st.builds(
        lambda field, values: {where: [{part: {field: values}}]}, st.sampled_from(both), some(FIELDS[name][0])
    )


def requests_about(name: str) -> list[Asked]:
    """Requests that differ in that attribute."""
    if name in FIELDS:
        return FIELDS[name][1]
    if name.startswith("request.auth"):
        return every_claim(name if "claims" in name else "azp" if "presenter" in name else "other")
    return EVERY_HEADER if "headers" in name else EVERY_PEER + EVERY_ADDRESS + [Asked(sni="api.example.com")]


def compare(mesh: list[dict[str, Any]], asked: list[Asked]) -> None:
    """The same for every plain request; never more for any, connections and ambiguous requests included."""
    imported = bundle_of(mesh)
    if imported is None:
        return
    engine = Engine(imported.files, InboundOptions(xff_trusted_hops=1))
    for each in asked:
        ours = engine.ask_bytes(check_of(each)).allowed
        theirs = allows(mesh, each, "banking", LABELS)
        assert theirs or not ours, ("allows more", each)
        if imported.is_whole and is_plain(each, engine):
            assert ours == theirs, ("allows less", each)


@pytest.mark.parametrize("name", [*FIELDS, *KEYS])
@settings(deadline=None, max_examples=6)
@given(data=st.data(), action=st.sampled_from(["ALLOW", "DENY"]))
def test_each_attribute_alone_means_what_it_means_in_istio(name: str, data: st.DataObject, action: str) -> None:
    rule, asked = data.draw(rules_about(name)), requests_about(name)
    policy = {
        **ALLOW_ALL,
        "metadata": {"name": "p", "namespace": "banking"},
        "spec": {"action": action, "rules": [rule]},
    }
    mesh = [
        policy,
        {**AUTHENTICATION, "metadata": {"name": "a", "namespace": "banking"}},
        *([ALLOW_ALL] if action == "DENY" else []),
    ]
    compare(mesh, [*asked, *(replace(each, tcp=True, remote_ip=each.source_ip) for each in asked[:4])])


@settings(deadline=None, max_examples=25)
@given(meshes(), st.lists(requests(), min_size=16, max_size=16))
def test_an_imported_bundle_decides_as_istio_does(mesh: list[dict[str, Any]], asked: list[Asked]) -> None:
    compare(mesh, asked)


HARD_CONDITIONS = [
    {"key": "experimental.envoy.filters.network.mysql_proxy[db.table]", "values": ["[update]"]},
    {"key": "experimental.envoy.filters.http.lua[x]", "notValues": ["y"]},
    {"key": "request.headers[x-role]", "values": ["admin,user"]},
    {"key": "request.headers[x-role]", "notValues": ["admin,user", "user"]},
    {"key": "request.headers[x-role]", "notValues": ["*"]},
    {"key": "request.headers[:path]", "values": ["/admin"]},
    {"key": "source.namespace", "notValues": ["w*b", "ops"]},
    {"key": "connection.sni", "notValues": ["api.example.com"]},
]
HARD_SOURCES = [
    {"trustDomains": ["cluster.local"]},
    {"namespaces": ["w*b"], "notPrincipals": ["*"]},
    {"notNamespaces": ["w*b", "web"]},
    {"serviceAccounts": ["web/*"]},
    {"requestPrincipals": ["https://idp.example/*"]},
    {"notRequestPrincipals": ["https://idp.example/*", "*/u1"]},
]
HARD_OPERATIONS = [
    {"hosts": ["api.example.com."]},
    {"notHosts": ["api.example.com.", "[::1]:80"]},
    {"paths": ["/{a}/{*}"]},
    {"notPaths": ["/a//b", "/admin/{**}/"]},
    {"paths": ["/a//b"]},
]
hard_parts = {
    "from": st.lists(
        st.one_of(st.sampled_from(HARD_SOURCES), sources).map(lambda each: {"source": each}), min_size=1, max_size=2
    ),
    "to": st.lists(
        st.one_of(st.sampled_from(HARD_OPERATIONS), operations).map(lambda each: {"operation": each}),
        min_size=1,
        max_size=2,
    ),
    "when": st.lists(st.one_of(st.sampled_from(HARD_CONDITIONS), conditions()), min_size=1, max_size=2),
}
hard_rules = st.one_of(
    st.sampled_from(HARD_SOURCES).map(lambda each: {"from": [{"source": each}]}),
    st.sampled_from(HARD_OPERATIONS).map(lambda each: {"to": [{"operation": each}]}),
    st.sampled_from(HARD_CONDITIONS).map(lambda each: {"when": [each]}),
    st.fixed_dictionaries({}, optional=hard_parts),
)
PLACES = ["header authorization", "header x-jwt", "param jwt", "param access_token", "cookie session"]


@st.composite
def hard_meshes(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for each in draw(st.lists(policies(), min_size=1, max_size=2)):
        spec = {**each["spec"], "rules": draw(st.lists(hard_rules, min_size=1, max_size=2))}
        spec.pop("selector", None)
        if not draw(st.integers(0, 3)):
            spec |= {"action": "CUSTOM", "provider": {"name": "opa"}}
            each["metadata"].pop("annotations", None)  # CUSTOM policies have no dry run
        found.append({**each, "spec": spec})
    if draw(st.integers(0, 2)):
        jwt_rules = []
        for iss in ISSUERS:
            rule: dict[str, Any] = {
                "issuer": iss,
                "jwksUri": draw(st.sampled_from(["https://idp.example/keys", "http://idp.example/keys"])),
            }
            rule |= draw(st.sampled_from([{"audiences": [AUDIENCE]}, {"audiences": [AUDIENCE]}, {}]))
            rule |= draw(
                st.sampled_from(
                    [
                        {},
                        {},
                        {"fromHeaders": [{"name": "x-jwt"}]},
                        {"fromParams": ["jwt"]},
                        {"fromCookies": ["session"], "fromHeaders": [{"name": "Authorization", "prefix": "Bearer "}]},
                    ]
                )
            )
            jwt_rules.append(rule)
        found.append({**AUTHENTICATION, "spec": {"jwtRules": jwt_rules}})
    return [{**each, "metadata": {"name": f"p{at}", **each["metadata"]}} for at, each in enumerate(found)]


@settings(deadline=None, max_examples=25)
@given(hard_meshes(), st.lists(st.tuples(requests(), st.sampled_from(PLACES)), min_size=16, max_size=16))
def test_what_cannot_be_carried_over_never_lets_anything_pass(
    mesh: list[dict[str, Any]], asked: list[tuple[Asked, str]]
) -> None:
    """Whatever the lost parts would have said: what the bundle allows, Istio allows."""
    imported = bundle_of(mesh)
    if imported is None:
        return
    engine = Engine(imported.files, InboundOptions(xff_trusted_hops=1))
    for request, place in asked:
        each = replace(request, place=place)
        if engine.ask_bytes(check_of(each)).allowed:
            for unknown in (True, False):
                assert allows(mesh, replace(each, unknown=unknown, custom=False), "banking", LABELS), each
