"""gRPC over HTTP/2 in the loop transport: what is a Check, what is none, and how both end.

A message that did not come whole, or that nobody can read, never reaches the answerer.
"""

import gzip
import time
import zlib
from collections.abc import Iterator

import pytest

from tests.contracts.raw_http2 import (
    CANCEL,
    CHECK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST,
    Server,
    block,
    check,
    frame,
    literal,
    message,
    opening,
    trace,
    u32,
    until,
    with_headers,
)

REFUSED = {"status", "stream", "connection"}
UNSERVED = {b"refused:request_malformed", b"refused:deadline_exceeded"}


@pytest.fixture(scope="module")
def impatient_shared() -> Iterator[Server]:
    server = Server(message_timeout_seconds=0.3, max_message_bytes=64 << 10)
    yield server
    server.close()


@pytest.fixture
def impatient(impatient_shared: Server) -> Iterator[Server]:
    """Gives up messages soon, and takes small ones alone."""
    impatient_shared.asked()
    yield impatient_shared
    assert impatient_shared.settles()


# --- headers


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(with_headers(method="GET"), id="GET"),
        pytest.param(with_headers(method="PUT"), id="PUT"),
        pytest.param(with_headers(method="post"), id="post in lower case"),
        pytest.param(with_headers(method="OPTIONS"), id="OPTIONS"),
        pytest.param(with_headers(method="CONNECT"), id="CONNECT with a path"),
        pytest.param(with_headers(without=["content-type"]), id="no content-type"),
        *(
            pytest.param(with_headers(("content-type", kind), without=["content-type"]), id=f"content-type {kind}")
            for kind in ("application/json", "text/plain", "application/grp", "application/grpc-web", "application/x-grpc", "")
        ),
    ],
)  # fmt: skip
def test_what_is_not_grpc_is_refused_and_never_decided(server: Server, headers: list) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", headers))
        assert peer.ending() in REFUSED
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"])
def test_content_types_of_grpc_are_taken(server: Server, kind: str) -> None:
    headers = with_headers(
        ("content-type", kind),
        ("user-agent", "grpc-c++"),
        ("grpc-accept-encoding", "identity,gzip"),
        without=["content-type"],
    )
    with server.peer() as peer:
        assert peer.ask(1, b"x", headers) == b"answer:x"
        assert dict(peer.streams[1].headers)["content-type"].startswith("application/grpc")


@pytest.mark.parametrize(
    "path",
    ["/", "*", "check", CHECK + "/", CHECK + "?x", CHECK.upper(), CHECK[1:], "/" + CHECK, CHECK + "%20", CHECK[:-1], CHECK + "k", "/x" * 3000],
    ids=lambda path: path[:60],
)  # fmt: skip
def test_t13_another_path_is_unimplemented_however_near(server: Server, path: str) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", with_headers(path=path)))
        assert peer.ending() in REFUSED
        assert peer.failed or peer.streams[1].reset is not None or peer.streams[1].status == "12"
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


# --- time


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("00000003S", None),
        ("4000m", 4),
        ("5000000u", 5),
        ("99999999u", 99.999999),
        ("00000010H", None),
        ("0000010H", 36000),
    ],
)
def test_a_deadline_is_understood_in_every_unit(server: Server, value: str, seconds: float | None) -> None:
    with server.peer() as peer:
        before = time.time()
        peer.send(check(1, b"x", with_headers(("grpc-timeout", value))))
        ending = peer.ending()
        if seconds is None:  # more than eight digits: whether that counts is the server's choice
            assert ending in {"answer", *REFUSED}
            return
        assert ending == "answer"
    deadline = next(seen[1] for seen in server.echo.seen if seen[0] == b"x")
    assert before + seconds - 0.01 <= deadline <= time.time() + seconds + 0.01


def test_a_deadline_in_nanoseconds_is_understood(server: Server) -> None:
    with server.peer() as peer:
        before = time.time()
        peer.send(check(1, b"x", with_headers(("grpc-timeout", "99999999n"))))
        assert peer.ending() in {"answer", "status", "stream"}
    for deadline in (seen[1] for seen in server.echo.seen if seen[0] == b"x"):
        assert before + 0.08 <= deadline <= time.time() + 0.11


