"""HTTP/2 (RFC 9113) as the loop transport must speak it: what is an error, of what kind, and what must not disturb.

A table row is one connection. Where the RFC leaves a choice each is taken; what never is: an answer to what was not
asked, harm to another connection, something left in flight.
"""

import pytest

from tests.contracts.raw_http2 import (
    ACK,
    CANCEL,
    CHECK,
    CLOSED,
    COMPRESSION,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    MAX_STREAMS,
    MOST,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PROTOCOL,
    PUSH,
    REQUEST,
    RST,
    SETTINGS,
    TABLE_SIZE,
    WINDOW,
    Server,
    block,
    check,
    frame,
    literal,
    message,
    opening,
    settings,
    u32,
    with_headers,
)

SKIPPED_PRIORITY = u32(0) + b"\x10"
X = message(b"x")


def cases(*rows: tuple) -> pytest.MarkDecorator:
    """Each row: its name, then the values."""
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)
    width = len(rows[0]) - 1
    arguments = ["code", "sent"] if width == 2 else ["sent"]
    return pytest.mark.parametrize(arguments, [row[1:] if width > 1 else (row[1],) for row in rows], ids=names)


# --- 3.4: the preface


@cases(
    ("another word", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n" + settings()),
    ("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + b"x" * 40),
    ("HTTP/1.1 that asks for an upgrade", b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"),
    ("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(200)),
    ("nothing but zeros", bytes(64)),
    ("preface twice", PREFACE + PREFACE + settings()),
    ("no settings but a check", PREFACE + check()),
    ("no settings but a ping", PREFACE + frame(PING, 0, 0, b"12345678")),
    ("no settings but their acknowledgement", PREFACE + frame(SETTINGS, ACK)),
    ("no settings but a frame of unknown type", PREFACE + frame(0x20, 0, 0, b"x")),
)  # fmt: skip
def test_a_connection_that_begins_otherwise_is_ended(server: Server, sent: bytes) -> None:
    with server.peer(preface=False) as peer:
        peer.send(sent)
        assert peer.until(lambda: peer.closed)
    assert server.asked() == []


@pytest.mark.parametrize("size", [0, 1, 23, 24, 26, 33])
def test_a_preface_that_ends_in_the_middle_leaves_nothing(server: Server, size: int) -> None:
    with server.peer(preface=False) as peer:
        peer.send((PREFACE + settings() + check())[:size])
        assert server.serves()


def test_a_connection_that_comes_byte_by_byte_is_answered(server: Server) -> None:
    with server.peer(preface=False) as peer:
        for octet in PREFACE + settings() + check(1, b"slowly"):
            peer.send(bytes((octet,)))
        peer.acknowledged -= 1  # of the settings that were sent by hand
        assert peer.ending() == "answer"
        assert peer.streams[1].answer == b"answer:slowly"
    assert server.asked() == [b"slowly"]


def test_the_server_does_not_wait_for_its_settings_to_be_acknowledged(server: Server) -> None:
    with server.peer() as peer:
        peer.socket.sendall(check(1, b"at once"))
        assert peer.until(lambda: peer.streams[1].done)
        assert peer.streams[1].answer == b"answer:at once"


# --- errors of the connection


@cases(
    ("4.1 HEADERS on stream 0", PROTOCOL, frame(HEADERS, END_HEADERS, 0, block())),
    ("5.1 DATA on an idle stream", PROTOCOL, frame(DATA, END_STREAM, 1, X)),
    ("5.1 RST_STREAM on an idle stream", PROTOCOL, frame(RST, 0, 1, u32(CANCEL))),
    ("5.1 WINDOW_UPDATE on an idle stream", PROTOCOL, frame(WINDOW, 0, 1, u32(1))),
    ("5.1 DATA on an idle stream beyond one that is open", PROTOCOL, opening(1) + frame(DATA, END_STREAM, 3, X)),
    ("5.1.1 HEADERS on an even stream", PROTOCOL, check(2)),
    ("5.1.1 DATA on an even stream", PROTOCOL, opening(1) + frame(DATA, END_STREAM, 2, X)),
    ("6.1 DATA on stream 0", PROTOCOL, frame(DATA, 0, 0, X)),
    ("6.1 DATA with more padding than payload", PROTOCOL, opening() + frame(DATA, PADDED | END_STREAM, 1, b"\x0b" + X)),
    ("6.1 DATA with as much padding as payload", PROTOCOL, opening() + frame(DATA, PADDED | END_STREAM, 1, b"\x01")),
    ("6.1 DATA without its padding's length", FRAME_SIZE, opening() + frame(DATA, PADDED | END_STREAM, 1)),
    ("6.2 HEADERS with more padding than payload", PROTOCOL, frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + block())),
    ("6.2 HEADERS without their padding's length", FRAME_SIZE, frame(HEADERS, END_HEADERS | PADDED, 1)),
    ("6.2 HEADERS with padding over their priority", FRAME_SIZE, frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, b"\x01" + SKIPPED_PRIORITY)),
    ("6.2 HEADERS with part of a priority", FRAME_SIZE, frame(HEADERS, END_HEADERS | PRIORITISED, 1, u32(0))),
    ("6.3 PRIORITY on stream 0", PROTOCOL, frame(PRIORITY, 0, 0, SKIPPED_PRIORITY)),
    ("6.4 RST_STREAM on stream 0", PROTOCOL, frame(RST, 0, 0, u32(CANCEL))),
    ("6.4 RST_STREAM of 3 bytes", FRAME_SIZE, opening() + frame(RST, 0, 1, bytes(3))),
    ("6.4 RST_STREAM of 5 bytes", FRAME_SIZE, opening() + frame(RST, 0, 1, bytes(5))),
    ("6.4 RST_STREAM of nothing", FRAME_SIZE, opening() + frame(RST, 0, 1)),
    ("6.5 SETTINGS on a stream", PROTOCOL, frame(SETTINGS, 0, 1)),
    ("6.5 SETTINGS of 5 bytes", FRAME_SIZE, frame(SETTINGS, 0, 0, bytes(5))),
    ("6.5 SETTINGS of 7 bytes", FRAME_SIZE, frame(SETTINGS, 0, 0, bytes(7))),
    ("6.5 acknowledged SETTINGS with a payload", FRAME_SIZE, frame(SETTINGS, ACK, 0, bytes(6))),
    ("6.5 acknowledged SETTINGS on a stream", PROTOCOL, frame(SETTINGS, ACK, 1)),
    ("6.5.2 ENABLE_PUSH of 2", PROTOCOL, settings((ENABLE_PUSH, 2))),
    ("6.5.2 INITIAL_WINDOW_SIZE of 2^31", FLOW, settings((INITIAL_WINDOW, 1 << 31))),
    ("6.5.2 INITIAL_WINDOW_SIZE of 2^32-1", FLOW, settings((INITIAL_WINDOW, (1 << 32) - 1))),
    ("6.5.2 MAX_FRAME_SIZE of 16383", PROTOCOL, settings((MAX_FRAME, 16383))),
    ("6.5.2 MAX_FRAME_SIZE of 2^24", PROTOCOL, settings((MAX_FRAME, 1 << 24))),
    ("6.5.2 MAX_FRAME_SIZE of 0", PROTOCOL, settings((MAX_FRAME, 0))),
    ("6.5.2 a bad value behind a good one", PROTOCOL, settings((MAX_FRAME, 16384), (MAX_FRAME, 1))),
    ("6.6 PUSH_PROMISE", PROTOCOL, frame(PUSH, END_HEADERS, 1, u32(2) + block())),
    ("6.6 PUSH_PROMISE on a stream that is open", PROTOCOL, opening() + frame(PUSH, END_HEADERS, 1, u32(2) + block())),
    ("6.7 PING on a stream", PROTOCOL, frame(PING, 0, 1, bytes(8))),
    ("6.7 PING of 7 bytes", FRAME_SIZE, frame(PING, 0, 0, bytes(7))),
    ("6.7 PING of 9 bytes", FRAME_SIZE, frame(PING, 0, 0, bytes(9))),
    ("6.7 acknowledged PING of nothing", FRAME_SIZE, frame(PING, ACK, 0)),
    ("6.8 GOAWAY on a stream", PROTOCOL, opening() + frame(GOAWAY, 0, 1, u32(0, 0))),
    ("6.8 GOAWAY of 7 bytes", FRAME_SIZE, frame(GOAWAY, 0, 0, bytes(7))),
    ("6.9 WINDOW_UPDATE of 0 for the connection", PROTOCOL, frame(WINDOW, 0, 0, u32(0))),
    ("6.9 WINDOW_UPDATE of 0 but the reserved bit", PROTOCOL, frame(WINDOW, 0, 0, u32(1 << 31))),
    ("6.9 WINDOW_UPDATE of 3 bytes", FRAME_SIZE, frame(WINDOW, 0, 0, bytes(3))),
    ("6.9 WINDOW_UPDATE of 5 bytes on a stream", FRAME_SIZE, opening() + frame(WINDOW, 0, 1, bytes(5))),
    ("6.9.1 connection's window beyond 2^31-1", FLOW, frame(WINDOW, 0, 0, u32(MOST - 65535)) + frame(WINDOW, 0, 0, u32(1))),
    ("6.9.1 connection's window beyond 2^31-1 at once", FLOW, frame(WINDOW, 0, 0, u32(MOST))),
    ("6.9.2 streams' windows beyond 2^31-1 by a setting", FLOW, opening() + frame(WINDOW, 0, 1, u32(MOST - 65535)) + settings((INITIAL_WINDOW, 65536))),
    ("6.10 CONTINUATION of nothing", PROTOCOL, frame(CONTINUATION, END_HEADERS, 1, block())),
    ("6.10 CONTINUATION on stream 0", PROTOCOL, frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, END_HEADERS, 0)),
    ("6.10 CONTINUATION of a block that has ended", PROTOCOL, opening() + frame(CONTINUATION, END_HEADERS, 1)),
    ("6.10 CONTINUATION of another stream", PROTOCOL, frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, END_HEADERS, 3)),
    ("6.10 CONTINUATION after the DATA", PROTOCOL, opening() + frame(DATA, 0, 1, X[:3]) + frame(CONTINUATION, END_HEADERS, 1)),
    *((f"6.10 {name} within a header block", PROTOCOL, frame(HEADERS, 0, 1, block()) + between + frame(CONTINUATION, END_HEADERS, 1))
      for name, between in {
        "DATA of the stream": frame(DATA, END_STREAM, 1, X),
        "HEADERS of the stream": frame(HEADERS, END_HEADERS, 1, block()),
        "HEADERS of another": opening(3),
        "PRIORITY": frame(PRIORITY, 0, 1, SKIPPED_PRIORITY),
        "RST_STREAM": frame(RST, 0, 1, u32(CANCEL)),
        "SETTINGS": settings(),
        "acknowledged SETTINGS": frame(SETTINGS, ACK),
        "PING": frame(PING, 0, 0, bytes(8)),
        "GOAWAY": frame(GOAWAY, 0, 0, u32(0, 0)),
        "WINDOW_UPDATE": frame(WINDOW, 0, 0, u32(1)),
        "a frame of unknown type": frame(0x2A, 0, 1, b"x"),
    }.items()),
)  # fmt: skip
def test_an_error_of_the_connection_ends_it_and_is_named(server: Server, code: int, sent: bytes) -> None:
    with server.peer() as peer:
        peer.send(sent)
        assert peer.until(lambda: peer.closed), "RFC 9113 section 5.4.1: it must be closed"
        assert peer.codes <= {code, PROTOCOL}
        assert not any(stream.answer for stream in peer.streams.values())
    assert server.asked() == []


