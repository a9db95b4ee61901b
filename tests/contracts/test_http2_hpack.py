"""Header compression (RFC 7541) in the loop transport: what does not decode ends the connection, tables never mix.

What was decoded is seen from outside by `traceparent`, which reaches the answerer as it was sent, and by `:path`.
"""

import hpack
import psutil
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.raw_http2 import (
    CALM,
    CANCEL,
    CHECK,
    COMPRESSION,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PROTOCOL,
    REQUEST,
    RST,
    TABLE_SIZE,
    Peer,
    Server,
    block,
    frame,
    integer,
    literal,
    message,
    text,
    trace,
    u32,
    with_headers,
)

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
TRACED = len("traceparent") + len(trace(0)) + 32  # RFC 7541 section 4.1: the size of an entry
NEWEST = 62


def bits(*codes: str) -> bytes:
    whole = "".join(codes)
    return int(whole, 2).to_bytes(len(whole) // 8, "big")


def huffman(raw: bytes) -> bytes:
    """A string in Huffman's code, given its bytes."""
    return integer(len(raw), 7, 0x80) + raw


def index(number: int) -> bytes:
    return integer(number, 7, 0x80)


def size_update(size: int) -> bytes:
    return integer(size, 5, 0x20)


def insert(number: int) -> bytes:
    return literal("traceparent", trace(number), 0x40)


def ask(peer: Peer, server: Server, stream: int, headers: bytes, before: bytes = b"") -> str:
    """A Check with these headers beside its own; the traceparent that the answerer was given."""
    server.echo.seen.clear()
    peer.send(frame(HEADERS, END_HEADERS, stream, before + block() + headers))
    peer.send(frame(DATA, END_STREAM, stream, message(b"x")))
    assert peer.ending(stream) == "answer"
    return next(seen[2] for seen in server.echo.seen if seen[0] == b"x")


A, EOS = "00011", "1" * 30


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(index(NEWEST), id="index of an empty table"),
        pytest.param(index(1 << 30), id="index far beyond"),
        pytest.param(index((1 << 32) + 2), id="index that is right modulo 2^32"),
        pytest.param(index((1 << 64) + 2), id="index that is right modulo 2^64"),
        pytest.param(insert(1) + index(NEWEST + 1), id="index one beyond the table"),
        pytest.param(integer(NEWEST, 6, 0x40) + text("v"), id="name beyond the table, to be added"),
        pytest.param(integer(NEWEST, 4) + text("v"), id="name beyond the table"),
        pytest.param(integer(NEWEST, 4, 0x10) + text("v"), id="name beyond the table, never to be added"),
        pytest.param(b"\xff" * 40, id="integer without end"),
        pytest.param(b"\xff\x80", id="integer that is cut"),
        pytest.param(b"\xff" + b"\x80" * 100_00 + b"\x01", id="integer of ten thousand bytes"),
        pytest.param(b"\xff\xff\xff\xff\xff\x7f", id="integer beyond 32 bits"),
        pytest.param(b"\x00" + integer(100, 7) + b"abc", id="name longer than the block"),
        pytest.param(b"\x00" + text("abc"), id="no value"),
        pytest.param(b"\x00" + text("abc") + integer(1 << 20, 7) + b"x", id="value longer than the block"),
        pytest.param(b"\x00" + text("abc") + integer((1 << 32) + 1, 7) + b"x", id="length that is right modulo 2^32"),
        pytest.param(b"\x00" + text("abc") + b"\x7f", id="length that is cut"),
        pytest.param(b"\x00" + text("abc") + huffman(b"\x1f\xff"), id="Huffman padding of 11 bits"),
        pytest.param(b"\x00" + text("abc") + huffman(b"\xff"), id="Huffman padding of 8 bits"),
        pytest.param(b"\x00" + text("abc") + huffman(bits(A, "000")), id="Huffman padding of zeros"),
        pytest.param(b"\x00" + text("abc") + huffman(bits(A, "110")), id="Huffman padding that ends in zero"),
        pytest.param(b"\x00" + text("abc") + huffman(bits(EOS, "11")), id="Huffman EOS"),
        pytest.param(b"\x00" + text("abc") + huffman(bits(A, EOS, A)), id="Huffman EOS between"),
        pytest.param(b"\x00" + text("abc") + huffman(bits("11111110")), id="Huffman code that is cut"),
        pytest.param(b"\x00" + huffman(bits(A, "000")) + text("x"), id="Huffman padding of zeros in a name"),
        pytest.param(b"\x20", id="size update behind a header"),
        pytest.param(size_update(100) + literal("a", "b"), id="size update between headers"),
        pytest.param(literal("a", "b" * 5000, 0x40) + index(NEWEST), id="entry larger than the table"),
        pytest.param(insert(1) + literal("a", "b" * 5000, 0x40) + index(NEWEST), id="entry that empties the table"),
    ],
)
def test_a_block_that_does_not_decode_ends_the_connection(server: Server, bad: bytes) -> None:
    with server.peer() as peer:
        payload = block() + bad
        pieces = [payload[at : at + 16384] for at in range(0, len(payload), 16384)]
        peer.send(frame(HEADERS, END_HEADERS if len(pieces) == 1 else 0, 1, pieces[0]))
        for number, piece in enumerate(pieces[1:], 2):
            peer.send(frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, 1, piece))
        peer.send(frame(DATA, END_STREAM, 1, message(b"x")))
        assert peer.until(lambda: peer.closed)
        assert peer.codes <= {COMPRESSION, PROTOCOL}
    assert server.asked() == []