@pytest.mark.parametrize("value", ["99999999H", "99999999M", "99999999S"])
def test_a_deadline_in_many_years_is_one_or_none(server: Server, value: str) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", with_headers(("grpc-timeout", value))))
        assert peer.ending() == "answer"
    deadline = next(seen[1] for seen in server.echo.seen if seen[0] == b"x")
    assert deadline is None or deadline > time.time() + 10_000_000


@pytest.mark.parametrize(
    "value",
    ["", "S", "1", "10", "1s", "1h", "1X", "-1S", "+1S", "1.5S", "1e3S", "0x1S", "1_0S", "1 S", "123456789S", "9" * 400 + "S", "9" * 5000 + "S",
     "1SS", "inf", "nanS", "\u0661S", "\u00b2S", "1S,2S"],
    ids=lambda value: value[:12] or "empty",
)  # fmt: skip
def test_a_deadline_that_is_none_is_refused_or_ignored(server: Server, value: str) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", with_headers(("grpc-timeout", value))))
        assert peer.ending() in {"answer", *REFUSED}
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert [seen[1] for seen in server.echo.seen if seen[0] == b"x"] in ([], [None])


@pytest.mark.parametrize("value", ["0S", "0n", "1n", "0H"])
def test_a_check_whose_time_is_over_is_not_decided(server: Server, value: str) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", with_headers(("grpc-timeout", value))))
        ending = peer.ending()
        assert ending in REFUSED or peer.streams[1].answer in UNSERVED
        assert ending != "connection"
    assert server.asked() == []


def test_the_trace_of_each_call_is_its_own(server: Server) -> None:
    with server.peer() as peer:
        for number in range(1, 20):
            more = [("traceparent", trace(number))] if number % 2 else []
            peer.send(check(2 * number + 1, b"%d" % number, with_headers(*more)))
        assert peer.until(lambda: all(peer.streams[2 * number + 1].done for number in range(1, 20)))
    traces = {raw: found for raw, _, found in server.echo.seen}
    assert [traces[b"%d" % number] for number in range(1, 20)] == [trace(n) if n % 2 else "" for n in range(1, 20)]


@pytest.mark.parametrize("value", ["not base64!", "AAE", "=", "AAEC,AAEC"])
def test_binary_metadata_that_is_none_harms_nobody(server: Server, value: str) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", with_headers(("grpc-tags-bin", value), ("x-bin", value))))
        assert peer.ending() in {"answer", *REFUSED}


# --- messages


@pytest.mark.parametrize("size", [0, 1, 4, 5, 100, 5000])
@pytest.mark.parametrize("piece", [1, 3, 5, 16384])
def test_a_message_comes_in_any_pieces(server: Server, size: int, piece: int) -> None:
    whole = message(bytes(number % 251 for number in range(size)))
    pieces = [frame(DATA, 0, 1, whole[at : at + piece]) for at in range(0, len(whole), piece)]
    with server.peer() as peer:
        peer.send(opening(), *pieces, frame(DATA, END_STREAM, 1))
        assert peer.ending() == "answer"
    assert server.asked() == [whole[5:]]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(message(b"cut")[:1], id="a flag"),
        pytest.param(message(b"cut")[:4], id="part of the length"),
        pytest.param(message(b"cut")[:5], id="the length alone"),
        pytest.param(message(b"cut")[:-1], id="all but one byte"),
        pytest.param(b"\0" + u32(1 << 20) + b"cut", id="much less than the length says"),
        pytest.param(b"\0" + u32((1 << 32) - 1) + b"cut", id="4 GiB less than the length says"),
    ],
)
@pytest.mark.parametrize("end", ["with the last", "empty", "trailers"])
def test_a_message_that_is_cut_is_refused_and_never_decided(server: Server, sent: bytes, end: str) -> None:
    with server.peer() as peer:
        if end == "with the last":
            peer.send(opening(), frame(DATA, END_STREAM, 1, sent))
        elif end == "empty":
            peer.send(opening(), frame(DATA, 0, 1, sent), frame(DATA, END_STREAM, 1))
        else:
            trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, literal("x-a", "b"))
            peer.send(opening(), frame(DATA, 0, 1, sent), trailers)
        assert peer.ending() in REFUSED or peer.streams[1].answer in UNSERVED
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next"}