@pytest.mark.parametrize(
    ("kind", "flags", "before"),
    [
        (HEADERS, END_HEADERS, b""),
        (HEADERS, END_HEADERS, opening()),
        (SETTINGS, 0, b""),
        (PING, 0, b""),
        (CONTINUATION, END_HEADERS, frame(HEADERS, 0, 1, block())),
        (GOAWAY, 0, b""),
        (0x2A, 0, b""),
    ],
    ids=["HEADERS", "trailers", "SETTINGS", "PING", "CONTINUATION", "GOAWAY", "unknown"],
)
def test_4_2_a_frame_beyond_the_largest_size_ends_the_connection(
    server: Server, kind: int, flags: int, before: bytes
) -> None:
    with server.peer() as peer:
        peer.until(lambda: peer.settled)
        size = peer.settings.get(MAX_FRAME, 16384) + 1
        stream = 1 if kind in {HEADERS, CONTINUATION} else 0
        peer.send(before, frame(kind, flags, stream, bytes(size // 6 * 6 + 6)))
        assert peer.until(lambda: peer.closed)
        assert peer.codes <= {FRAME_SIZE, PROTOCOL, COMPRESSION}
    assert server.asked() == []


def test_4_2_data_beyond_the_largest_size_is_an_error(server: Server) -> None:
    with server.peer() as peer:
        peer.until(lambda: peer.settled)
        size = peer.settings.get(MAX_FRAME, 16384) + 1
        peer.send(opening(), frame(DATA, END_STREAM, 1, message(bytes(size - 5))))
        assert peer.ending() in {"stream", "connection"}
        assert peer.codes <= {FRAME_SIZE, PROTOCOL}
    assert server.asked() == []


def test_4_2_a_huge_frame_is_refused_by_its_head(server: Server) -> None:
    """16 MiB need not come, nor be kept."""
    with server.peer() as peer:
        peer.send(opening(), b"\xff\xff\xff" + bytes((DATA, END_STREAM)) + u32(1))
        assert peer.ending() in {"stream", "connection"}


# --- errors of one stream


ONE = {"stream", "connection"}


@cases(
    ("5.1 DATA behind the end", frame(DATA, END_STREAM, 1, X)),
    ("5.1 empty DATA behind the end", frame(DATA, END_STREAM, 1)),
    ("5.1 HEADERS behind the end", frame(HEADERS, END_HEADERS | END_STREAM, 1, literal("x-a", "b"))),
    ("5.1.1 the same Check behind the end", check()),
)  # fmt: skip
def test_frames_behind_the_end_of_a_stream_that_is_open_are_an_error(server: Server, sent: bytes) -> None:
    server.echo.gate.clear()
    try:
        with server.peer() as peer:
            peer.send(check(1, b"slow"))
            peer.sync()
            peer.send(sent)
            assert peer.ending(seconds=3.0) in ONE
            assert peer.codes <= {CLOSED, PROTOCOL}
    finally:
        server.echo.gate.set()
    assert server.asked() in ([b"slow"], [])


@cases(
    ("DATA", frame(DATA, END_STREAM, 1, message(b"again"))),
    ("empty DATA", frame(DATA, END_STREAM, 1)),
    ("the same id again", check(1, b"again")),
    ("trailers", frame(HEADERS, END_HEADERS | END_STREAM, 1, literal("x-a", "b"))),
)  # fmt: skip
def test_5_1_frames_on_a_stream_that_was_answered_are_not_answered_again(server: Server, sent: bytes) -> None:
    with server.peer() as peer:
        assert peer.ask(1, b"once") == b"answer:once"
        peer.streams[1].ended = False  # only an error, or silence, may follow
        peer.send(sent)
        peer.until(lambda: peer.failed, 0.05)
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
        assert peer.codes <= {CLOSED, PROTOCOL}
    assert [raw for raw in server.asked() if raw != b"next"] == [b"once"]


@pytest.mark.parametrize(
    ("stream", "sent"),
    [
        (3, check(5, b"later") + check(3, b"passed over")),
        (3, check(5, b"later") + opening(3)),
        (5, opening(5) + frame(RST, 0, 5, u32(CANCEL)) + check(5, b"again")),
    ],
    ids=["passed over", "passed over and without an end", "again after a reset"],
)
def test_5_1_1_ids_never_go_back(server: Server, stream: int, sent: bytes) -> None:
    with server.peer() as peer:
        peer.send(sent)
        peer.sync()
        assert peer.ending(stream, 0.05) in {"connection", "stream", "nothing"}
    assert set(server.asked()) <= {b"later"}


@cases(
    ("6.3 PRIORITY of 4 bytes", FRAME_SIZE, opening() + frame(PRIORITY, 0, 1, bytes(4))),
    ("6.9 WINDOW_UPDATE of 0", PROTOCOL, opening() + frame(WINDOW, 0, 1, u32(0))),
    ("6.9.1 window beyond 2^31-1", FLOW, opening() + frame(WINDOW, 0, 1, u32(MOST))),
    ("6.9.1 window beyond 2^31-1 in two", FLOW, opening() + frame(WINDOW, 0, 1, u32(MOST - 65535)) + frame(WINDOW, 0, 1, u32(1))),
    ("8.1 trailers without an end", PROTOCOL, opening() + frame(DATA, 0, 1, X[:4]) + frame(HEADERS, END_HEADERS, 1, literal("x-a", "b")) + frame(DATA, END_STREAM, 1, X[4:])),
    ("8.1 a second set of headers", PROTOCOL, opening() + opening() + frame(DATA, END_STREAM, 1, X)),
    ("8.1 pseudo-headers in trailers", PROTOCOL, opening() + frame(DATA, 0, 1, X[:4]) + frame(HEADERS, END_HEADERS | END_STREAM, 1, literal(":path", CHECK))),
)  # fmt: skip
def test_an_error_of_a_stream_costs_at_most_its_connection(server: Server, code: int, sent: bytes) -> None:
    with server.peer() as peer:
        peer.send(sent)
        assert peer.ending() in {*ONE, "status"}
        assert peer.codes <= {code, PROTOCOL, NO_ERROR, CLOSED}
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


# --- 8: malformed requests


def having(*more: tuple[str | bytes, str | bytes], **changed: str) -> bytes:
    return block(with_headers(**changed)) + b"".join(literal(*each) for each in more)


@cases(
    ("no :method", having(without=[":method"])),
    ("no :scheme", having(without=[":scheme"])),
    ("no :path", having(without=[":path"])),
    ("an empty :path", having(path="")),
    ("no headers at all", b""),
    ("two :method", literal(":method", "POST") + having()),
    ("two :scheme", literal(":scheme", "http") + having()),
    ("two :path", literal(":path", CHECK) + having()),
    ("two :path that differ", literal(":path", "/grpc.health.v1.Health/Check") + having()),
    ("two :authority", literal(":authority", "other") + having()),
    ("a pseudo-header behind the others", block([h for h in REQUEST if h[0] != ":path"]) + literal(":path", CHECK)),
    ("an unknown pseudo-header", literal(":secret", "x") + having()),
    ("a pseudo-header of answers", literal(":status", "200") + having()),
    ("a pseudo-header without a name", literal(":", "x") + having()),
    ("an upper-case name", having(("X-Upper", "a"))),
    ("a name with one upper-case letter", having(("grpc-timeouT", "1S"))),
    ("an empty name", having(("", "a"))),
    ("a name with a space", having(("a b", "a"))),
    ("a name with a colon", having(("a:b", "a"))),
    ("a name with a zero", having(("a\0b", "a"))),
    ("a name with a line feed", having(("a\nb", "a"))),
    ("a name with DEL", having(("a\x7f", "a"))),
    ("a name beyond ASCII", having((b"a\xff", "a"))),
    ("a value with a zero", having(("a", "b\0c"))),
    ("a value with a line feed", having(("a", "b\nc"))),
    ("a value with a carriage return", having(("a", "b\rc"))),
    ("a :path with a line feed", having(path=CHECK + "\n")),
    ("connection", having(("connection", "close"))),
    ("connection keep-alive", having(("connection", "keep-alive"))),
    ("keep-alive", having(("keep-alive", "5"))),
    ("proxy-connection", having(("proxy-connection", "close"))),
    ("transfer-encoding", having(("transfer-encoding", "chunked"))),
    ("upgrade", having(("upgrade", "h2c"))),
    ("te of gzip", block([h for h in REQUEST if h[0] != "te"]) + literal("te", "gzip")),
    ("te of trailers and gzip", block([h for h in REQUEST if h[0] != "te"]) + literal("te", "trailers, gzip")),
)  # fmt: skip
def test_8_a_malformed_request_is_refused_and_never_decided(server: Server, sent: bytes) -> None:
    with server.peer() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, sent), frame(DATA, END_STREAM, 1, X))
        assert peer.ending() in {*ONE, "status"}
        assert peer.codes <= {PROTOCOL, NO_ERROR}  # the latter behind a whole answer that says no
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


@pytest.mark.parametrize(
    ("length", "end"), [("4", "data"), ("60", "data"), ("6", "headers"), ("-1", "data"), ("6x", "data")]
)
def test_8_1_1_a_content_length_that_is_not_the_length_is_malformed(server: Server, length: str, end: str) -> None:
    with server.peer() as peer:
        headers = with_headers(("content-length", length))
        peer.send(opening(1, headers, end=True) if end == "headers" else check(1, b"x", headers))
        assert peer.ending() in {*ONE, "status"}
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


# --- what must not disturb


PIECES = [block()[at : at + 1] for at in range(len(block()))]


@cases(
    ("a frame of unknown type", frame(0x2A, 0xFF, 0, b"unknown") + check()),
    ("a frame of unknown type on the stream", opening() + frame(0x2A, 0xFF, 1, b"unknown") + frame(DATA, END_STREAM, 1, X)),
    ("a frame of unknown type on a stream of another", frame(0x2A, 0, 8, bytes(16384)) + check()),
    ("frames of later RFCs", frame(0xA, 0, 0, b"\0\0") + frame(0xC, 0, 0, b"\0\0\0\0") + frame(0x10, 0, 0, u32(1) + b"u=1") + check()),
    ("an unknown setting", settings((0x77, 7), (0xFFFF, MOST)) + check()),
    ("the same setting twice", settings((MAX_FRAME, 16384), (MAX_FRAME, 1 << 20)) + check()),
    ("largest of all settings", settings((TABLE_SIZE, (1 << 32) - 1), (MAX_STREAMS, (1 << 32) - 1), (INITIAL_WINDOW, MOST), (MAX_FRAME, (1 << 24) - 1), (6, (1 << 32) - 1)) + check()),
    ("no pushes and no streams for the server", settings((ENABLE_PUSH, 0), (MAX_STREAMS, 0)) + check()),
    ("extended CONNECT and no priorities", settings((8, 1), (9, 1)) + check()),
    ("unknown flags", frame(HEADERS, END_HEADERS | 0xD2 & ~PADDED & ~PRIORITISED, 1, block()) + frame(DATA, 0xF6 & ~PADDED | END_STREAM, 1, X)),
    ("the reserved bit of ids", opening(1 | 1 << 31) + frame(DATA, END_STREAM, 1 | 1 << 31, X)),
    ("PRIORITY of a stream to come", frame(PRIORITY, 0, 1, SKIPPED_PRIORITY) + check()),
    ("PRIORITY of a later stream", frame(PRIORITY, 0, 77, SKIPPED_PRIORITY) + check()),
    ("PRIORITY of a stream that is open", opening() + frame(PRIORITY, 0, 1, u32(3) + b"\xff") + frame(DATA, END_STREAM, 1, X)),
    ("HEADERS with a priority", frame(HEADERS, END_HEADERS | PRIORITISED, 1, SKIPPED_PRIORITY + block()) + frame(DATA, END_STREAM, 1, X)),
    ("HEADERS with padding", frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05" + block() + bytes(5)) + frame(DATA, END_STREAM, 1, X)),
    ("HEADERS with padding and priority", frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, b"\xff" + SKIPPED_PRIORITY + block() + bytes(255)) + frame(DATA, END_STREAM, 1, X)),
    ("HEADERS with a padding of nothing", frame(HEADERS, END_HEADERS | PADDED, 1, b"\0" + block()) + frame(DATA, END_STREAM, 1, X)),
    ("DATA with padding", opening() + frame(DATA, END_STREAM | PADDED, 1, b"\x07" + X + bytes(7))),
    ("DATA with nothing but padding", opening() + frame(DATA, PADDED, 1, b"\x07" + bytes(7)) + frame(DATA, END_STREAM | PADDED, 1, b"\0" + X)),
    ("empty DATA before and between", opening() + frame(DATA, 0, 1) + frame(DATA, 0, 1, X[:2]) + frame(DATA, 0, 1) + frame(DATA, END_STREAM, 1, X[2:])),
    ("the end in an empty DATA", opening() + frame(DATA, 0, 1, X) + frame(DATA, END_STREAM, 1)),
    ("the end in a padded empty DATA", opening() + frame(DATA, 0, 1, X) + frame(DATA, END_STREAM | PADDED, 1, b"\x03" + bytes(3))),
    ("DATA byte by byte", opening() + b"".join(frame(DATA, 0, 1, X[at : at + 1]) for at in range(len(X))) + frame(DATA, END_STREAM, 1)),
    ("headers in two", frame(HEADERS, 0, 1, block()[:30]) + frame(CONTINUATION, END_HEADERS, 1, block()[30:]) + frame(DATA, END_STREAM, 1, X)),
    ("headers in two of which one is empty", frame(HEADERS, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, block()) + frame(DATA, END_STREAM, 1, X)),
    ("headers in two of which the last is empty", frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, END_HEADERS, 1) + frame(DATA, END_STREAM, 1, X)),
    ("padded headers in two", frame(HEADERS, PADDED, 1, b"\x02" + block()[:30] + bytes(2)) + frame(CONTINUATION, END_HEADERS, 1, block()[30:]) + frame(DATA, END_STREAM, 1, X)),
    ("the reserved bit of a WINDOW_UPDATE", frame(WINDOW, 0, 0, u32(1 << 31 | 5)) + check()),
    ("WINDOW_UPDATE up to the largest", frame(WINDOW, 0, 0, u32(MOST - 65535)) + opening() + frame(WINDOW, 0, 1, u32(MOST - 65535)) + frame(DATA, END_STREAM, 1, X)),
    ("WINDOW_UPDATE behind the end", check() + frame(WINDOW, 0, 1, u32(5))),
    ("PRIORITY behind the end", check() + frame(PRIORITY, 0, 1, SKIPPED_PRIORITY)),
    ("an acknowledgement of no PING", frame(PING, ACK, 0, bytes(8)) + check()),
    ("ids that are passed over", check(1, b"x") + check(77, b"x")),
    ("GOAWAY behind the Check", check() + frame(GOAWAY, 0, 0, u32(0, NO_ERROR) + b"some words")),
    ("trailers", opening() + frame(DATA, 0, 1, X) + frame(HEADERS, END_HEADERS | END_STREAM, 1, literal("x-trailer", "a"))),
    ("a host beside no authority", frame(HEADERS, END_HEADERS, 1, block(with_headers(("host", "x"), without=[":authority"]))) + frame(DATA, END_STREAM, 1, X)),
    ("te of trailers in a later place", frame(HEADERS, END_HEADERS, 1, block(with_headers(("te", "trailers"), without=["te"]))) + frame(DATA, END_STREAM, 1, X)),
    ("a right content-length", check(1, b"x", with_headers(("content-length", "6")))),
    ("cookies in two", check(1, b"x", with_headers(("cookie", "a=b"), ("cookie", "c=d")))),
    ("unknown metadata", check(1, b"x", with_headers(("x-some", "a"), ("x-bin", "AAEC")))),
)  # fmt: skip
def test_what_is_allowed_is_answered(server: Server, sent: bytes) -> None:
    with server.peer() as peer:
        peer.send(sent)
        assert peer.ending() == "answer"
        assert peer.streams[1].answer == b"answer:x"
        assert not peer.failed
    assert set(server.asked()) == {b"x"}


