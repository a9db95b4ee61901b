"""Whatever bytes come, and in whatever pieces: calls, frames for the peer or the end of that connection, and no more."""

from contextlib import suppress
from itertools import pairwise

from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from extauthz.transport.http2 import frames, huffman
from extauthz.transport.http2.fields import Field
from extauthz.transport.http2.frames import PeerError
from extauthz.transport.http2.hpack import Decoder
from tests.unit.transport.in_memory import HEADERS, HELLO, InMemory, ask, frame, message

NAMES = st.one_of(
    st.sampled_from([b":path", b"te", b"grpc-timeout", b"traceparent", b"content-type", b"user-agent", b"x-new"]),
    st.binary(min_size=1, max_size=12),
)
FIELDS = st.lists(st.tuples(NAMES, st.one_of(st.sampled_from([b"", b"1S"]), st.binary(max_size=60))), max_size=12)
BLOCKS = st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 64, 4096])), max_size=12)
CUTS = st.lists(st.integers(0, 1 << 20), max_size=30)
FRAMES = st.tuples(
    st.integers(0, 12),
    st.sampled_from([0, 1, 4, 5, 8, 0xC, 0xD, 0x25, 0xFF]),
    st.integers(0, 9),
    st.binary(max_size=40),
)


@given(BLOCKS)
def test_header_blocks_mean_what_their_encoder_meant(blocks) -> None:
    """Of any fields, with and without Huffman's code, while the table changes its size; hpack is the reference."""
    encoder, decoder = Encoder(), Decoder()
    for fields, huffman_coded, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman_coded)
        found, total = decoder.decode(block, 1 << 20)
        assert fields == [(one.name, one.value) for one in found]
        assert total == sum(len(name) + len(value) + 32 for name, value in fields)


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_header_blocks_of_any_bytes_are_fields_or_an_error_of_the_connection(blocks) -> None:
    decoder = Decoder()
    for block in blocks:
        with suppress(PeerError):
            found, _ = decoder.decode(block, 1 << 14)
            assert all(isinstance(one, Field) for one in found)
        assert decoder._size == sum(one.size for one in decoder._table) <= 4096


@given(st.binary(max_size=40))
def test_any_bytes_are_a_huffman_string_or_an_error(data: bytes) -> None:
    with suppress(huffman.HuffmanError):
        text = huffman.decode(data)
        encoded = Encoder().huffman_coder.encode(text)
        assert encoded == data


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


@given(st.lists(st.tuples(st.binary(max_size=400), st.booleans(), FIELDS), max_size=8), CUTS, st.integers(1, 300))
def test_calls_are_the_same_however_their_bytes_are_cut(asked, cuts, part) -> None:
    """Whole or in many DATA frames, padded or not, with headers in one frame or more, read in any pieces."""
    data, encoder = HELLO, Encoder()
    for number, (raw, whole, more) in enumerate(asked):
        stream = 2 * number + 1
        extra = tuple((b"x-%d" % place, value.replace(b"\0", b"").strip()) for place, (_, value) in enumerate(more))
        extra = tuple((name, value.translate(None, b"\r\n").strip()) for name, value in extra)
        if whole:
            data += ask(encoder, stream, raw, extra)
            continue
        block, body = encoder.encode([*HEADERS, *extra]), message(raw)
        data += frame(frames.HEADERS, frames.PADDED, stream, b"\x02" + block[:7] + b"\0\0")
        data += frame(frames.CONTINUATION, frames.END_HEADERS, stream, block[7:])
        for start in range(0, len(body), part):
            data += frame(frames.DATA, frames.PADDED, stream, b"\x03" + body[start : start + part] + b"\0\0\0")
        data += frame(frames.DATA, frames.END_STREAM, stream)
    peer = InMemory()
    for piece in pieces(data, cuts):
        peer.receive(piece)
    assert [raw for raw, _, _ in asked] == [call.raw for call in peer.calls]
    assert (0, 0, 0) == (peer.hub.coming, peer.sender.intake.held, len(peer.connection._rest))


@given(st.lists(FRAMES, max_size=20), CUTS, st.booleans())
def test_any_frames_are_answered_or_end_the_connection(sent, cuts, greeted) -> None:
    data = b"".join(frame(kind, flags, stream, payload) for kind, flags, stream, payload in sent)
    never_raises_anything_else((HELLO if greeted else b"") + ask(Encoder(), 1, b"first") * greeted + data, cuts)


@given(st.binary(max_size=300), CUTS, st.booleans())
def test_any_bytes_are_answered_or_end_the_connection(data: bytes, cuts, greeted) -> None:
    never_raises_anything_else((HELLO if greeted else b"") + data, cuts)


def never_raises_anything_else(data: bytes, cuts: list[int]) -> None:
    peer = InMemory()
    with suppress(PeerError):
        for piece in pieces(data, cuts):
            peer.receive(piece)
    for call in peer.calls:
        call.reply(b"answer")
    peer.sent()  # frames, all of them
    peer.sender.drop_all()
    assert (0, 0, 0) == (peer.hub.coming, peer.hub.held, len(peer.sender.streams))