def test_4_2_a_table_beyond_what_the_server_allows_ends_the_connection(server: Server) -> None:
    with server.peer() as peer:
        peer.sync()
        most = peer.settings.get(TABLE_SIZE, 4096)
        assert ask(peer, server, 1, insert(1), size_update(most)) == trace(1)
        peer.send(frame(HEADERS, END_HEADERS, 3, size_update(most + 1) + block()))
        assert peer.until(lambda: peer.closed)
        assert peer.codes <= {COMPRESSION, PROTOCOL}


@pytest.mark.parametrize("where", ["trailers", "a stream that was reset", "an unknown method"])
def test_a_block_that_does_not_decode_ends_the_connection_wherever_it_comes(server: Server, where: str) -> None:
    with server.peer() as peer:
        if where == "trailers":
            peer.send(frame(HEADERS, END_HEADERS, 1, block()), frame(DATA, 0, 1, b"\0"))
            peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, index(NEWEST)))
        elif where == "a stream that was reset":
            peer.send(frame(HEADERS, END_HEADERS, 1, block()), frame(RST, 0, 1, u32(CANCEL)))
            peer.send(frame(HEADERS, END_HEADERS, 3, block() + index(NEWEST)))
        else:
            peer.send(frame(HEADERS, END_HEADERS, 1, block(with_headers(path="/x")) + index(NEWEST)))
        assert peer.until(lambda: peer.closed)
        assert peer.codes <= {COMPRESSION, PROTOCOL}


# --- what decodes


def test_every_way_to_spell_a_header_is_understood(server: Server) -> None:
    name, value = b"traceparent", trace(7).encode()
    small = [
        literal(name, value),
        literal(name, value, 0x10),
        literal(name, value, 0x40),
        b"\x00" + huffman(HUFFMAN.encode(name)) + text(value),
        b"\x00" + text(name) + huffman(HUFFMAN.encode(value)),
        b"\x40" + huffman(HUFFMAN.encode(name)) + huffman(HUFFMAN.encode(value)),
        index(NEWEST),
        integer(NEWEST, 4) + text(value),
        integer(NEWEST, 4, 0x10) + huffman(HUFFMAN.encode(value)),
        integer(NEWEST, 6, 0x40) + text(value),
        index(NEWEST + 1),
    ]
    with server.peer() as peer:
        assert [ask(peer, server, 2 * n + 1, each) for n, each in enumerate(small)] == [trace(7)] * len(small)


def test_the_static_table_is_that_of_the_rfc(server: Server) -> None:
    """`:method POST` is 3, `:scheme http` 6 and https 7; names by index, values spelled out."""
    with server.peer() as peer:
        for stream, scheme in ((1, b"\x86"), (3, b"\x87")):
            spelled = b"\x83" + scheme + integer(4, 4) + text(CHECK) + integer(1, 4) + text("extauthz")
            spelled += literal("te", "trailers") + integer(31, 4) + text("application/grpc")
            peer.send(frame(HEADERS, END_HEADERS, stream, spelled), frame(DATA, END_STREAM, stream, message(b"x")))
            assert peer.ending(stream) == "answer"
        peer.send(frame(HEADERS, END_HEADERS, 5, b"\x82\x86" + integer(4, 4) + text(CHECK) + literal("te", "trailers")))
        assert peer.ending(5) in {"status", "stream", "connection"}  # 2 is GET