def test_4_3_headers_byte_by_byte_are_answered_or_too_many_frames(server: Server) -> None:
    pieces = [frame(CONTINUATION, 0, 1, piece) for piece in PIECES]
    with server.peer() as peer:
        peer.send(frame(HEADERS, 0, 1), *pieces, frame(CONTINUATION, END_HEADERS, 1), frame(DATA, END_STREAM, 1, X))
        assert peer.ending() in {"answer", "connection"}  # a limit on CONTINUATION is an answer to CVE-2024-27316


def test_6_5_3_every_settings_frame_is_acknowledged_and_6_7_every_ping_with_what_it_carried(server: Server) -> None:
    with server.peer() as peer:
        peer.send(settings((TABLE_SIZE, 0)), settings(), settings((TABLE_SIZE, 4096)), frame(PING, 0, 0, b"abcdefgh"))
        assert peer.until(lambda: peer.acknowledged == 4 and peer.pongs)
        assert peer.pongs == [b"abcdefgh"]
        assert peer.ask(1, b"x") == b"answer:x"


def test_the_settings_of_the_server_are_within_what_the_rfc_allows(server: Server) -> None:
    with server.peer() as peer:
        peer.sync()
        found = peer.settings
    assert found[MAX_STREAMS] == 1024
    assert found.get(ENABLE_PUSH, 0) == 0
    assert found.get(INITIAL_WINDOW, 65535) <= MOST
    assert 16384 <= found.get(MAX_FRAME, 16384) < 1 << 24


