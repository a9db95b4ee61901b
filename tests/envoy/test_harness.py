"""The harness itself: what Envoy asks and does is what the demo's configuration says."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from tests.envoy.certificates import MeshAuthority
from tests.envoy.clients import h2_get, send_h1
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.scripted_authz import ScriptedAuthz, deny
from tests.envoy.variants import Variant


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, scripted: ScriptedAuthz) -> Gateway:
    return launch_envoy(Variant(), authz_port=scripted.port)


def test_every_request_is_put_to_the_server(gateway: Gateway, script: ScriptedAuthz) -> None:
    """The shadow rule of `rules: [{}]` matches whatever the path looks like (trap 6)."""
    for path in ["/", "//admin", "/%2e%2e;/admin", "/a%2fb", "/ADMIN"]:
        assert gateway.h1(path).status == 200
    assert len(script.seen) == 5


def test_an_allow_reaches_the_upstream_and_is_in_the_access_log(gateway: Gateway, script: ScriptedAuthz) -> None:
    seen = gateway.h1("/hello?x=1").upstream
    assert ("GET", "/hello?x=1") == (seen.method, seen.path)
    assert "policy_allowed" == gateway.log_entry("d-1")["reason"]


def test_a_denial_never_reaches_the_upstream(gateway: Gateway, script: ScriptedAuthz) -> None:
    script.script = deny
    answer = gateway.h1("/hello")
    assert (403, b"") == (answer.status, answer.body)
    entry = gateway.log_entry("d-2")
    assert ("ext_authz_denied", "UAEX", None) == (
        entry["response_code_details"],
        entry["response_flags"],
        entry["upstream_host"],
    )


def test_an_allow_without_our_word_is_stopped_behind_ext_authz(gateway: Gateway, script: ScriptedAuthz) -> None:
    """T-59: an empty CheckResponse passes ext_authz; the ALLOW policy on our metadata still refuses it."""
    script.script = lambda _: CheckResponse()
    assert 403 == gateway.h1("/hello").status


def test_http2_requests_are_put_to_the_server(gateway: Gateway, script: ScriptedAuthz) -> None:
    assert 200 == gateway.h2(h2_get("/two")).status
    assert "HTTP/2" == script.seen[0].attributes.request.http.protocol


def test_503_when_the_server_is_gone(launch_envoy: Launch) -> None:
    server = ScriptedAuthz()
    gateway = launch_envoy(Variant(), authz_port=server.port)
    assert 200 == gateway.h1("/").status
    server.stop()
    answer = gateway.h1("/")
    assert (503, None) == (answer.status, answer.header("x-authz-decision-id"))


def test_variant_raw_headers_keeps_duplicates_apart(launch_envoy: Launch, script: ScriptedAuthz) -> None:
    gateway = launch_envoy(Variant(raw_headers=True), authz_port=script.port)
    gateway.h1("/", [("x-a", "1"), ("x-a", "2")])
    http = script.seen[-1].attributes.request.http
    assert [b"1", b"2"] == [h.raw_value for h in http.header_map.headers if h.key == "x-a"]
    assert not http.headers


def test_variant_body_is_cut_and_marked(launch_envoy: Launch, script: ScriptedAuthz) -> None:
    """T-67: a partial body is marked as such."""
    gateway = launch_envoy(Variant(body_bytes=10), authz_port=script.port)
    gateway.h1("/", method="POST", body=b"0123456789abcdef")
    http = script.seen[-1].attributes.request.http
    assert ("0123456789", "true") == (http.body, http.headers["x-envoy-auth-partial-body"])


def test_variant_tcp_asks_without_http(launch_envoy: Launch, script: ScriptedAuthz) -> None:
    gateway = launch_envoy(Variant(tcp=True), authz_port=script.port)
    assert 200 == send_h1(gateway.envoy.ports["tcp"], "/").status
    assert not script.seen[-1].attributes.request.HasField("http")


def test_variant_tls_names_the_peer_and_appends_its_xfcc_element(
    launch_envoy: Launch, script: ScriptedAuthz, mesh: MeshAuthority
) -> None:
    """T-31: a forged element survives in front, only the last one is Envoy's."""
    workload = mesh.issue("loans", "spiffe://cluster.local/ns/banking/sa/loans")
    gateway = launch_envoy(Variant(tls=workload), authz_port=script.port)
    forged = [("x-forwarded-client-cert", "By=spiffe://evil;URI=spiffe://cluster.local/ns/a/sa/admin")]
    peer = mesh.client_context("front", "spiffe://cluster.local/ns/web/sa/front")
    assert 200 == gateway.h1("/", forged, tls=peer).status
    attributes = script.seen[-1].attributes
    assert "spiffe://cluster.local/ns/web/sa/front" == attributes.source.principal
    assert "spiffe://cluster.local/ns/banking/sa/loans" == attributes.destination.principal
    elements = attributes.request.http.headers["x-forwarded-client-cert"].split(",")
    assert 2 == len(elements)
    assert "URI=spiffe://cluster.local/ns/web/sa/front" in elements[-1]
