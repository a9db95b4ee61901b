"""Whatever the bytes, reading them is a value and never an exception (T-59, T-62)."""

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.internal import api_implementation
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Refused, Request
from extauthz.wire import InboundOptions, read_check
from extauthz.wire.encode import nested, varint
from extauthz.wire.twin import Check, build_check

OPTIONS = [
    InboundOptions(),
    InboundOptions(xff_trusted_hops=2, xfcc_trusted_hops=3, single_headers=("x-tenant-id",)),
    InboundOptions(xfcc_trusted_hops=0),
]
# Known field numbers with any wire type and any content: deeper into the parser than random bytes get.
tags = st.integers(0, 16).flatmap(lambda number: st.sampled_from([varint(number << 3 | kind) for kind in (0, 1, 2, 5)]))
leaves = st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")))
trees = st.recursive(
    leaves,
    lambda inner: st.lists(
        st.tuples(st.sampled_from([varint(number << 3 | 2) for number in range(1, 14)]), inner),
        max_size=6,
    ).map(lambda fields: b"".join(nested(tag, payload) for tag, payload in fields)),
    max_leaves=20,
)
odd_headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "x-forwarded-client-cert",
                "x-forwarded-for",
                "content-type",
                "x-fapi-interaction-id",
                ":path",
                "dpop",
                "",
            ],
        ),
        st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.binary(max_size=20)),
    ),
    max_size=5,
).map(tuple)


def check_total(raw):
    for options in OPTIONS:
        found = read_check(raw, options)
        assert isinstance(found, Request | Connection | Refused)
        if isinstance(found, Refused):
            assert isinstance(found.reason, Reason)
            assert "deny" == found.reason.outcome
        elif isinstance(found, Request):
            found.headers.items()
            found.headers.get("authorization")
            found.headers.is_repeated("authorization")
            assert found.path.startswith("/")
            assert found.method == found.method.upper()


def test_t62_messages_are_read_by_upb():
    """The pure-Python backend recurses with the input."""
    assert "upb" == api_implementation.Type()


@given(st.binary(max_size=300))
@settings(max_examples=600)
def test_any_bytes_have_a_reading(raw):
    check_total(raw)


@given(trees)
@settings(max_examples=600)
def test_any_tree_of_fields_has_a_reading(tree):
    check_total(nested(b"\x0a", tree))


@given(st.lists(st.tuples(tags, leaves), max_size=5))
@settings(max_examples=300)
def test_any_field_of_any_type_has_a_reading(fields):
    check_total(b"".join(tag + payload for tag, payload in fields))


@given(st.data())
@settings(max_examples=300)
def test_a_valid_request_with_any_bytes_changed_has_a_reading(data):
    raw = bytearray(build_check(Check(path="/api/x?y=1", headers=(("authorization", "Bearer t"), ("x-a", "b")))))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check_total(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@given(odd_headers, st.booleans(), st.one_of(st.binary(max_size=20), st.text(st.characters(exclude_categories=["Cs"]))))
@settings(max_examples=400)
def test_any_header_and_path_has_a_reading_in_both_modes(headers, raw_headers, path):
    check_total(build_check(Check(path=path, headers=headers, raw_headers=raw_headers)))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.booleans())
@settings(max_examples=400)
def test_what_upb_reads_is_what_is_decided_on(path, raw_headers):
    """A request that is accepted carries exactly the path, method and host that Envoy holds, but for their one spelling."""
    raw = build_check(Check(path="/" + path, host="API.bank.test", raw_headers=raw_headers))
    found = read_check(raw, InboundOptions())
    held = CheckRequest.FromString(raw).attributes.request.http

    if isinstance(found, Request):
        assert (held.method, held.host.lower()) == (found.method, found.host)
        assert held.path.partition("?")[2] == found.query
