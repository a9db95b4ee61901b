"""Clients that abuse HTTP/2, in raw frames against the loop transport: who behaves is answered meanwhile and afterwards.

Whether the abuser is answered, slowed down or cut off is the server's choice. What it may not take: answers of
others, memory, descriptors, threads. `tests/faults/test_http2_abuse.py` does the coarse floods against a whole server.
"""

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.contracts.raw_http2 import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_STREAMS,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    REQUEST,
    RST,
    SETTINGS,
    TABLE_SIZE,
    WINDOW,
    Peer,
    Server,
    block,
    check,
    frame,
    literal,
    message,
    opening,
    settings,
    u32,
    until,
    with_headers,
)

FLOOD_SECONDS = 0.15
MOST_GROWTH = 64 << 20
PROMPT = 5.0  # seconds; far more than it takes, far less than what a whole flood costs


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    server = Server()
    assert server.settles()
    process = psutil.Process()
    descriptors, threads = process.num_fds(), threading.active_count()
    yield server
    assert until(lambda: process.num_fds() <= descriptors + 2)
    assert threading.active_count() <= threads + 33  # the few that may wait aside stay
    server.close()


# --- floods: a round on a stream that is new


def ids(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Sixty-four rounds at once."""
    return lambda stream: b"".join(make(stream + 2 * place) for place in range(64))


BLOCK = block()
FLOODS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "PING": (b"", lambda _: frame(PING, 0, 0, b"12345678") * 500),
    "acknowledged PING": (b"", lambda _: frame(PING, ACK, 0, b"12345678") * 500),
    "SETTINGS": (b"", lambda _: settings() * 500),
    "SETTINGS that change the windows": (b"", lambda _: (settings((INITIAL_WINDOW, 0)) + settings((INITIAL_WINDOW, 70000))) * 250),
    "SETTINGS that change windows of many": (b"".join(opening(s) for s in range(1, 401, 2)), lambda _: (settings((INITIAL_WINDOW, 0)) + settings((INITIAL_WINDOW, 70000))) * 250),
    "SETTINGS that change the table": (b"", lambda _: (settings((TABLE_SIZE, 0)) + settings((TABLE_SIZE, 1 << 20))) * 250),
    "SETTINGS of many values": (b"", lambda _: settings(*[(INITIAL_WINDOW, 65535)] * 2700) * 4),
    "SETTINGS of unknown names": (b"", lambda _: settings(*[(0x77, 1)] * 2700) * 4),
    "acknowledged SETTINGS": (b"", lambda _: frame(SETTINGS, ACK) * 500),
    "PRIORITY": (b"", lambda s: b"".join(frame(PRIORITY, 0, s + 2 * n, u32(0) + b"\x01") for n in range(300))),
    "WINDOW_UPDATE of the connection": (b"", lambda _: frame(WINDOW, 0, 0, u32(1)) * 500),
    "WINDOW_UPDATE of a stream": (opening(1), lambda _: frame(WINDOW, 0, 1, u32(1)) * 500),
    "WINDOW_UPDATE of a stream that ended": (check(1), lambda _: frame(WINDOW, 0, 1, u32(1)) * 500),
    "empty DATA": (opening(1), lambda _: frame(DATA, 0, 1) * 500),
    "DATA of padding alone": (opening(1), lambda _: frame(DATA, PADDED, 1, b"\x00") * 100),
    "DATA of one byte": (opening(1) + frame(DATA, 0, 1, b"\0" + u32(8 << 20)), lambda _: frame(DATA, 0, 1, b"x") * 100),
    "empty HEADERS": (b"", ids(lambda s: frame(HEADERS, END_HEADERS, s))),
    "empty HEADERS that end": (b"", ids(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s))),
    "HEADERS alone": (b"", ids(opening)),
    "HEADERS on one stream": (opening(1), lambda _: opening(1) * 64),
    "empty CONTINUATION": (frame(HEADERS, 0, 1, BLOCK), lambda _: frame(CONTINUATION, 0, 1) * 500),
    "CONTINUATION": (frame(HEADERS, 0, 1, BLOCK), lambda _: frame(CONTINUATION, 0, 1, literal("x", "y" * 900)) * 20),
    "frames of unknown type": (b"", lambda _: frame(0x77, 0xFF, 5, b"x") * 500),
    "large frames of unknown type": (b"", lambda _: frame(0x77, 0xFF, 5, bytes(16384)) * 10),
    "RST_STREAM of a stream that ended": (check(1), lambda _: frame(RST, 0, 1, u32(CANCEL)) * 500),
    "GOAWAY": (b"", lambda _: frame(GOAWAY, 0, 0, u32(0, NO_ERROR)) * 300),
    "rapid reset": (b"", ids(lambda s: opening(s) + frame(RST, 0, s, u32(CANCEL)))),
    "rapid reset of whole Checks": (b"", ids(lambda s: check(s, b"flood") + frame(RST, 0, s, u32(CANCEL)))),
    "rapid reset of Checks that wait": (b"", ids(lambda s: check(s, b"slow flood") + frame(RST, 0, s, u32(CANCEL)))),
    "made to reset by a window of 0": (b"", ids(lambda s: opening(s) + frame(WINDOW, 0, s, u32(0)))),
    "made to reset by a window's overflow": (b"", ids(lambda s: check(s, b"flood") + frame(WINDOW, 0, s, u32((1 << 31) - 1)))),
    "made to reset by what is behind the end": (b"", ids(lambda s: check(s, b"flood") + frame(DATA, 0, s, b"x"))),
    "made to reset by what is malformed": (b"", ids(lambda s: opening(s, with_headers(("connection", "close"))))),
    "methods that are unknown": (b"", ids(lambda s: check(s, b"flood", with_headers(path="/x")))),
    "watches": (b"", ids(lambda s: check(s, b"", with_headers(path="/grpc.health.v1.Health/Watch")))),
    "messages beyond the limit": (b"", ids(lambda s: opening(s) + frame(DATA, 0, s, b"\0" + u32((1 << 32) - 1)))),
    "Checks": (b"", ids(lambda s: check(s, b"flood"))),
    "Checks whose answers have no window": (settings((INITIAL_WINDOW, 0)), ids(lambda s: check(s, b"flood"))),
}  # fmt: skip


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "never reading"])
@pytest.mark.parametrize("shape", FLOODS)
def test_t64_who_behaves_is_answered_beside_a_flood(server: Server, shape: str, *, reads: bool) -> None:
    """CVE-2019-9511 to 9518, 2023-44487, 2024-27316, 2025-8671, and their kin."""
    first, make = FLOODS[shape]
    before = psutil.Process().memory_info().rss
    with server.peer() as abuser:
        abuser.send(first)
        longest, answered = flood(server, abuser, make, reads=reads)
        assert answered
        assert longest < PROMPT
        assert psutil.Process().memory_info().rss - before < MOST_GROWTH
    assert set(server.asked()) <= {b"flood", b"slow flood", b"x"}
    server.shed.clear()


def flood(server: Server, abuser: Peer, make: Callable[[int], bytes], *, reads: bool) -> tuple[float, bool]:
    """Send as much as is taken, asking good Checks all along; the longest that one took, and whether all were right."""
    end, stream, longest, answered, left = time.monotonic() + FLOOD_SECONDS / (1 if reads else 2), 101, 0.0, True, b""
    while time.monotonic() < end and answered:
        if not abuser.closed:
            with suppress(BlockingIOError):
                left = left or make(stream)
                abuser.socket.settimeout(0)
                try:
                    left = left[abuser.socket.send(left) :]
                except BlockingIOError:
                    raise
                except OSError:
                    abuser.closed = True
                stream += 2 * 500
            if reads:
                drain(abuser)
        began = time.process_time()  # of server and client: a machine that is busy elsewhere does not count
        answered = server.serves()
        longest = max(longest, time.process_time() - began)
    return longest, answered


def drain(abuser: Peer) -> None:
    """Read what is there and look at none of it: a flood breaks rules that a Peer keeps."""
    readable, _, _ = select.select([abuser.socket], [], [], 0)
    if readable:
        try:
            abuser.closed = not abuser.socket.recv(1 << 20)
        except OSError:
            abuser.closed = True


@pytest.mark.parametrize("shape", ["PING", "SETTINGS", "made to reset by a window of 0", "methods that are unknown"])
def test_t64_replies_that_nobody_reads_are_not_piled_up(server: Server, shape: str) -> None:
    """CVE-2019-9512, 9515 and 9517: the server stops reading, or ends it, before what it owes is more than a little."""
    first, make = FLOODS[shape]
    before = psutil.Process().memory_info().rss
    with server.peer() as abuser:
        abuser.send(first)
        abuser.socket.settimeout(0.3)
        stream, end = 101, time.monotonic() + 1.0
        with suppress(OSError):
            while time.monotonic() < end:
                abuser.socket.sendall(make(stream))
                stream += 1000
        assert server.serves()
        assert psutil.Process().memory_info().rss - before < MOST_GROWTH


def processor_seconds(server: Server) -> float:
    """What the loop has used so far."""
    threads = {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}
    return threads[server.transport._thread.native_id]


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (settings(*[(INITIAL_WINDOW, 0), (INITIAL_WINDOW, 1)] * 1300), "of the streams"),
        ((settings((INITIAL_WINDOW, 0)) + settings((INITIAL_WINDOW, 1))) * 1300, "of the streams"),
        (frame(WINDOW, 0, 0, u32(1)) * 2600, "of the streams"),
        (frame(WINDOW, 0, 0, u32(1)) * 2600, "of the connection"),
    ],
    ids=[
        "settings in one frame",
        "settings in many",
        "updates while streams wait",
        "updates while the connection waits",
    ],
)
def test_t64_windows_that_change_for_a_thousand_waiting_streams_cost_little(
    server: Server, made: bytes, kind: str
) -> None:
    """A byte of the peer must not make the server look at a thousand streams for as long as it likes."""
    first = 0 if kind == "of the streams" else 1 << 20
    with server.peer((INITIAL_WINDOW, first)) as abuser:
        for start in range(1, 2000, 200):
            abuser.send(*(check(stream, b"size:70000:a") for stream in range(start, start + 200, 2)))
            time.sleep(0.02)  # so that they are decided, not refused
        abuser.sync()
        before = processor_seconds(server)
        with suppress(OSError):
            for _ in range(4):
                abuser.socket.sendall(made)
        for _ in range(50):
            drain(abuser)
            assert server.serves()
        assert processor_seconds(server) - before < 0.5


def test_t64_checks_that_were_cancelled_take_nobodys_place(server: Server) -> None:
    """CVE-2023-44487 with whole questions: of thousands that come at once the one that is not reset is answered."""
    short = bytes(0xBE + place for place in range(len(REQUEST)))  # all headers by their index in the table
    with server.peer() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, block(REQUEST, 0x40)), frame(DATA, END_STREAM, 1, message(b"x")))
        assert peer.ending(1) == "answer"
        for first in (3, 6003, 12003):
            rest = range(first, first + 5000, 2)
            asked = [
                frame(HEADERS, END_HEADERS, stream, short[::-1]) + frame(DATA, END_STREAM, stream, message(b"flood"))
                for stream in rest
            ]
            reset = [frame(RST, 0, stream, u32(CANCEL)) for stream in rest]
            last = first + 5000
            peer.send(b"".join(a + b for a, b in zip(asked, reset, strict=True)), check(last, b"the last"))
            assert peer.until(lambda: peer.streams[last].done)  # noqa: B023
            assert peer.streams[last].answer == b"answer:the last"


def test_t64_calls_that_begin_and_go_no_further_keep_out_nobody_else() -> None:
    """Ten thousand of them, as many as a server holds: who brings its message at once is answered."""
    server = Server(message_timeout_seconds=20)
    try:
        with ExitStack() as stack:
            for _ in range(10):
                peer = stack.enter_context(server.peer())
                peer.sync()
                peer.send(*(opening(stream) for stream in range(1, 2000, 2)))
                peer.sync()
            with server.peer() as good:
                for stream in range(1, 41, 2):
                    assert good.ask(stream, b"%d" % stream) == b"answer:%d" % stream
                many = range(101, 121, 2)
                good.send(*(opening(stream) for stream in many))
                good.sync()
                good.send(*(frame(DATA, END_STREAM, stream, message(b"%d" % stream)) for stream in many))
                assert good.until(lambda: all(good.streams[stream].done for stream in many))
                assert {good.streams[stream].answer for stream in many} == {b"answer:%d" % stream for stream in many}
        assert server.settles()
    finally:
        server.close()


# --- connections


def test_t64_connections_that_ask_nothing_keep_out_nobody() -> None:
    """As many as the server takes: the longest without a call gives way, and who has calls stays."""
    server = Server(max_connections=20, message_timeout_seconds=20)
    try:
        with ExitStack() as stack:
            assert server.serves()
            busy = stack.enter_context(server.peer())
            busy.send(opening(1))
            busy.sync()
            idle = [stack.enter_context(server.peer(preface=number % 2 == 0)) for number in range(60)]
            assert server.serves()
            assert not server._good.goaways
            fresh = stack.enter_context(server.peer())
            assert fresh.ask(1, b"fresh") == b"answer:fresh"
            busy.send(frame(DATA, END_STREAM, 1, message(b"x")))
            assert busy.ending(1) == "answer"
            assert until(lambda: len(server.transport._links) <= 20)
            for peer in idle[:40]:
                assert peer.until(lambda: peer.closed)  # noqa: B023
        assert server.settles()
    finally:
        server.close()


BEGINNINGS = {
    "nothing": b"",
    "part of the preface": PREFACE[:10],
    "the preface alone": PREFACE,
    "part of a frame's head": PREFACE + settings() + b"\0\0",
    "part of a frame": PREFACE + settings() + frame(HEADERS, END_HEADERS, 1, BLOCK)[:40],
    "part of a header block": PREFACE + settings() + frame(HEADERS, 0, 1, BLOCK),
    "part of a message": PREFACE + settings() + opening() + frame(DATA, 0, 1, message(b"never")[:6]),
    "headers alone": PREFACE + settings() + opening(),
    "a check that waits": PREFACE + settings() + check(1, b"slow"),
    "a whole check": PREFACE + settings() + check(1, b"x"),
    "a thousand checks": PREFACE + settings() + b"".join(check(stream, b"x") for stream in range(1, 2000, 2)),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_t64_many_connections_that_stop_in_the_middle_hold_up_nobody(server: Server, beginning: str) -> None:
    """Slow loris: a hundred of them, a byte now and then, closed in the end in every way there is."""
    process = psutil.Process()
    assert server.serves()
    before, memory = process.num_fds(), process.memory_info().rss
    with ExitStack() as stack:
        peers = [stack.enter_context(server.peer(preface=False)) for _ in range(100 if beginning[:3] != "a t" else 5)]
        for peer in peers:
            with suppress(OSError):
                peer.socket.sendall(BEGINNINGS[beginning])
        for _ in range(5):
            assert server.serves()
        assert process.memory_info().rss - memory < MOST_GROWTH
        for place, peer in enumerate(peers):
            if place % 3 == 1:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a RST of TCP
            elif place % 3 == 2:
                with suppress(OSError):
                    peer.socket.shutdown(socket.SHUT_WR)
    assert until(lambda: process.num_fds() <= before)


@pytest.mark.parametrize("size", [0, 30])
def test_t64_a_thousand_connections_opened_and_closed_leave_nothing(server: Server, size: int) -> None:
    process = psutil.Process()
    assert server.serves()
    before = process.num_fds()
    for number in range(500):
        with server.peer(preface=False) as peer:
            peer.socket.sendall(
                (PREFACE + settings() + check())[:size] if number % 2 else PREFACE + settings() + check()
            )
            if number % 10 == 0:
                assert server.serves()
    assert until(lambda: process.num_fds() <= before)


def test_a_connection_that_is_closed_at_any_byte_leaves_nothing(server: Server) -> None:
    conversation = (
        PREFACE
        + settings()
        + opening()
        + frame(DATA, END_STREAM, 1, message(b"cut anywhere"))
        + frame(PING, 0, 0, bytes(8))
    )
    for size in range(0, len(conversation), 3):
        with server.peer(preface=False) as peer:
            peer.socket.sendall(conversation[:size])
    assert server.settles()
    assert set(server.asked()) <= {b"cut anywhere"}


def test_connections_that_are_gone_before_their_answers_leave_nothing(server: Server) -> None:
    server.echo.gate.clear()
    for _ in range(10):
        with server.peer() as peer:
            peer.send(check(1, b"slow"), check(3, b"slow"), opening(5), frame(DATA, 0, 5, message(b"half")[:7]))
            peer.sync()
    server.echo.gate.set()
    assert until(lambda: server.transport.inflight == 0)


# --- life and end of connections


def test_a_connection_that_has_its_age_is_ended_in_grace_and_no_check_is_lost() -> None:
    server = Server(max_connection_age_seconds=0.3, max_connection_age_grace_seconds=20)
    try:
        server.echo.gate.clear()
        with server.peer() as peer:
            peer.send(check(1, b"slow"), opening(3), frame(DATA, 0, 3, message(b"half")[:6]))
            peer.until(lambda: peer.goaways)
            assert peer.goaways
            assert peer.goaways[-1][1] == NO_ERROR
            last, stream = peer.goaways[-1][0], 5
            assert last >= 3
            peer.send(frame(DATA, END_STREAM, 3, message(b"half")[6:]), check(5, b"on the way"))
            server.echo.gate.set()
            assert peer.until(lambda: peer.streams[1].done and peer.streams[3].done)
            assert peer.streams[1].answer == b"answer:slow"
            assert peer.streams[3].answer == b"answer:half"
            assert peer.until(lambda: peer.closed)
            assert {code for _, code in peer.goaways} == {NO_ERROR}
            if peer.goaways[-1][0] >= stream:  # what the server says it has taken, it has answered
                assert peer.streams[5].answer == b"answer:on the way"
        assert server.settles()
    finally:
        server.close()


def test_a_connection_beyond_its_age_and_grace_is_closed_whatever_runs() -> None:
    server = Server(max_connection_age_seconds=0.2, max_connection_age_grace_seconds=0.3)
    try:
        server.echo.gate.clear()
        with server.peer() as peer:
            peer.send(check(1, b"slow"))
            assert peer.until(lambda: peer.closed)
            assert peer.streams[1].answer is None
        server.echo.gate.set()
        assert server.settles()
    finally:
        server.close()


def test_a_connection_that_nobody_uses_has_its_age_too() -> None:
    server = Server(max_connection_age_seconds=0.2, max_connection_age_grace_seconds=0.2)
    try:
        with server.peer() as idle, server.peer(preface=False) as silent:
            assert idle.until(lambda: idle.closed)
            assert {code for _, code in idle.goaways} == {NO_ERROR}
            silent.until(lambda: silent.closed, 0.01)
    finally:
        server.close()


def test_drain_ends_connections_in_grace_and_no_check_is_lost() -> None:
    server = Server()
    server.echo.gate.clear()
    with server.peer() as peer, server.peer() as idle:
        peer.send(check(1, b"slow"))
        peer.sync()
        idle.sync()
        stopping = threading.Thread(target=server.transport.stop, args=(20.0,))
        stopping.start()
        assert peer.until(lambda: peer.goaways)
        assert idle.until(lambda: idle.goaways)
        server.echo.gate.set()
        assert peer.until(lambda: peer.closed)
        assert idle.until(lambda: idle.closed)
        assert peer.streams[1].answer == b"answer:slow"
        assert {code for _, code in peer.goaways + idle.goaways} == {NO_ERROR}
        stopping.join(10)
        assert not stopping.is_alive()
    server.close()


def test_drain_does_not_wait_for_connections_that_stop_in_the_middle() -> None:
    server = Server(message_timeout_seconds=10)
    peers = []
    for beginning in BEGINNINGS.values():
        peers.append(server.peer(preface=False))
        peers[-1].send(beginning)
    assert until(server.serves)
    before = time.monotonic()
    server.transport.stop(0.2)
    assert time.monotonic() - before < PROMPT
    for peer in peers:
        peer.until(lambda: peer.closed)  # noqa: B023
        assert peer.closed
        peer.close()
    server.close()


def test_6_7_a_client_that_pings_within_reason_is_not_cut_off(server: Server) -> None:
    with server.peer() as peer:
        for number in range(3):
            peer.send(frame(PING, 0, 0, b"%08d" % number))
            assert peer.until(lambda: len(peer.pongs) == number + 1)  # noqa: B023
            assert peer.ask(2 * number + 1, b"x") == b"answer:x"
        assert not peer.goaways


def test_random_bytes_harm_nobody(server: Server) -> None:
    generator = random.Random(7)
    for number in range(60):
        with server.peer(preface=bool(number % 3)) as peer:
            noise = generator.randbytes(generator.choice([9, 100, 5000]))
            with suppress(OSError):
                peer.socket.sendall(opening() + noise if number % 2 else noise)
        if number % 10 == 0:
            assert server.serves()
    assert server.settles()


def test_streams_beyond_what_the_client_was_told_are_bounded_before_it_has_read_the_settings() -> None:
    """A client need not wait for SETTINGS; that must not mean streams without number."""
    server = Server(max_concurrent_streams=100, message_timeout_seconds=20)
    try:
        before = psutil.Process().memory_info().rss
        with server.peer((MAX_STREAMS, 0)) as peer:
            peer.socket.settimeout(2)
            with suppress(OSError):
                for start in range(1, 40_000, 400):
                    peer.socket.sendall(b"".join(opening(stream) for stream in range(start, start + 400, 2)))
            assert server.serves()
            assert server.transport.inflight <= 1100
            assert psutil.Process().memory_info().rss - before < MOST_GROWTH
        assert server.settles()
    finally:
        server.close()