def capacity(peer: Peer) -> int:
    peer.sync()
    return min(4096, peer.settings.get(TABLE_SIZE, 4096))


def test_4_4_what_is_evicted_is_the_oldest_and_what_stays_keeps_its_order(server: Server) -> None:
    with server.peer() as peer:
        size = capacity(peer)
        kept = size // TRACED
        stream = 1
        for number in range(kept + 9):
            assert ask(peer, server, stream, insert(number), size_update(size) if stream == 1 else b"") == trace(number)
            stream += 2
        for back in range(kept):
            assert ask(peer, server, stream, index(NEWEST + back)) == trace(kept + 8 - back)
            stream += 2
        peer.send(frame(HEADERS, END_HEADERS, stream, block() + index(NEWEST + kept)))
        assert peer.until(lambda: peer.closed)


def test_4_3_a_smaller_table_forgets_and_a_larger_again_does_not_remember(server: Server) -> None:
    with server.peer() as peer:
        size = capacity(peer)
        for number in range(10):
            ask(peer, server, 2 * number + 1, insert(number))
        changed = size_update(3 * TRACED + 5) + size_update(size)
        assert ask(peer, server, 21, index(NEWEST + 2), changed) == trace(7)
        assert ask(peer, server, 23, index(NEWEST)) == trace(9)
        peer.send(frame(HEADERS, END_HEADERS, 25, block() + index(NEWEST + 3)))
        assert peer.until(lambda: peer.closed)


def test_4_4_an_entry_may_be_named_after_the_one_that_it_evicts(server: Server) -> None:
    with server.peer() as peer:
        assert ask(peer, server, 1, insert(1), size_update(TRACED)) == trace(1)
        renamed = integer(NEWEST, 6, 0x40) + text(trace(2))
        assert ask(peer, server, 3, renamed) == trace(2)
        assert ask(peer, server, 5, index(NEWEST)) == trace(2)


def test_the_same_bytes_mean_what_the_table_says_now(server: Server) -> None:
    """Who remembers a block by its bytes must remember the table that it was read with."""
    with server.peer() as peer, server.peer() as other:
        ask(other, server, 1, insert(100))
        for number in range(1, 30):
            stream = 6 * number
            assert ask(peer, server, stream + 1, insert(number)) == trace(number)
            assert ask(peer, server, stream + 3, index(NEWEST)) == trace(number)
            if number > 1:
                assert ask(peer, server, stream + 5, index(NEWEST + 1)) == trace(number - 1)
            assert ask(other, server, stream + 1, index(NEWEST)) == trace(100)


def test_a_block_that_adds_to_the_table_adds_each_time_it_comes(server: Server) -> None:
    with server.peer() as peer:
        for number in range(20):
            assert ask(peer, server, 4 * number + 1, insert(5)) == trace(5)
            assert ask(peer, server, 4 * number + 3, index(NEWEST + number)) == trace(5)


def test_a_block_that_empties_the_table_empties_it_each_time_it_comes(server: Server) -> None:
    with server.peer() as peer:
        emptied = size_update(0) + size_update(capacity(peer))
        for number in range(3):
            ask(peer, server, 8 * number + 1, insert(number))
            ask(peer, server, 8 * number + 3, insert(number))
            assert ask(peer, server, 8 * number + 5, insert(7), emptied) == trace(7)
        peer.send(frame(HEADERS, END_HEADERS, 99, block() + index(NEWEST + 1)))
        assert peer.until(lambda: peer.closed)


