"""Flow control (RFC 9113 section 5.2) of the loop transport, both ways: nothing beyond a window, and none that leaks.

That no DATA is beyond the windows of the client is asserted by `Peer` with every frame.
"""

import random

import psutil
import pytest

from tests.contracts.raw_http2 import (
    CANCEL,
    CLOSED,
    DATA,
    END_STREAM,
    FLOW,
    INITIAL_WINDOW,
    MOST,
    NO_ERROR,
    PADDED,
    PROTOCOL,
    RST,
    WINDOW,
    Server,
    check,
    frame,
    message,
    opening,
    pattern,
    settings,
    u32,
    with_headers,
)

UNKNOWN = with_headers(path="/unknown")


# --- what the server sends


def test_nothing_of_an_answer_comes_before_its_window_opens_and_then_as_much_as_it_allows(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, 0)) as peer:
        peer.send(check(1, b"piece by piece"))
        peer.sync()
        assert peer.streams[1].data == b""
        for size in (1, 1, 3, 5, 1):
            before = len(peer.streams[1].data)
            peer.give(1, size)
            assert peer.until(lambda: len(peer.streams[1].data) == before + size)  # noqa: B023
        peer.give(1, 1000)
        assert peer.ending() == "answer"
        assert peer.streams[1].answer == b"answer:piece by piece"


def test_the_window_of_the_connection_holds_back_what_that_of_the_stream_allows(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, MOST)) as peer:
        streams = range(1, 9, 2)
        peer.send(*(check(stream, b"size:40000:%d" % stream) for stream in streams))
        assert peer.until(lambda: peer.received[0] == 65535)
        generator = random.Random(3)
        while not all(peer.streams[stream].done for stream in streams):
            more = generator.choice([1, 2, 1000, 20000])
            before = peer.received[0]
            peer.give(0, more)
            assert peer.until(lambda: peer.received[0] == before + more or all(peer.streams[s].done for s in streams))  # noqa: B023
        for stream in streams:
            assert peer.streams[stream].answer == pattern(40000, b"%d" % stream)


def test_a_stream_without_window_does_not_hold_up_the_others(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, 100)) as peer:
        peer.send(check(1, b"size:50000:a"))
        assert peer.until(lambda: len(peer.streams[1].data) == 100)
        for stream in range(3, 43, 2):
            assert peer.ask(stream, b"%d" % stream) == b"answer:%d" % stream
        peer.give(1, 60000)
        assert peer.ending(1) == "answer"
        assert peer.streams[1].answer == pattern(50000, b"a")


def test_6_9_2_a_window_that_a_setting_makes_negative_must_open_first(server: Server) -> None:
    with server.peer() as peer:
        peer.give(0, 1 << 20)
        peer.send(check(1, b"size:100000:a"))
        assert peer.until(lambda: len(peer.streams[1].data) == 65535)
        peer.send(settings((INITIAL_WINDOW, 10)))
        peer.sync()
        peer.initial = 10  # less than came: 65,525 are owed
        peer.give(1, 65525)
        peer.sync()
        assert len(peer.streams[1].data) == 65535
        peer.give(1, 5)
        assert peer.until(lambda: len(peer.streams[1].data) == 65540)
        peer.send(settings((INITIAL_WINDOW, 0)))
        peer.sync()
        peer.initial = 0
        peer.give(1, 10)
        peer.sync()
        assert len(peer.streams[1].data) == 65540
        peer.initial = 100_000
        peer.send(settings((INITIAL_WINDOW, 100_000)))
        assert peer.ending() == "answer"
        assert peer.streams[1].answer == pattern(100_000, b"a")


def test_6_9_2_a_setting_opens_the_windows_of_streams_that_wait(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, 0)) as peer:
        peer.send(*(check(stream, b"%d" % stream) for stream in range(1, 41, 2)))
        peer.sync()
        peer.initial = 1000
        peer.send(settings((INITIAL_WINDOW, 1000)))
        assert peer.until(lambda: all(peer.streams[stream].done for stream in range(1, 41, 2)))
        assert {peer.streams[stream].answer for stream in range(1, 41, 2)} == {
            b"answer:%d" % s for s in range(1, 41, 2)
        }


def test_the_largest_windows_overflow_nothing(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, MOST)) as peer:
        peer.give(0, MOST - 65535)
        peer.send(check(1, b"size:3000000:a"))
        assert peer.ending() == "answer"
        assert peer.streams[1].answer == pattern(3_000_000, b"a")


