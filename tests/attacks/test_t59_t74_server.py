"""Threats to the server and its transport, as far as one decision point can answer them without a proxy."""

import json
import socket

import pytest
from envoy.service.auth.v3 import external_auth_pb2
from hypothesis import given
from hypothesis import strategies as st

from extauthz.bundle import read_bundle
from extauthz.model.decision import Allow
from extauthz.model.ports import NoTokenCache
from tests.attacks.bank import BUNDLE, Bank
from tests.engine import load


@given(st.binary(max_size=200))
def test_t59_t62_any_bytes_get_an_explicit_answer_that_denies(bank, raw):
    answer = bank.ask_bytes(raw)
    assert not isinstance(answer.decision, Allow)
    assert answer.response.status.code != 0
    assert 400 <= answer.http_status <= 599


@given(st.data())
def test_t62_any_damage_to_a_good_request_never_becomes_an_unearned_allow(bank, data):
    """Flip, cut or double bytes of a request without token: it stays refused."""
    check = external_auth_pb2.CheckRequest()
    http = check.attributes.request.http
    http.method, http.path, http.host = "GET", "/accounts", "api.bank.test"
    http.headers["x-tenant-id"] = "acme"
    raw = bytearray(check.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    assert not bank.ask_bytes(bytes(raw)).allowed


def test_t62_both_header_modes_at_once_are_refused(bank):
    def both(check):
        check.attributes.request.http.header_map.headers.add(key="authorization", raw_value=b"Bearer x")

    assert "request_malformed" == bank.ask("/accounts", token=bank.token(), change=both).reason


def test_t62_a_request_without_attributes_is_refused(bank):
    assert not bank.ask_bytes(b"").allowed
    assert not bank.ask_bytes(b"\x0a\x00").allowed


def test_t62_a_very_deep_metadata_struct_is_refused(bank):
    """Nested further than protobuf parsers go: written by hand, for no library would build it."""
    value = b"\x1a\x01x"  # Value.string_value
    for _ in range(200):
        listed = b"\x0a" + _length(value) + value  # ListValue.values
        value = b"\x32" + _length(listed) + listed  # Value.list_value
    fields = b"\x0a\x01y\x12" + _length(value) + value  # Struct.fields["y"]
    struct = b"\x0a" + _length(fields) + fields
    entry = b"\x0a\x01x\x12" + _length(struct) + struct  # Metadata.filter_metadata["x"]
    metadata = b"\x0a" + _length(entry) + entry
    attributes = b"\x5a" + _length(metadata) + metadata  # AttributeContext.metadata_context
    assert not bank.ask_bytes(b"\x0a" + _length(attributes) + attributes).allowed


def _length(data: bytes) -> bytes:
    return bytes([len(data)]) if len(data) < 0x80 else bytes([len(data) & 0x7F | 0x80, len(data) >> 7])


def test_t61_a_forged_principal_is_visible_as_such(bank):
    """Whoever reaches the port can claim any principal, so a principal alone opens no HTTP route of this bank."""

    def forged(check):
        check.attributes.source.principal = "spiffe://cluster.local/ns/shop/sa/orders"

    assert "no_credential" == bank.ask("/accounts", change=forged).reason


def test_t65_patterns_are_linear_in_the_input(bank):
    """The longest path that is accepted, made to make a backtracking matcher explode."""
    answer = bank.ask("/" + "/".join(["a"] * 64), token=bank.token())
    assert answer.allowed
    assert "path_ambiguous" == bank.ask("/" + "a/" * 5000, token=bank.token()).reason


def test_t66_nothing_is_cached_but_verified_tokens(bank):
    """The same token, method and host on another path is decided anew."""
    token = bank.token()
    assert [True, False, True] == [bank.ask(path, token=token).allowed for path in ("/accounts", "/admin", "/accounts")]


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "APPLICATION/x-www-form-urlencoded; charset=utf-8"]
)
def test_t67_a_token_in_a_form_body_is_no_credential(bank, kind):
    def body(check):
        check.attributes.request.http.body = f"access_token={bank.token()}"

    answer = bank.ask("/accounts", method="POST", headers={"content-type": kind}, change=body)
    assert answer.reason in {"credential_in_body", "no_credential"}