def test_a_path_in_the_table_is_that_of_the_table(server: Server) -> None:
    """The same bytes ask for another method once another path is the newest."""
    rest = block([header for header in REQUEST if header[0] not in {":method", ":scheme", ":path"}])
    asked = b"\x83\x86" + index(NEWEST) + rest
    with server.peer() as peer:
        for number, path in enumerate((CHECK, "/other.Service/Check", CHECK, "/grpc.health.v1.Health/Chec")):
            stream = 8 * number + 1
            adding = b"\x83\x86" + literal(":path", path, 0x40) + rest
            expected = "answer" if path == CHECK else "status"
            for place, headers in enumerate((adding, asked, asked)):
                which = stream + 2 * place
                peer.send(frame(HEADERS, END_HEADERS, which, headers), frame(DATA, END_STREAM, which, message(b"x")))
                assert peer.ending(which) == expected
                assert peer.streams[which].status == ("0" if path == CHECK else "12")


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        (literal("X-Upper", "a"), END_HEADERS),
        (literal("connection", "close"), END_HEADERS),
        (literal("a", "b" * 15000) + literal("a", "b" * 15000), END_HEADERS),
        (b"", END_HEADERS | END_STREAM),
        (literal("grpc-timeout", "0n"), END_HEADERS),
    ],
    ids=["malformed", "connection-specific", "too large", "no message", "no time left"],
)
def test_what_a_refused_request_added_to_the_table_is_there(server: Server, more: bytes, flags: int) -> None:
    payload = block() + insert(1) + more + insert(2)
    with server.peer() as peer:
        first, rest = payload[:16000], payload[16000:]
        if rest:
            peer.send(frame(HEADERS, flags & ~END_HEADERS, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest))
        else:
            peer.send(frame(HEADERS, flags, 1, first))
        peer.send(frame(RST, 0, 1, u32(CANCEL)))
        peer.sync()
        if not peer.failed:
            assert ask(peer, server, 3, index(NEWEST)) == trace(2)
            assert ask(peer, server, 5, index(NEWEST + 1)) == trace(1)


def test_what_trailers_and_unknown_methods_added_to_the_table_is_there(server: Server) -> None:
    with server.peer() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, block()), frame(DATA, 0, 1, message(b"x")))
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, insert(1)))
        assert peer.ending(1) == "answer"
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, block(with_headers(path="/x")) + insert(2)))
        assert peer.ending(3) == "status"
        assert ask(peer, server, 5, index(NEWEST)) == trace(2)
        assert ask(peer, server, 7, index(NEWEST + 1)) == trace(1)


def test_what_a_stream_beyond_the_limit_added_to_the_table_is_there() -> None:
    server = Server(max_concurrent_streams=100, message_timeout_seconds=10)
    try:
        with server.peer() as peer:
            peer.sync()
            for stream in range(1, 201, 2):
                peer.send(frame(HEADERS, END_HEADERS, stream, block()))
            peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 201, block() + insert(9)))
            assert peer.ending(201) in {"stream", "connection"}
            if not peer.failed:
                peer.send(*(frame(RST, 0, stream, u32(CANCEL)) for stream in range(1, 201, 2)))
                assert ask(peer, server, 203, index(NEWEST)) == trace(9)
    finally:
        server.close()


# --- bounds


def in_frames(payload: bytes, stream: int = 1) -> bytes:
    pieces = [payload[at : at + 16384] for at in range(0, len(payload), 16384)]
    sent = [frame(HEADERS, END_HEADERS if len(pieces) == 1 else 0, stream, pieces[0])]
    sent += [
        frame(CONTINUATION, END_HEADERS if at == len(pieces) - 1 else 0, stream, piece)
        for at, piece in enumerate(pieces)
        if at
    ]
    return b"".join(sent)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(literal("a", "b" * 40_000), id="one value of 40 kB"),
        pytest.param(literal("a" * 40_000, "b"), id="one name of 40 kB"),
        pytest.param(literal("x-a", "b" * 100) * 400, id="400 values"),
        pytest.param(literal("a", "") * 10_000, id="10,000 headers of next to nothing"),
        pytest.param(literal("a", "b" * 3900, 0x40) + index(NEWEST) * 16_000, id="16,000 references to one entry"),
        pytest.param(literal("a", "b" * 3900, 0x40) + index(NEWEST) * 600_000, id="600,000 references to one entry"),
        pytest.param(b"\x82" * 1_000_000, id="a million references to the static table"),
        pytest.param(b"\x00" + text("a") + huffman(HUFFMAN.encode(b"0" * 60_000)), id="60 kB in Huffman's code"),
        pytest.param(literal("a", "b" * 8_000_000), id="one value of 8 MB"),
    ],
)  # fmt: skip
def test_t63_a_header_list_beyond_the_limit_is_refused_and_costs_no_memory(server: Server, more: bytes) -> None:
    sent = in_frames(block() + more)
    before = psutil.Process().memory_info().rss
    with server.peer() as peer:
        peer.send(sent, frame(DATA, END_STREAM, 1, message(b"x")))
        assert peer.ending() in {"status", "stream", "connection"}
        assert psutil.Process().memory_info().rss - before < 40 << 20
        assert server.serves()
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


