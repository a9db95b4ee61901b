"""For any two tenants and any mix of requests: never an allow across them without a crossTenant grant."""

import json
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model.decision import Allow
from tests.engine import Engine, load

EXAMPLES = Path(__file__).parents[2] / "examples"


class Shop:
    """One bundle with what a hostile tenant can vary: hosts, paths, roles, claims and tenants that the bundle itself names."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.engine = Engine(files)
        documents = [d for name, text in files.items() if name.endswith(".yaml") for d in yaml.safe_load_all(text) if d]
        kinds = [d for d in documents if isinstance(d, dict) and "kind" in d]
        self.tenants = sorted(self.engine.world.tenants)
        text = json.dumps([d for d in kinds if d["kind"] != "PolicyTest"])
        self.roles = sorted({r for d in kinds for r in _find(d, "roles") if isinstance(r, str)})
        self.scopes = sorted({s for d in kinds for s in _find(d, "scopes") if isinstance(s, str)})
        self.paths = sorted(
            {p for d in kinds for p in _find(d, "paths") if isinstance(p, str)}
            | {p for p in _find(kinds, "path") if isinstance(p, str)}
        )
        self.hosts = sorted({h.replace("*", "www") for d in kinds for h in _find(d, "hosts") if isinstance(h, str)})
        self.headers = sorted({h for h in _find(kinds, "header") if isinstance(h, str)} | {"x-tenant-id"})
        self.principals = sorted({p for d in kinds for p in _find(d, "principals") if isinstance(p, str)})
        self.grants = "crossTenant" in text


def _find(node: object, key: str) -> list[object]:
    if isinstance(node, dict):
        own = node.get(key, [])
        return [*(own if isinstance(own, list) else [own]), *(x for v in node.values() for x in _find(v, key))]
    return [x for v in node for x in _find(v, key)] if isinstance(node, list) else []


GENERATED = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {{name: idp}}
spec: {{preset: rfc9068, issuer: "https://idp.test", jwks: {{uri: "https://idp.test/jwks"}}, audiences: [shop], algorithms: [ES256], claims: {{tenant: tenant_id, roles: [roles]}}}}
---
apiVersion: extauthz.io/v1
kind: Tenancy
metadata: {{name: tenants}}
spec: {{tenants: data.tenants}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: shop}}
spec:
  match: {{hosts: ["shop.test", "*.shop.test"], paths: [/**]}}
  authentication: {{mode: required, issuers: [idp]}}
  tenancy: {{resourceTenant: {sources}, whenAbsent: {absent}}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: wide-open}}
spec:
  effect: allow
  rules: [{{name: anything}}]
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: bound}}
spec:
  effect: allow
  tenant: t1
  rules: [{{name: anything, to: [{{paths: ["/v/{{tenant}}/**"]}}]}}]
"""

SOURCES = [{"path": "/v/{tenant}/**"}, {"path": "/{tenant}"}, {"host": "{tenant}.shop.test"}, {"header": "x-tenant-id"}]
names = st.sampled_from(["t1", "t2", "t3", "T1", "t1 ", "nobody", "", "t1,t2", "%74%31"])


def _claims(issuer, tenant: object, roles: list[str], scopes: list[str]) -> dict[str, object]:
    now = int(time.time())
    claims = {
        "iss": issuer.issuer, "aud": [*issuer.audiences], "sub": "mallory", "azp": "app", "client_id": "app", "jti": "1", "typ": "Bearer",
        "iat": now, "exp": now + 300, "scope": " ".join(scopes), "roles": roles, "realm_access": {"roles": roles},
    }  # fmt: skip
    return claims | dict.fromkeys(("tenant_id", "vendor_id", "tenant", "org_id", "vendor"), tenant)


def _never_across(shop: Shop, answer, own: str) -> None:
    if not isinstance(answer.decision, Allow):
        return
    evidence = answer.decision.evidence
    if evidence.cross_tenant:
        assert shop.grants
        return
    assert evidence.tenant in {own, ""}
    if evidence.subject.tenant:
        assert own == evidence.subject.tenant


@pytest.fixture(scope="module", params=["banking", "marketplace"])
def shop(request) -> Shop:
    return Shop(load(EXAMPLES / request.param))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_request_of_a_reference_bundle_crosses_tenants_without_a_grant(shop, data):
    """A hostile caller of one tenant uses every route, role, header and host the bundle knows to reach another."""
    own, other = data.draw(st.sampled_from(shop.tenants)), data.draw(st.sampled_from(shop.tenants))
    issuer = data.draw(st.sampled_from(sorted(shop.engine.issuers)))
    roles = data.draw(st.lists(st.sampled_from([*shop.roles, "none"]), max_size=3))
    scopes = data.draw(st.lists(st.sampled_from([*shop.scopes, "none"]), max_size=3))
    pattern = data.draw(st.sampled_from(shop.paths))
    filler = st.sampled_from([own, other, "x"])
    path = "/".join(
        data.draw(filler) if part.startswith("{") or part in {"*", "**"} else part for part in pattern.split("/")
    )
    host = (
        data.draw(st.sampled_from(shop.hosts))
        .replace("{tenant}", data.draw(filler))
        .replace("{vendor}", data.draw(filler))
    )
    headers = data.draw(
        st.dictionaries(
            st.sampled_from(shop.headers), st.sampled_from([own, other, f"{own},{other}", "", "T-1"]), max_size=3
        )
    )
    answer = shop.engine.ask(
        path,
        method=data.draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"])),
        host=host,
        headers=headers,
        principal=data.draw(st.sampled_from([*shop.principals, ""])).replace("*", "gw"),
        token=shop.engine.sign(issuer, _claims(shop.engine.issuers[issuer], own, roles, scopes)),
    )
    _never_across(shop, answer, own)


@settings(max_examples=60, deadline=None)
@given(
    sources=st.lists(st.sampled_from(SOURCES), min_size=1, max_size=4, unique_by=str),
    absent=st.sampled_from(["subject", "deny"]),
    data=st.data(),
)
def test_no_request_of_a_generated_bundle_crosses_tenants(sources, absent, data):
    """Whatever sources a bundle names and however wide its policies allow: the tenants stay apart."""
    files = {
        "bundle.yaml": b"apiVersion: extauthz.io/v1\nkind: Bundle\nmetadata: {name: generated}\nspec: {revision: g1}\n",
        "documents.yaml": GENERATED.format(sources=json.dumps(sources), absent=absent).encode(),
        "data/tenants.yaml": b"t1: {}\nt2: {}\nt3: {}\n",
    }
    shop = Shop(files)
    for _ in range(8):
        own = data.draw(st.sampled_from(["t1", "t2", "t3"]))
        path = data.draw(st.sampled_from(["/v/{}/x", "/{}", "/x/y", "/v/{}", "/"])).format(data.draw(names))
        host = data.draw(st.sampled_from(["shop.test", "{}.shop.test"])).format(data.draw(names))
        headers = {"x-tenant-id": value} if (value := data.draw(st.one_of(st.none(), names))) is not None else {}
        token = shop.engine.sign("idp", _claims(shop.engine.issuers["idp"], own, [], []), {"typ": "at+jwt"})
        answer = shop.engine.ask(path, host=host, headers=headers, token=token)
        _never_across(shop, answer, own)
        if answer.allowed:
            named = {unquote(value) for value in (path.split("/")[2:3] if path.startswith("/v/") else []) if value}
            assert named <= {own} or {"path": "/v/{tenant}/**"} not in sources