def test_a_call_without_a_message_is_refused(server: Server) -> None:
    with server.peer() as peer:
        peer.send(opening(end=True))
        assert peer.ending() in REFUSED or peer.streams[1].answer in UNSERVED
    assert server.asked() == []


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(message(b"second"), id="a whole one"),
        pytest.param(message(b"second")[:7], id="part of one"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(b"garbage that is none", id="garbage"),
        pytest.param(message(b"") * 2000, id="two thousand"),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["in one frame", "in its own frame"])
def test_of_several_messages_the_first_is_answered_or_all_refused(server: Server, more: bytes, apart: bool) -> None:
    first = message(b"first")
    with server.peer() as peer:
        sent = (
            frame(DATA, 0, 1, first) + frame(DATA, END_STREAM, 1, more)
            if apart
            else frame(DATA, END_STREAM, 1, first + more)
        )
        peer.send(opening(), sent)
        assert peer.ending() in REFUSED or peer.streams[1].answer in {*UNSERVED, b"answer:first"}
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= {b"next", b"first"}


@pytest.mark.parametrize("encoding", [None, "identity", "gzip", "deflate", "snappy", ""])
@pytest.mark.parametrize("flag", [1, 2, 255])
def test_a_compressed_message_is_read_or_refused_but_never_taken_as_it_is(
    server: Server, encoding: str | None, flag: int
) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding or "", lambda raw: raw)(b"plain words")
    headers = with_headers(*([("grpc-encoding", encoding)] if encoding is not None else []))
    with server.peer() as peer:
        peer.send(opening(1, headers), frame(DATA, END_STREAM, 1, message(packed, flag)))
        assert peer.ending() in REFUSED or peer.streams[1].answer in UNSERVED or encoding in {"gzip", "deflate"}
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(server.asked()) <= ({b"next", b"plain words"} if encoding in {"gzip", "deflate"} else {b"next"})


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_small_and_would_be_large_is_refused(server: Server, encoding: str) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](bytes(200 << 20), 1)
    with server.peer() as peer:
        peer.send(opening(1, with_headers(("grpc-encoding", encoding))))
        peer.pour(1, message(packed, 1))
        peer.send(frame(DATA, END_STREAM, 1))
        assert peer.ending() in REFUSED
    assert server.asked() == []


def test_an_encoding_is_named_for_messages_that_are_not_compressed(server: Server) -> None:
    with server.peer() as peer:
        peer.send(check(1, b"x", with_headers(("grpc-encoding", "gzip"))))
        assert peer.ending() in {"answer", *REFUSED}
    assert server.asked() in ([b"x"], [])


@pytest.mark.parametrize("size", [(64 << 10) - 1, 64 << 10])
def test_t60_a_message_up_to_the_limit_is_taken(impatient: Server, size: int) -> None:
    with impatient.peer() as peer:
        peer.send(opening())
        peer.pour(1, message(b"m" * size))
        peer.send(frame(DATA, END_STREAM, 1))
        assert peer.ending() == "answer"
    assert impatient.asked() == [b"m" * size]


@pytest.mark.parametrize("size", [(64 << 10) + 1, 1 << 20, 1 << 31, (1 << 32) - 1])
def test_t63_a_message_beyond_the_limit_is_refused_by_its_length(impatient: Server, size: int) -> None:
    with impatient.peer() as peer:
        peer.send(opening(), frame(DATA, 0, 1, b"\0" + u32(size) + b"only the first bytes"))
        assert peer.ending() in REFUSED
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(impatient.asked()) <= {b"next"}


@pytest.mark.parametrize(
    "byte", [b"\0", b"\0" + u32(10), b"\0" + u32(10) + b"half", b""], ids=["flag", "length", "half", "nothing"]
)
def test_t64_a_message_that_does_not_come_is_given_up(impatient: Server, byte: bytes) -> None:
    with impatient.peer() as peer:
        peer.send(opening(), frame(DATA, 0, 1, byte) if byte else b"")
        assert peer.ending() in REFUSED or peer.streams[1].answer in UNSERVED
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert set(impatient.asked()) <= {b"next"}