def test_t68_nothing_the_client_wrote_is_in_the_answer_to_it(bank):
    """No path, host, header or claim comes back in the refusal or in the metadata that goes to logs."""
    marker = "zzmarkerzz"
    answer = bank.ask(
        f"/admin/{marker}?{marker}=1", token=bank.token(jti=marker, client_id=marker), headers={"x-a": marker}
    )
    assert not answer.allowed
    assert marker.encode() not in answer.response.SerializeToString()


def test_t68_tokens_are_nowhere_in_the_answer(bank):
    token = bank.token()
    for path in ("/accounts", "/admin"):
        assert token.encode() not in bank.ask(path, token=token).response.SerializeToString()


def test_t69_no_rule_means_no(bank):
    assert "no_policy_matched" == bank.ask("/accounts", token=bank.token(roles=["nobody"])).reason
    assert "no_policy_matched" == bank.ask("/accounts", token=bank.token(roles=None)).reason


def test_t70_unknown_and_foreign_tenants_look_alike_to_the_client(bank):
    """Status, headers and body are the same but for ids: nobody can list our customers."""
    shapes = []
    for tenant in ("globex", "never-heard-of"):
        response = bank.ask(f"/tenants/{tenant}/x", token=bank.token()).response.denied_response
        shapes.append((response.status.code, response.body, [(o.header.key, o.header.value) for o in response.headers]))
    assert shapes[0] == shapes[1]


def test_t70_the_body_holds_no_policy_and_the_status_message_nothing_private(bank):
    response = bank.ask("/admin", token=bank.token()).response
    body = json.loads(response.denied_response.body)
    assert 403 == body["status"]
    assert "admin-only" not in response.denied_response.body
    assert "not-admins" not in response.denied_response.body + response.status.message


def test_t71_a_decision_makes_no_connection(bank, monkeypatch):
    """Whatever issuer or key location a token names, no socket is opened while deciding."""

    def forbidden(*_args, **_kwargs):
        pytest.fail("a decision opened a socket")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "create_connection", forbidden)
    assert bank.ask("/accounts", token=bank.token()).allowed
    assert not bank.ask("/accounts", token=bank.token(headers={"jku": "http://127.0.0.1:1/", "kid": "new"})).allowed
    assert not bank.ask("/accounts", token=bank.token(iss="http://127.0.0.1:1/")).allowed


def test_t72_headers_that_crash_or_reroute_proxies_are_never_touched(bank):
    """origin is not removed; upgrade, connection, te, content-length and transfer-encoding are neither set nor removed."""
    answer = bank.ask("/accounts", token=bank.token(), headers={"origin": "https://x.test", "upgrade": "h2c"})
    touched = set(answer.set_upstream) | answer.removed_upstream
    assert not touched & {"origin", "upgrade", "connection", "te", "content-length", "transfer-encoding", "host"}


def test_t73_an_empty_principal_is_anonymous(bank):
    def connection(check):
        check.attributes.ClearField("request")
        check.attributes.destination.address.socket_address.port_value = 8443

    assert not bank.ask(change=connection).allowed


def test_t74_header_names_in_policies_match_in_any_case():
    files = load(BUNDLE)
    files["documents.yaml"] = files["documents.yaml"].replace(
        b"request.headers[x-channel]", b"request.headers[X-Channel]"
    )
    assert read_bundle(files, NoTokenCache()).snapshot
    bank = Bank(files)
    assert "policy_denied" == bank.ask("/accounts", token=bank.token(), headers={"x-channel": "blocked"}).reason
