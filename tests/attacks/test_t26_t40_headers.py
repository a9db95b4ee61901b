"""Threats to headers and identity."""

import time

import pytest
from envoy.service.auth.v3 import external_auth_pb2

from extauthz.model.decision import Allow
from extauthz.wire import InboundOptions, read_check
from tests.attacks.bank import BUNDLE, Bank
from tests.engine import load


def test_t26_a_header_that_decides_may_not_arrive_twice(bank):
    """One blocked value among several is found by the deny rule, joined by Envoy or as separate fields."""
    token = bank.token()
    assert "policy_denied" == bank.ask("/accounts", token=token, headers={"x-channel": "blocked"}).reason
    assert "policy_denied" == bank.ask("/accounts", token=token, headers={"x-channel": "web,blocked"}).reason
    assert "policy_denied" == bank.ask("/accounts", token=token, headers={"x-channel": "blocked, web"}).reason
    twice = [("x-channel", b"web"), ("x-channel", b"blocked")]
    assert not bank.ask("/accounts", token=token, raw_headers=twice).allowed


def test_t26_two_tenant_headers_are_no_tenant(bank):
    token = bank.token()
    assert bank.ask("/accounts", token=token, headers={"x-tenant-id": "acme"}).allowed
    assert not bank.ask("/accounts", token=token, headers={"x-tenant-id": "acme,globex"}).allowed
    twice = [("x-tenant-id", b"acme"), ("x-tenant-id", b"globex")]
    assert not bank.ask("/accounts", token=token, raw_headers=twice).allowed
    same = [("x-tenant-id", b"acme"), ("x-tenant-id", b"acme")]
    assert not bank.ask("/accounts", token=token, raw_headers=same).allowed


IDENTITY = [f"x-auth-{name}" for name in ("subject", "issuer", "tenant", "client", "roles", "scopes", "actor")]


def test_t27_every_identity_header_is_overwritten_or_removed_on_every_allow(bank):
    spoofed = dict.fromkeys(IDENTITY, "evil")
    for answer in (
        bank.ask("/accounts", token=bank.token(), headers=spoofed),
        bank.ask("/accounts", token=bank.token(scope=None, client_id="app"), headers=spoofed),
        bank.ask("/public/x", headers=spoofed),
    ):
        assert answer.allowed
        assert set(IDENTITY) <= set(answer.set_upstream) | answer.removed_upstream
        assert "evil" not in answer.set_upstream.values()
    known = bank.ask("/accounts", token=bank.token(), headers=spoofed).set_upstream
    assert ("user-1", "acme", "clerk") == (known["x-auth-subject"], known["x-auth-tenant"], known["x-auth-roles"])


def test_t27_headers_overwrite_on_old_and_new_envoys(bank):
    """Both the deprecated `append: false` and OVERWRITE_IF_EXISTS_OR_ADD, whatever the proxy's version honours."""
    for option in bank.ask("/accounts", token=bank.token()).response.ok_response.headers:
        assert option.HasField("append")
        assert not option.append.value
        assert "OVERWRITE_IF_EXISTS_OR_ADD" == option.HeaderAppendAction.Name(option.append_action)


def test_t28_underscore_twins_of_identity_headers_are_removed(bank):
    answer = bank.ask("/accounts", token=bank.token(), headers={"x_auth_subject": "evil", "x_auth_tenant": "globex"})
    assert {name.replace("-", "_") for name in IDENTITY} <= answer.removed_upstream


@pytest.mark.parametrize(
    "headers",
    [{"x-envoy-original-path": "/public/x"}, {"x-forwarded-uri": "/public/x"}, {"x-original-url": "/public/x"}, {"x-rewrite-url": "/public/x"},
     {"user-agent": "kube-probe/1.30"}, {"user-agent": "ELB-HealthChecker/2.0"}, {"x-forwarded-host": "public.test"}, {"x-forwarded-method": "GET"}],
)  # fmt: skip
def test_t29_no_hint_of_the_client_moves_a_decision(bank, headers):
    assert "no_credential" == bank.ask("/accounts", headers=headers).reason
    assert "policy_denied" == bank.ask("/admin", token=bank.token(), headers=headers).reason