@pytest.mark.parametrize("size", [0, 100, 1 << 16])
def test_6_5_2_answers_keep_to_the_table_that_the_client_has(server: Server, size: int) -> None:
    with server.peer((TABLE_SIZE, size)) as peer:
        for number in range(5):
            assert peer.ask(2 * number + 1, b"%d" % number) == b"answer:%d" % number


def test_6_5_2_the_client_may_change_its_table_between_answers(server: Server) -> None:
    with server.peer() as peer:
        for number, size in enumerate((4096, 0, 64, 4096, 0)):
            peer.send(settings((TABLE_SIZE, size)))
            peer.sync()
            peer._decoder.max_allowed_table_size = size
            peer._decoder.header_table_size = min(size, peer._decoder.header_table_size)
            assert peer.ask(2 * number + 1, b"%d" % number) == b"answer:%d" % number


def test_5_1_2_streams_beyond_the_limit_are_refused_and_the_others_answered() -> None:
    server = Server(max_concurrent_streams=100, message_timeout_seconds=10)
    try:
        with server.peer() as peer:
            peer.sync()
            assert peer.settings[MAX_STREAMS] == 100
            for stream in range(1, 201, 2):
                peer.send(opening(stream))
            peer.sync()
            peer.send(check(201, b"one too many"))
            assert peer.ending(201) in ONE
            assert peer.codes <= {7, PROTOCOL}
            if not peer.failed:
                for stream in range(1, 201, 2):
                    peer.send(frame(DATA, END_STREAM, stream, message(b"%d" % stream)))
                assert peer.until(lambda: all(peer.streams[stream].done for stream in range(1, 201, 2)))
                assert [peer.streams[stream].answer for stream in range(1, 201, 2)] == [
                    b"answer:%d" % stream for stream in range(1, 201, 2)
                ]
                assert peer.ask(203, b"there is room again") == b"answer:there is room again"
        assert b"one too many" not in server.asked()
        assert server.settles()
    finally:
        server.close()