def test_metadata_within_the_limit_is_taken(server: Server) -> None:
    with server.peer() as peer:
        assert peer.ask(1, b"x", with_headers(("x-a", "v" * 12_000))) == b"answer:x"
        assert peer.ask(3, b"x", with_headers(*((f"x-{n}", "v" * 20) for n in range(100)))) == b"answer:x"


@pytest.mark.parametrize(
    "piece",
    [b"", literal("x-a", "b" * 900), b"\x82", literal("x-b", "b" * 100, 0x40)],
    ids=["empty", "literal", "indexed", "added"],
)
def test_t64_a_header_block_that_never_ends_is_ended(server: Server, piece: bytes) -> None:
    """CVE-2024-27316: CONTINUATION without end."""
    before = psutil.Process().memory_info().rss
    with server.peer() as peer:
        peer.send(frame(HEADERS, 0, 1, block()))
        for _ in range(100):
            if not peer.closed:
                peer.send(frame(CONTINUATION, 0, 1, piece) * 1000)
        assert peer.until(lambda: peer.closed)
        assert peer.codes <= {PROTOCOL, CALM, COMPRESSION}
        assert psutil.Process().memory_info().rss - before < 40 << 20


# --- whatever an encoder does


CODED = st.sampled_from([0x00, 0x10, 0x40])
OPERATION = st.one_of(
    st.tuples(st.just("other"), CODED, st.integers(0, 9), st.integers(0, 200), st.booleans()),
    st.tuples(st.just("again"), st.integers(0, 200)),
)
BLOCK = st.tuples(
    st.lists(st.sampled_from([0, 60, 300, 1000, 4096]), max_size=2),
    st.lists(OPERATION, max_size=6),
    st.one_of(st.tuples(st.just("index"), st.integers(0, 200)), st.tuples(st.just("name"), CODED, st.integers(0, 99), st.booleans())),
)  # fmt: skip


def spelled(first: int, name: bytes, value: bytes, *, coded: bool) -> bytes:
    made = [huffman(HUFFMAN.encode(each)) if coded else text(each) for each in (name, value)]
    return bytes((first,)) + b"".join(made)


@settings(max_examples=60)
@given(blocks=st.lists(BLOCK, min_size=1, max_size=12))
def test_a_table_that_any_encoder_has_built_reads_as_another_decoder_reads_it(shared: Server, blocks: list) -> None:
    oracle = hpack.Decoder()
    with shared.peer() as peer:
        for number, (sizes, operations, last) in enumerate(blocks):
            sizes = [min(sizes), *sizes[-1:]] if sizes else []  # noqa: PLW2901
            payload = b"".join(size_update(size) for size in sizes) + block()
            oracle.decode(payload)

            def add(part: bytes) -> bytes:
                oracle.decode(part)
                return part

            for operation in operations:
                table = oracle.header_table.dynamic_entries
                if operation[0] == "other":
                    _, first, name, size, coded = operation
                    payload += add(spelled(first, b"x-%d" % name, b"v" * size, coded=coded))
                elif others := [at for at, entry in enumerate(table) if bytes(entry[0]) != b"traceparent"]:
                    payload += add(index(NEWEST + others[operation[1] % len(others)]))
            table = oracle.header_table.dynamic_entries
            traces = [at for at, entry in enumerate(table) if bytes(entry[0]) == b"traceparent"]
            if last[0] == "index" and traces:
                at = traces[last[1] % len(traces)]
                expected = bytes(table[at][1]).decode()
                payload += add(index(NEWEST + at))
            else:
                first, value, coded = last[1:] if last[0] == "name" else (0x40, number, True)
                expected = trace(value)
                payload += add(spelled(first, b"traceparent", expected.encode(), coded=coded))
            shared.echo.seen.clear()
            stream = 2 * number + 1
            peer.send(frame(HEADERS, END_HEADERS, stream, payload), frame(DATA, END_STREAM, stream, message(b"x")))
            assert peer.ending(stream) == "answer"
            assert [seen[2] for seen in shared.echo.seen] == [expected]