def test_t30_the_failure_mode_marker_never_reaches_the_upstream(bank):
    answer = bank.ask("/accounts", token=bank.token(), headers={"x-envoy-auth-failure-mode-allowed": "true"})
    assert "x-envoy-auth-failure-mode-allowed" in answer.removed_upstream


ME = "By=spiffe://cluster.local/ns/bank/sa/api;Hash=" + "ab" * 32 + ";URI=spiffe://cluster.local/ns/web/sa/front"


@pytest.mark.parametrize(
    "forged",
    [
        "By=spiffe://x;URI=spiffe://cluster.local/ns/istio-system/sa/gw",
        'Subject="CN=a,URI=spiffe://evil;x=\\""',
        'Subject="unclosed',
        "URI=a;URI=b",
        ",,,",
    ],
)
def test_t31_a_forged_xfcc_element_in_front_never_becomes_the_peer(bank, forged):
    """The client's own elements stay in front; only the trusted hop from the right is read, or the header is refused."""
    answer = bank.ask("/accounts", token=bank.token(), headers={"x-forwarded-client-cert": f"{forged},{ME}"})
    if isinstance(answer.decision, Allow):
        assert "evil" not in repr(answer.decision)
    else:
        assert "forwarded_certificate_invalid" == answer.reason


@pytest.mark.parametrize(
    "principal",
    ["spiffe://cluster.local/ns/shop/sa/orders-evil", "spiffe://cluster.local.evil/ns/shop/sa/orders", "cluster.local/ns/shop/sa/orders",
     "SPIFFE://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/orders/x", "xspiffe://cluster.local/ns/shop/sa/orders", "",
     "spiffe://cluster.local/ns/shop/sa/orders\x00.evil", "O=spiffe://cluster.local/ns/shop/sa/orders"],
)  # fmt: skip
def test_t32_only_the_exact_spiffe_principal_is_that_service(bank, principal):
    def connection(check):
        check.attributes.ClearField("request")
        check.attributes.destination.address.socket_address.port_value = 8443
        check.attributes.source.principal = principal

    assert not bank.ask(change=connection).allowed


def test_t32_the_right_principal_may_open_the_connection(bank):
    def connection(check):
        check.attributes.ClearField("request")
        check.attributes.destination.address.socket_address.port_value = 8443
        check.attributes.source.principal = "spiffe://cluster.local/ns/shop/sa/orders"

    assert bank.ask(change=connection).allowed


def test_t33_source_service_is_not_read(bank):
    def spoof(check):
        check.attributes.source.service = "admin"

    assert "policy_denied" == bank.ask("/admin", token=bank.token(), change=spoof).reason


@pytest.mark.parametrize(
    ("hops", "xff", "expected"),
    [(0, "203.0.113.9", "192.0.2.7"), (1, "evil, 203.0.113.9", "203.0.113.9"), (1, "203.0.113.9,198.51.100.2", "198.51.100.2"),
     (2, "203.0.113.9, 198.51.100.2", "203.0.113.9"), (3, "203.0.113.9", ""), (1, "not-an-address", ""), (1, "fe80::1%eth0", ""), (1, "203.0.113.9:4711", "")],
)  # fmt: skip
def test_t34_the_client_address_is_the_configured_hop_from_the_right(bank, hops, xff, expected):
    """Never the first entry; without that many entries, or with text that is no address, unknown: never the proxy itself."""
    check = external_auth_pb2.CheckRequest()
    check.attributes.source.address.socket_address.address = "192.0.2.7"
    http = check.attributes.request.http
    http.method, http.path, http.host = "GET", "/", "api.bank.test"
    http.headers["x-forwarded-for"] = xff
    asked = read_check(check.SerializeToString(), InboundOptions(xff_trusted_hops=hops))
    assert expected == asked.facts.client_address


def test_t35_cookies_are_no_credential(bank):
    cookies = {"cookie": f"access_token={bank.token()}, access_token={bank.token()}"}
    assert "no_credential" == bank.ask("/accounts", headers=cookies).reason