def test_a_thousand_streams_at_once_each_have_their_own_answer(server: Server) -> None:
    streams = range(1, 2000, 2)
    with server.peer() as peer:
        peer.until(lambda: peer.settled)
        for start in range(0, 1000, 100):
            peer.send(*(opening(stream) for stream in streams[start : start + 100]))
        for stream in reversed(streams):
            if not peer.streams[stream].done:
                peer.send(frame(DATA, END_STREAM, stream, message(b"stream %d" % stream)))
        assert peer.until(lambda: all(peer.streams[stream].done for stream in streams))
        answers = {stream: peer.streams[stream].answer for stream in streams}
    assert {answers[stream] for stream in streams} > {b"refused:overloaded"} or len(set(answers.values())) == 1000
    assert all(answers[stream] in {b"answer:stream %d" % stream, b"refused:overloaded"} for stream in streams)


def test_6_8_a_goaway_of_the_client_costs_no_check_in_flight(server: Server) -> None:
    server.echo.gate.clear()
    with server.peer() as peer:
        peer.send(check(1, b"slow"), opening(3), frame(DATA, 0, 3, message(b"half")[:6]))
        peer.send(frame(GOAWAY, 0, 0, u32(0, NO_ERROR)), frame(DATA, END_STREAM, 3, message(b"half")[6:]))
        peer.until(lambda: peer.failed, 0.1)
        server.echo.gate.set()
        assert peer.ending(1) == peer.ending(3) == "answer"
        assert (peer.streams[1].answer, peer.streams[3].answer) == (b"answer:slow", b"answer:half")


