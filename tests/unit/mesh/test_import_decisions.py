"""Decisions of imported bundles that are easily got wrong."""

import pytest
from envoy.service.auth.v3 import external_auth_pb2

from tests.engine import Engine
from tests.unit.mesh.meshes import imported, policy


def as_connection(check: external_auth_pb2.CheckRequest) -> None:
    check.attributes.ClearField("request")
    check.attributes.destination.address.socket_address.port_value = 9090


ALLOW_REST = policy("{rules: [{}]}", "rest")


@pytest.mark.parametrize(
    "field",
    [
        "paths: [admin]",
        "paths: [/a//b]",
        "paths: ['/a?b']",
        "hosts: ['a b']",
        "methods: [get]",
        "paths: ['*']",
        "hosts: ['*']",
    ],
)
def test_a_deny_that_names_http_denies_every_connection(field: str) -> None:
    """As Istio documents: what a connection does not have counts as matched by a DENY, also where no request has it."""
    engine = Engine(
        imported(policy(f"{{action: DENY, rules: [{{to: [{{operation: {{{field}}}}}]}}]}}"), ALLOW_REST).files
    )
    assert not engine.ask(change=as_connection).allowed


@pytest.mark.parametrize(
    "field",
    [
        "paths: ['*']",
        "paths: ['/*']",
        "hosts: ['*']",
        "methods: ['*']",
        "notPaths: [admin]",
        "notHosts: [x]",
        "notMethods: [get]",
    ],
)
def test_an_allow_that_names_http_allows_no_connection(field: str) -> None:
    """Also where every request matches it."""
    engine = Engine(imported(policy(f"{{rules: [{{to: [{{operation: {{{field}}}}}]}}]}}")).files)
    assert not engine.ask(change=as_connection).allowed
    assert engine.ask("/", host="a").allowed


@pytest.mark.parametrize("other", ["hosts: [x]", "paths: ['/a/*']", "paths: ['/a/{*}.txt']", "paths: [admin]"])
def test_an_allow_rule_of_which_any_alternative_names_http_allows_no_connection(other: str) -> None:
    """Istio leaves the whole rule out, also where our parts of it are several or the other one was lost."""
    spec = "{rules: [{to: [{operation: {ports: ['9090']}}, {operation: {" + other + "}}]}]}"
    engine = Engine(imported(policy(spec)).files)
    assert not engine.ask(change=as_connection).allowed


def test_an_allow_by_port_and_namespace_allows_connections() -> None:
    spec = "{rules: [{from: [{source: {namespaces: [ops]}}], to: [{operation: {ports: ['9090']}}]}]}"
    engine = Engine(imported(policy(spec)).files)
    assert engine.ask(principal="spiffe://cluster.local/ns/ops/sa/x", change=as_connection).allowed
    assert not engine.ask(principal="spiffe://cluster.local/ns/web/sa/x", change=as_connection).allowed


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/admin*", "/administrator", True),
        ("/admin/*", "/admin", False),
        ("/admin/*", "/admin/", True),
        ("/admin", "/admin/", False),
        ("/admin", "/ADMIN", False),
        ("/a%20b", "/a%20b", True),
        ("/a b", "/a%20b", False),
        ("*/health", "/x/health", True),
        ("*/health", "/x/health/", False),
        ("/{*}/x", "/a/x", True),
        ("/{*}/x", "//x", False),
        ("/a/{**}", "/a/", True),
        ("/a/{**}", "/a", False),
        ("/a/{**}", "/a/b/c", True),
        ("/a/{**}/z", "/a/b/c/z", True),
        ("/a/{**}/z", "/a/z", False),
        ("/a.b/{*}", "/axb/c", False),
        ("/a(b/{*}", "/a(b/c", True),
        ("*a*", "/a", False),
    ],
)  # fmt: skip
def test_paths_are_compared_letter_by_letter(pattern: str, path: str, allowed: bool) -> None:
    spec = "{rules: [{to: [{operation: {paths: ['" + pattern + "']}}]}]}"
    assert allowed == Engine(imported(policy(spec)).files).ask(path, host="a").allowed


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "API.example.com", True),
        ("api.example.com", "api.example.com:8443", False),
        ("api.example.com:*", "api.example.com:8443", True),
        ("api.example.com:*", "api.example.com", False),
        ("api.example.com:8*", "api.example.com:9443", False),
        ("*.example.com", "api.example.com:8443", False),
        ("*:8443", "api.example.com:8443", True),
        ("*43", "api.example.com:8443", True),
        ("api.*", "api.example.com:8443", True),
    ],
)
def test_hosts_are_compared_with_their_ports(pattern: str, host: str, allowed: bool) -> None:
    spec = "{rules: [{to: [{operation: {hosts: ['" + pattern + "']}}]}]}"
    assert allowed == Engine(imported(policy(spec)).files).ask("/", host=host).allowed


def test_a_host_that_no_request_has_makes_no_deny_of_the_others_wider() -> None:
    spec = "{action: DENY, rules: [{to: [{operation: {hosts: [a.example, 'a b']}}]}]}"
    engine = Engine(imported(policy(spec), ALLOW_REST).files)
    assert not engine.ask("/", host="a.example").allowed
    assert engine.ask("/", host="b.example").allowed


def test_many_values_stay_within_the_length_of_a_condition_or_are_told() -> None:
    few = ", ".join(f"/area/{number}" for number in range(150))
    engine = Engine(imported(policy(f"{{rules: [{{to: [{{operation: {{paths: [{few}]}}}}]}}]}}")).files)
    assert engine.ask("/area/149", host="a").allowed
    many = ", ".join(f"/area/{number}" for number in range(1000))
    found = imported(policy(f"{{rules: [{{to: [{{operation: {{paths: [{many}]}}}}]}}]}}"))
    assert ["its expression is longer than 4096 characters"] == [
        each.message for each in found.changes if each.kind == "lost"
    ]
