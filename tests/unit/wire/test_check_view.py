"""Our view of a CheckRequest holds what Envoy's schema says that it holds, and reads the same from the same bytes."""

import gc

import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.generated.extauthz.v1 import check_pb2
from extauthz.model.reasons import Reason
from extauthz.model.request import Peer, Refused, Request
from extauthz.wire import InboundOptions, peers, read_check
from extauthz.wire.twin import Check, build_check
from tests.unit.wire.test_two_implementations import checks, text

OPTIONS = InboundOptions()
PAIRS = [
    (check_pb2.CheckView, CheckRequest),
    (check_pb2.AttributesView, AttributeContext),
    (check_pb2.RequestView, AttributeContext.Request),
    (check_pb2.HttpView, AttributeContext.HttpRequest),
    (check_pb2.HeaderMapView, HeaderMap),
    (check_pb2.HeaderValueView, HeaderValue),
]


@pytest.mark.parametrize(("view", "envoys"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_every_field_has_the_number_and_the_form_of_envoys(view, envoys):
    theirs = envoys.DESCRIPTOR.fields_by_number
    for number, field in view.DESCRIPTOR.fields_by_number.items():
        assert (theirs[number].name, theirs[number].is_repeated) == (field.name, field.is_repeated)
        if field.type == field.TYPE_BYTES and theirs[number].type == field.TYPE_MESSAGE:
            continue  # both are written as a length and so many bytes
        assert theirs[number].type == field.type
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            assert ["string", "string"] == [
                {part.TYPE_STRING: "string"}[part.type] for part in theirs[number].message_type.fields
            ]


def test_no_text_of_a_request_is_left_out_so_that_bytes_that_are_none_are_refused():
    unread = {"CheckView": set(), "AttributesView": set(), "RequestView": {"time"}, "HttpView": {"size"}}
    for view, envoys in PAIRS[:4]:
        left = set(envoys.DESCRIPTOR.fields_by_name) - set(view.DESCRIPTOR.fields_by_name)
        assert unread[view.DESCRIPTOR.name] == left


@given(checks, st.dictionaries(text, text, max_size=2))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_the_view_reads_what_envoys_own_message_reads(check, labels):
    sent = CheckRequest.FromString(build_check(check))
    sent.attributes.source.labels.update(labels)
    sent.attributes.request.time.seconds = 7
    envoys, view = sent.attributes, check_pb2.CheckView.FromString(sent.SerializeToString()).attributes

    for name in ("id", "method", "path", "host", "scheme", "query", "fragment", "protocol", "body", "raw_body"):
        assert getattr(envoys.request.http, name) == getattr(view.request.http, name)
    assert dict(envoys.request.http.headers) == dict(view.request.http.headers)
    lines = [(line.key, line.value, line.raw_value) for line in envoys.request.http.header_map.headers]
    assert lines == [(line.key, line.value, line.raw_value) for line in view.request.http.header_map.headers]
    assert envoys.request.http.HasField("header_map") == view.request.http.HasField("header_map")
    assert dict(envoys.context_extensions) == dict(view.context_extensions)
    assert envoys.source == AttributeContext.Peer.FromString(view.source)
    assert envoys.destination == AttributeContext.Peer.FromString(view.destination)
    for name in ("metadata_context", "route_metadata_context", "tls_session"):
        assert getattr(envoys, name).SerializeToString() == getattr(view, name)


@pytest.mark.parametrize(
    "field", ["source", "destination", "metadata_context", "route_metadata_context", "tls_session"]
)
@pytest.mark.parametrize("broken", [b"\xff", b"\x0a\x05abc", b"\x22\x02\xc3\x28\x0a\x02\xc3\x28"])
def test_t62_a_part_that_cannot_be_read_refuses_the_whole_each_time(field, broken):
    view = check_pb2.CheckView.FromString(build_check(Check()))
    setattr(view.attributes, field, broken)
    for _ in range(2):
        found = read_check(view.SerializeToString(), OPTIONS)
        assert isinstance(found, Refused)
        assert (Reason.REQUEST_MALFORMED, "T-62") == (found.reason, found.check)


def test_the_ends_of_a_connection_are_read_once_and_never_mixed_up(monkeypatch):
    read = []
    once = peers._read
    monkeypatch.setattr(peers, "_read", lambda peer: read.append(peer) or once(peer))
    for port in (50001, 50002) * 2:
        found = read_check(
            build_check(Check(source=Check().source.__class__(address="192.0.2.77", port=port))), OPTIONS
        )
        assert isinstance(found, Request)
        assert Peer("192.0.2.77", port) == found.source == found.facts.source
    assert 2 == len([peer for peer in read if peer.address.socket_address.address == "192.0.2.77"])


def test_what_belongs_to_another_connection_is_never_found():
    """Bytes that are the same one behind the other, but cut elsewhere."""
    front, back = (AttributeContext.Peer(principal=f"spiffe://td/{name}").SerializeToString() for name in ("a", "b"))
    session = AttributeContext.TLSSession(sni="api.test").SerializeToString()
    view = check_pb2.CheckView.FromString(build_check(Check()))
    for _ in range(2):
        for written, read in (
            ((front, back, session), ("spiffe://td/a", "spiffe://td/b", "api.test")),
            ((b"", front + back, b""), ("", "spiffe://td/b", "")),
            ((front + back, b"", session), ("spiffe://td/b", "", "api.test")),
            ((back, front, b""), ("spiffe://td/b", "spiffe://td/a", "")),
        ):
            for field, part in zip(("source", "destination", "tls_session"), written, strict=True):
                setattr(view.attributes, field, part)
            found = read_check(view.SerializeToString(), OPTIONS)
            assert isinstance(found, Request)
            assert read == (found.source.principal, found.destination.principal, found.sni)


def test_kept_connections_are_bounded_and_invisible_to_the_collector():
    for number in range(peers._MAX_ENDS + 100):
        peers.read_peer(AttributeContext.Peer(principal=f"spiffe://td/ns/{number}").SerializeToString())
    assert len(peers._known) <= peers._MAX_ENDS
    gc.collect()
    young = peers._known.young
    assert not any(gc.is_tracked(item) for pair in young.items() for item in pair)
    assert not gc.is_tracked(young)
