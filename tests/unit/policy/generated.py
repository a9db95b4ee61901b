"""Generated policies, requests and callers, small enough in words that they meet."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.request import Peer
from extauthz.model.subject import ANONYMOUS
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE

HOSTS = ["api.test", "shop.test", "a.shop.test", "b.a.shop.test", "other.test"]
SEGMENTS = ["api", "API", "admin", "Admin", "c1", "x"]
TENANTS = ["acme", "globex"]

TOKENS = st.sampled_from([*SEGMENTS, "*", "{id}"])


@st.composite
def patterns(draw: Any) -> str:
    tokens = draw(st.lists(TOKENS, max_size=3))
    seen = [token for at, token in enumerate(tokens) if token != "{id}" or "{id}" not in tokens[:at]]
    many = draw(st.integers(-1, len(seen)))
    if many >= 0:
        seen.insert(many, "**")
    return "/" + "/".join(seen)


def optional(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.lists(values, min_size=1, max_size=3, unique=True)
    return st.just({}) | st.just({}) | st.builds(lambda found: {name: found}, lists)


def spec_of(*fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda *parts: {key: value for part in parts for key, value in part.items()}, *fields)


def both(name: str, values: st.SearchStrategy[Any]) -> list[st.SearchStrategy[dict[str, Any]]]:
    return [optional(name, values), st.just({}) | optional(f"not{name[0].upper()}{name[1:]}", values)]


SOURCES = spec_of(
    *both("roles", st.sampled_from(["officer", "officer", "auditor", "clerk", "nobody", "off*", "*", "*tor"])),
    *both("clients", st.sampled_from(["teller-app", "other-app"])),
    *both("issuers", st.sampled_from(["keycloak", "okta"])),
    *both("tenants", st.sampled_from([*TENANTS, "*"])),
    *both("requestPrincipals", st.sampled_from(["*", "https://idp.test/alice", "https://other.test/*"])),
    *both("principals", st.sampled_from(["td/ns/a/sa/b", "td/ns/a/*", "*/sa/b", "*"])),
    *both("scopes", st.sampled_from(["openid", "payments", "acc*"])),
    *both("ipBlocks", st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1"])),
)
OPERATIONS = spec_of(
    *both("hosts", st.sampled_from([*HOSTS, "*.test", "*.shop.test", "a.*", "*", "SHOP.test"])),
    *both("methods", st.sampled_from(["GET", "POST", "P*", "*"])),
    *both("paths", patterns()),
)
WHENS = st.builds(
    lambda name, value: {"key": "subject.tenant", name: [value]},
    st.sampled_from(["values", "notValues"]),
    st.sampled_from(TENANTS),
)
RULES = spec_of(
    st.just({}) | st.builds(lambda found: {"from": found}, st.lists(SOURCES, min_size=1, max_size=3)),
    st.just({}) | st.builds(lambda found: {"to": found}, st.lists(OPERATIONS, min_size=1, max_size=3)),
    st.just({}) | st.builds(lambda found: {"when": [found]}, WHENS),
)
MATCHES = spec_of(
    optional("hosts", st.sampled_from([*HOSTS, "*.test", "*.shop.test", "{t}.shop.test", "*"])),
    optional("paths", patterns()),
)
SPECS = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(["allow", "allow", "deny"]),
        "mode": st.sampled_from(["enforce", "enforce", "shadow"]),
        "tenant": st.sampled_from(["", "", *TENANTS]),
        "match": MATCHES,
        "rules": st.lists(RULES, min_size=1, max_size=3),
    }
)
REQUESTS = st.builds(
    lambda method, host, segments, peer: a_request(method, "/" + "/".join(segments), host=host, source=peer),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(SEGMENTS), max_size=4),
    st.sampled_from(
        [
            Peer(address="10.1.0.1"),
            Peer(address="10.2.0.1", principal="spiffe://td/ns/a/sa/b"),
            Peer(address="192.0.2.1"),
        ]
    ),
)
SUBJECTS = st.sampled_from(
    [
        ALICE,
        replace(ALICE, tenant="globex", roles=(), scopes=("payments",)),
        replace(ALICE, roles=("clerk", "officer"), client="other-app", issuer_name="okta"),
        ANONYMOUS,
    ]
)