def test_t64_a_message_that_comes_a_byte_at_a_time_is_given_up(impatient: Server) -> None:
    """The time is for the whole message, not for the next byte."""
    with impatient.peer() as peer:
        peer.send(opening())
        whole, at = message(b"m" * 1000), 0
        end = time.monotonic() + 8
        while not peer.streams[1].done and not peer.failed and at < len(whole) and time.monotonic() < end:
            peer.send(frame(DATA, 0, 1, whole[at : at + 1]))
            at += 1
            peer.read(0.02)
        assert at < 900
        assert peer.ending() in REFUSED or peer.streams[1].answer in UNSERVED
    assert impatient.asked() == []


def test_a_check_without_an_end_is_answered_once_or_given_up(impatient: Server) -> None:
    """The message is whole, but the client does not say that it was the last."""
    with impatient.peer() as peer:
        peer.send(opening(), frame(DATA, 0, 1, message(b"whole")))
        assert peer.ending() in {"answer", *REFUSED}
        peer.until(lambda: peer.failed, 0.02)
        assert peer.failed or peer.ask(3, b"next") == b"answer:next"
    assert impatient.asked().count(b"whole") <= 1


# --- cancelling


@pytest.mark.parametrize("code", [CANCEL, 0, 2, 7, 99])
def test_a_check_that_was_cancelled_gets_no_answer(server: Server, code: int) -> None:
    server.echo.gate.clear()
    with server.peer() as peer:
        peer.send(check(1, b"slow"), check(3, b"slower"))
        peer.sync()
        peer.send(frame(RST, 0, 1, u32(code)))
        peer.sync()
        server.echo.gate.set()
        if not peer.failed:
            assert peer.ask(5, b"next") == b"answer:next"
            assert peer.ending(3) == "answer"
            assert peer.streams[1].data == b""


def test_checks_of_which_every_second_is_cancelled_keep_their_own_answers(server: Server) -> None:
    """An answer that comes late must not go to who asks by then."""
    with server.peer() as peer:
        for start in range(1, 2000, 40):
            if peer.failed:
                break
            streams = range(start, start + 40, 2)
            sent = [check(stream, b"slow %d" % stream if stream % 8 == 1 else b"%d" % stream) for stream in streams]
            resets = [frame(RST, 0, stream, u32(CANCEL)) for stream in streams if stream % 4 == 1]
            peer.send(*sent, *resets)
            left = [stream for stream in streams if stream % 4 != 1]
            assert peer.until(lambda: all(peer.streams[stream].done for stream in left))  # noqa: B023
            for stream in left:
                assert peer.streams[stream].answer in {b"answer:%d" % stream, b"refused:overloaded"}
        for stream, found in peer.streams.items():
            slow = b"slow " if stream % 8 == 1 else b""
            assert found.answer in {None, b"answer:%s%d" % (slow, stream), b"refused:overloaded"}


# --- health


def test_health_is_asked_and_watched_in_raw_frames(server: Server) -> None:
    with server.peer() as peer:
        watch = with_headers(path="/grpc.health.v1.Health/Watch")
        peer.send(check(1, b"", watch))
        assert peer.until(lambda: peer.streams[1].data)
        server.transport.set_serving(True)
        try:
            assert peer.until(lambda: peer.streams[1].data == message(b"\x08\x02") + message(b"\x08\x01"))
            assert peer.ask(3, b"", with_headers(path="/grpc.health.v1.Health/Check")) == b"\x08\x01"
            peer.send(check(5, b"\x0a\xff\xff", with_headers(path="/grpc.health.v1.Health/Check")))
            assert peer.ending(5) == "status"
            peer.send(frame(RST, 0, 1, u32(CANCEL)))
            assert peer.ask(7, b"next") == b"answer:next"
        finally:
            server.transport.set_serving(False)


def test_t64_watchers_that_never_read_cost_little(server: Server) -> None:
    watch = with_headers(path="/grpc.health.v1.Health/Watch")
    peers = [server.peer((4, 0)) for _ in range(3)]
    for peer in peers:
        peer.send(*(check(stream, b"", watch) for stream in range(1, 101, 2)))
    for serving in (True, False) * 100:
        server.transport.set_serving(serving)
    assert server.serves()
    for peer in peers:
        peer.close()
    assert until(server.settles)


def test_a_call_to_health_without_an_end_is_given_up(impatient: Server) -> None:
    with impatient.peer() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, block(with_headers(path="/grpc.health.v1.Health/Check"))))
        assert peer.ending() in REFUSED