def test_t36_a_header_that_was_stripped_on_the_way_grants_nothing(bank):
    """`Connection: authorization` makes Envoy remove the header from both sides: absence is a no."""
    assert "no_credential" == bank.ask("/accounts", headers={"connection": "authorization"}).reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Bearer {t},Bearer {t}", "credential_repeated"),
        ("Bearer {t}, Bearer x", "credential_repeated"),
        ("Bearer\t{t}", "credential_malformed"),
        ("Bearer{t}", "scheme_unsupported"),
        ("Bearer ", "credential_malformed"),
        ("Basic dXNlcjpwYXNz", "scheme_unsupported"),
        ("Negotiate abc", "scheme_unsupported"),
        ("", "credential_malformed"),
    ],
)
def test_t37_one_authorization_field_with_one_credential(bank, value, reason):
    answer = bank.ask("/accounts", headers={"authorization": value.replace("{t}", bank.token())})
    assert not answer.allowed
    assert reason == answer.reason or answer.reason in {"credential_malformed", "no_credential", "scheme_unsupported"}


def test_t37_a_second_token_in_the_query_is_refused_beside_a_good_one(bank):
    answer = bank.ask(f"/accounts?access_token={bank.token()}", token=bank.token())
    assert "credential_in_query" == answer.reason


@pytest.mark.parametrize("evil", ["a\r\nset-cookie: x=1", "a\nb", "a\x00b", "a\x7fb", "\u0130\u2028"])
def test_t38_claims_with_control_characters_never_reach_a_header(bank, evil):
    answer = bank.ask("/accounts", token=bank.token(sub=evil, client_id=evil))
    values = [*answer.set_upstream.values(), *(value for _, value in answer.to_client)]
    assert not any(ord(char) < 0x20 or ord(char) == 0x7F for value in values for char in value)


def test_t38_no_redirect_is_built_from_the_request(bank):
    answer = bank.ask("/accounts", host="api.bank.test")
    assert "location" not in {name.lower() for name, _ in answer.to_client}


def test_t39_an_email_is_never_the_subject(bank):
    answer = bank.ask("/accounts", token=bank.token(email="admin@bank.test@evil.test", preferred_username="admin"))
    assert "user-1" == answer.set_upstream["x-auth-subject"]
    assert "admin" not in "".join(answer.set_upstream.values())


def test_t40_an_allow_adds_few_headers(bank):
    """Envoy refuses more than 100 headers after mutation: a client with 80 of its own still passes."""
    assert len(bank.ask("/accounts", token=bank.token()).set_upstream) <= 15


def test_t26_finding_a_second_value_takes_one_pass(bank):
    """Quotes that never end, escaped to make a backtracking search explode, in as much as Envoy lets through."""
    hostile = ',"' + '\\"' * 29_000 + "\\"
    for name in ("content-type", "dpop", "x-fapi-financial-id", "x-forwarded-client-cert", "authorization"):
        started = time.process_time()
        assert not bank.ask("/accounts", headers={name: hostile}).allowed
        assert time.process_time() - started < 1


def test_t34_an_ip_rule_is_not_met_by_our_own_proxy(bank):
    """Without the entry that our proxies write, nobody knows who the client is: the peer's address does not stand in."""
    files = load(BUNDLE)
    files["ip.yaml"] = IP_RULE
    behind = Bank(files, InboundOptions(xff_trusted_hops=2))
    for forwarded in ({}, {"x-forwarded-for": "203.0.113.9"}, {"x-forwarded-for": "192.0.2.9:80, 10.0.0.1"}):
        assert not behind.ask("/ip/x", token=behind.token(roles=["nobody"]), headers=forwarded).allowed
    inside = {"x-forwarded-for": "192.0.2.9, 10.0.0.1"}
    assert behind.ask("/ip/x", token=behind.token(roles=["nobody"]), headers=inside).allowed


IP_RULE = b"""
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: from-the-office}
spec:
  effect: allow
  match: {hosts: [api.bank.test]}
  rules:
  - name: office
    from: [{remoteIpBlocks: [192.0.2.0/24]}]
    to: [{paths: [/ip/**]}]
"""