def test_a_window_beyond_the_largest_while_an_answer_waits_is_an_error(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, 0)) as peer:
        peer.send(check(3, b"size:90000:a"))
        peer.sync()
        peer.send(settings((INITIAL_WINDOW, MOST)))
        peer.initial = MOST
        peer.send(frame(WINDOW, 0, 3, u32(MOST)))
        assert peer.ending(3) in {"stream", "connection"}
        assert peer.codes <= {FLOW, PROTOCOL}


def test_a_stream_that_is_reset_while_its_answer_waits_sends_nothing_more(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, 10)) as peer:
        for stream in range(1, 41, 2):
            peer.send(check(stream, b"size:50000:a"))
        assert peer.until(lambda: all(len(peer.streams[stream].data) == 10 for stream in range(1, 41, 2)))
        peer.send(*(frame(RST, 0, stream, u32(CANCEL)) for stream in range(1, 39, 2)))
        peer.sync()
        peer.initial = 1000
        peer.send(settings((INITIAL_WINDOW, 1000)))
        peer.send(*(frame(WINDOW, 0, stream, u32(90000)) for stream in range(1, 39, 2)))
        peer.give(39, 90000)
        assert peer.ending(39) == "answer"
        assert all(len(peer.streams[stream].data) == 10 for stream in range(1, 39, 2))
        assert peer.ask(41, b"next") == b"answer:next"


def test_what_was_reset_gives_its_share_of_the_connection_to_others(server: Server) -> None:
    with server.peer((INITIAL_WINDOW, MOST)) as peer:
        peer.send(check(1, b"size:200000:a"), check(3, b"size:200000:b"))
        assert peer.until(lambda: peer.received[0] == 65535)
        begun = [stream for stream in (1, 3) if peer.streams[stream].data]
        gone = begun[0]
        other = 4 - gone
        peer.send(frame(RST, 0, gone, u32(CANCEL)))
        peer.sync()
        peer.give(0, 400_000)
        assert peer.ending(other) == "answer"


def test_t64_a_client_that_never_reads_costs_no_others_their_answers_and_leaves_nothing(server: Server) -> None:
    before = psutil.Process().memory_info().rss
    peers = [server.peer((INITIAL_WINDOW, MOST)) for _ in range(4)]
    for peer in peers:
        peer.give(0, MOST - 65535)
        peer.socket.sendall(b"".join(check(stream, b"size:1000000:a") for stream in range(1, 61, 2)))
    for _ in range(20):
        assert server.serves()
    for peer in peers:
        peer.close()
    assert server.settles()
    assert psutil.Process().memory_info().rss - before < 300 << 20


# --- what the server takes


def test_t60_a_message_of_8_mib_comes_through_the_windows(server: Server) -> None:
    with server.peer() as peer:
        peer.send(opening())
        assert peer.pour(1, message(b"b" * (8 << 20))) == (8 << 20) + 5
        peer.send(frame(DATA, END_STREAM, 1))
        assert peer.ending() == "answer"
    assert [len(raw) for raw in server.asked()] == [8 << 20]


@pytest.mark.parametrize(
    "headers",
    [UNKNOWN, with_headers(method="GET"), with_headers(("connection", "close"))],
    ids=["unknown method", "GET", "malformed"],
)
def test_data_of_a_stream_that_was_refused_uses_up_no_window(server: Server, headers: list) -> None:
    """What nobody reads is given back too: otherwise the connection stands still some day."""
    with server.peer() as peer:
        for stream in range(1, 201, 2):
            peer.send(opening(stream, headers))
            poured = peer.pour(stream, bytes(20_000), 3.0)
            if peer.failed:
                return
            assert poured == 20_000
            peer.send(frame(DATA, END_STREAM, stream))
        assert peer.ask(201, b"x" * 10_000) == b"answer:" + b"x" * 64