def test_a_client_that_has_sent_all_and_shuts_its_half_gets_its_answer_or_an_end(server: Server) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"last words"))
        peer.socket.shutdown(1)
        peer.until(lambda: peer.closed)
        assert peer.streams[1].answer in {None, b"answer:last words"}


def test_frames_come_in_any_pieces(server: Server) -> None:
    whole = PREFACE + settings() + check(1, b"a" * 300) + check(3, b"b" * 300) + frame(PING, 0, 0, b"pingping")
    for size in (1, 2, 7, 9, 10, 13, 100, 299):
        with server.peer(preface=False) as peer:
            for at in range(0, len(whole), size):
                peer.send(whole[at : at + size])
            assert peer.until(lambda: peer.streams[1].done and peer.streams[3].done and peer.pongs)
            assert (peer.streams[1].answer, peer.streams[3].answer) == (b"answer:" + b"a" * 64, b"answer:" + b"b" * 64)


def test_settings_are_read_whole_before_they_hold(server: Server) -> None:
    """All values of one frame, in their order: the last counts."""
    with server.peer((INITIAL_WINDOW, 0)) as peer:
        peer.send(settings((INITIAL_WINDOW, 70000), (INITIAL_WINDOW, 3)), check(1, b"x"))
        peer.initial = 3
        assert peer.until(lambda: len(peer.streams[1].data) == 3)
        peer.give(1, 100)
        assert peer.ending() == "answer"
