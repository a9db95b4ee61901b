"""An imported bundle against Envoy's own RBAC filter, as Istio configures it: the same requests through one real Envoy.

Each policy is a route of its own under RBAC; what Envoy asks extauthz about the same request goes to the imported bundle. So the
oracle of the property tests, which is Istio's documentation, is held against the proxy, too.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy.service.auth.v3 import external_auth_pb2 as auth

from extauthz.cli.demo_envoy import Envoy
from extauthz.mesh import ImportOptions, import_istio
from tests.engine import Engine
from tests.envoy.clients import send_h1
from tests.envoy.rbac import TYPE, per_route
from tests.envoy.scripted_authz import ScriptedAuthz
from tests.envoy.variants import Variant, build
from tests.istio import Asked, allows

PATHS = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/c",
    "/a/b/",
    "/ab",
    "/A",
    "/%61",
    "/a%20b",
    "/x.html",
    "/a/../x.html",
    "/a/./b",
    "/x/health",
    "/a?q=/x.html",
    "/a//b",
    "/a%2fb",
    "/a;b",
]
PATH_VALUES = [
    "/a",
    "/a*",
    "/a/*",
    "/*",
    "*",
    "*.html",
    "*/health",
    "*b",
    "/a/{*}",
    "/{*}/b",
    "/a/{**}",
    "/{*}/b/{**}",
    "/a/{**}/c",
    "/a%20b",
    "/A",
    "*b*",
    "/a//b",
]
HOSTS = ["api.example.com", "API.example.com", "api.example.com:8443", "www.example.com", "10.0.0.1:80"]
HOST_VALUES = [
    "api.example.com",
    "API.Example.com",
    "api.example.com:*",
    "api.example.com:8443",
    "*.example.com",
    "*.example.com:8*",
    "api.*",
    "*",
    "*:80",
    "*43",
    "10.0.0.1",
]
METHODS = ["GET", "POST", "DELETE"]
METHOD_VALUES = ["GET", "get", "P*", "*T", "*"]
HEADERS = [{}, {"x-role": "admin"}, {"x-role": "administrator"}, {"X-Role": "user"}, {"x-role": "5"}]
HEADER_VALUES = ["admin", "adm*", "*min", "*", "5"]


Request = tuple[str, str, str, dict[str, str]]  # target, host, method, headers
BY_PATH: list[Request] = [(path, "api.example.com", "GET", {}) for path in PATHS]
BY_HOST: list[Request] = [("/a", host, "GET", {}) for host in HOSTS]
BY_METHOD: list[Request] = [("/a", "www.example.com", method, {}) for method in METHODS]
BY_HEADER: list[Request] = [("/a", "api.example.com", "GET", headers) for headers in HEADERS]
REQUESTS = [*BY_PATH, *BY_HOST, *BY_METHOD, *BY_HEADER]


def rules() -> Iterator[tuple[dict[str, Any], list[Request]]]:
    """Rules with one value each, positive and negative, and requests of which some match."""
    fields = (("paths", PATH_VALUES, BY_PATH), ("hosts", HOST_VALUES, BY_HOST), ("methods", METHOD_VALUES, BY_METHOD))
    for name, values, requests in fields:
        for field in (name, f"not{name.capitalize()}"):
            yield from (({"to": [{"operation": {field: [value]}}]}, requests) for value in values)
    for field in ("values", "notValues"):
        yield from (
            ({"when": [{"key": "request.headers[X-Role]", field: [value]}]}, BY_HEADER) for value in HEADER_VALUES
        )
    for field in ("ipBlocks", "notIpBlocks"):
        blocks = ("127.0.0.1", "127.1.2.3/8", "10.0.0.0/8")
        yield from (({"from": [{"source": {field: [value]}}]}, BY_METHOD) for value in blocks)
    several = {"methods": ["GET"], "paths": ["/a*", "/x*"], "notPaths": ["*b"]}
    yield {"to": [{"operation": several}, {"operation": {"hosts": ["www.*"]}}]}, REQUESTS


RULES = list(rules())


@pytest.fixture(scope="module")
def proxy(envoy_work: Path, upstream_port: int, scripted: ScriptedAuthz) -> Iterator[Envoy]:
    """An Envoy with a second listener `rbac`: a route for each rule, chosen by the header x-case."""
    directory = envoy_work / "rbac"
    directory.mkdir()
    config = build(
        Variant(), authz_port=scripted.port, upstream_port=upstream_port, access_log=directory / "access.log"
    )
    listener = copy.deepcopy(config["static_resources"]["listeners"][0])
    listener["name"] = "rbac"
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager.pop("access_log", None)
    filters = [{"name": "envoy.filters.http.rbac", "typed_config": {"@type": f"{TYPE}.filters.http.rbac.v3.RBAC"}}]
    manager["http_filters"] = [
        *filters,
        {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}},
    ]
    routes = [
        {
            "match": {"prefix": "/", "headers": [{"name": "x-case", "string_match": {"exact": f"{action}-{at}"}}]},
            "direct_response": {"status": 200},
            "typed_per_filter_config": per_route(action, [rule]),
        }
        for at, (rule, _) in enumerate(RULES)
        for action in ("ALLOW", "DENY")
    ]
    manager["route_config"] = {"name": "cases", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    config["static_resources"]["listeners"].append(listener)
    envoy = Envoy(config, directory)
    yield envoy
    envoy.stop()


@pytest.fixture(scope="module")
def checks(proxy: Envoy, scripted: ScriptedAuthz) -> list[auth.CheckRequest]:
    """What Envoy asks about each of the requests."""
    scripted.seen.clear()
    for target, host, method, headers in REQUESTS:
        assert 200 == send_h1(proxy.ports["inbound"], target, list(headers.items()), method=method, host=host).status
    return list(scripted.seen)


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_proxy_documentation_and_imported_bundle_agree(
    proxy: Envoy, checks: list[auth.CheckRequest], action: str
) -> None:
    """But for requests that extauthz refuses whatever the bundle says: those never pass."""
    refused = {"/a//b", "/a%2fb", "/a;b"}
    answers = set()
    for at, (rule, requests) in enumerate(RULES):
        named = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}
        mesh = [
            {**named, "metadata": {"name": "p", "namespace": "banking"}, "spec": {"action": action, "rules": [rule]}}
        ]
        engine = Engine(import_istio({"mesh.yaml": json.dumps(mesh[0]).encode()}, ImportOptions(labels={})).files)
        for request in requests:
            target, host, method, headers = request
            sent = [("x-case", f"{action}-{at}"), *headers.items()]
            status = send_h1(proxy.ports["rbac"], target, sent, method=method, host=host).status
            check = checks[REQUESTS.index(request)]
            http = check.attributes.request.http
            asked = Asked(method, http.host, http.path, dict(headers), source_ip="127.0.0.1", remote_ip="127.0.0.1")
            where = (action, rule, request)
            assert status in {200, 403}, where
            assert (status == 200) == allows(mesh, asked, "banking", {}), where
            ours = engine.ask_bytes(check.SerializeToString()).allowed
            assert ours == (status == 200 and target not in refused), where
            answers.add((status, ours))
    assert {(200, True), (403, False), (200, False)} == answers