@pytest.mark.parametrize(
    "first",
    [b"\1" + u32(30_000), b"\0" + u32((1 << 32) - 1), b"\0" + u32(1)],
    ids=["compressed", "too large", "longer than it says"],
)
def test_data_of_messages_that_were_refused_uses_up_no_window(server: Server, first: bytes) -> None:
    """Also where the refusal comes with their last frame."""
    with server.peer() as peer:
        peer.give(0, MOST - 65535)
        for stream in range(1, 4001, 2):
            peer.until(lambda: 65535 + peer.room[0] - peer.poured[0] > 40_000 or peer.failed, 3.0)
            if peer.failed:
                return
            assert 65535 + peer.room[0] - peer.poured[0] > 40_000, "no window left"
            peer.send(opening(stream), frame(DATA, END_STREAM, stream, (first + bytes(16_000))[:16_000]))
            peer.poured[0] += 16_000
        assert peer.ask(4001, b"x" * 10_000) == b"answer:" + b"x" * 64


def test_data_of_streams_that_were_reset_uses_up_no_window(server: Server) -> None:
    with server.peer() as peer:
        for stream in range(1, 201, 2):
            peer.send(opening(stream))
            assert peer.pour(stream, b"\0" + u32(1 << 20) + bytes(30_000), 3.0) == 30_005
            peer.send(frame(RST, 0, stream, u32(CANCEL)))
            if peer.failed:
                return
        assert peer.ask(201, b"x" * 10_000) == b"answer:" + b"x" * 64


def test_data_behind_the_answer_uses_up_no_window(server: Server) -> None:
    """The first message was answered; what comes behind it, before the client has heard, is read and dropped."""
    with server.peer() as peer:
        for stream in range(1, 101, 2):
            peer.send(opening(stream), frame(DATA, 0, stream, message(b"x")))
            peer.poured[0] += 6
            peer.poured[stream] += 6
            assert peer.pour(stream, bytes(30_000), 3.0) == 30_000 or peer.failed
            if peer.failed:
                assert peer.codes <= {CLOSED, PROTOCOL}
                return
            peer.send(frame(RST, 0, stream, u32(CANCEL)))
        assert peer.ask(101, b"x" * 10_000) == b"answer:" + b"x" * 64


def test_6_1_padding_counts_and_is_given_back(server: Server) -> None:
    with server.peer() as peer:
        peer.sync()
        for stream in range(1, 41, 2):
            peer.send(opening(stream))
            for octet in message(b"m" * 15):
                assert peer.until(lambda: 65535 + peer.room[0] - peer.poured[0] >= 257), "no window left"
                peer.send(frame(DATA, PADDED, stream, b"\xff" + bytes((octet,)) + bytes(255)))
                peer.poured[0] += 257
            peer.send(frame(DATA, END_STREAM, stream))
            assert peer.ending(stream) == "answer"


def test_5_2_data_beyond_the_window_is_an_error(server: Server) -> None:
    """As far as any client can send what the server gave; a window without end is none that can be overrun."""
    with server.peer() as peer:
        peer.sync()
        window = min(65535 + peer.room[0], peer.settings.get(INITIAL_WINDOW, 65535))
        most = 32 << 20
        peer.send(opening(), frame(DATA, 0, 1, b"\0" + u32(8 << 20)))
        peer.socket.settimeout(5)
        for _ in range(0, min(window * 2, most) + 65536, 16384):
            if peer.closed or peer.streams[1].done:
                break
            peer.send(frame(DATA, 0, 1, bytes(16384)))
            peer.read(0.0)
        assert peer.ending() in {"stream", "connection", "status"} or peer.streams[1].answer == b"refused:overloaded"
        assert peer.codes <= {FLOW, PROTOCOL, CLOSED, NO_ERROR}
    assert server.asked() == []


def test_what_one_connection_may_leave_half_sent_is_bounded() -> None:
    """1,000 streams with half of 8 MiB each must not take gigabytes."""
    server = Server(message_timeout_seconds=20)
    try:
        before = psutil.Process().memory_info().rss
        with server.peer() as peer:
            peer.sync()
            sent, stalled = 0, 0
            half = bytes(1 << 22)
            for stream in range(1, 2000, 2):
                peer.send(opening(stream), frame(DATA, 0, stream, b"\0" + u32(8 << 20)))
                peer.poured[0] += 5
                peer.poured[stream] += 5
                poured = 0 if peer.streams[stream].done else peer.pour(stream, half, 0.1 if stalled else 0.5)
                sent += poured
                stalled = stalled + 1 if not poured else 0
                if peer.failed or stalled > 3 or sent > 1 << 30:
                    break
            assert sent <= 256 << 20
            assert psutil.Process().memory_info().rss - before < 384 << 20
            assert server.serves()
        assert server.settles()
    finally:
        server.close()
