"""TLS of the loop transport in raw handshakes: who gets in, what a handshake that stalls may hold up, and then HTTP/2 as ever."""

import datetime as dt
import os
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import trustme

from extauthz.transport import TlsOptions
from tests.contracts.raw_http2 import (
    CANCEL,
    DATA,
    END_STREAM,
    INITIAL_WINDOW,
    MOST,
    PING,
    PREFACE,
    RST,
    SETTINGS,
    WINDOW,
    Peer,
    Server,
    check,
    frame,
    message,
    opening,
    pattern,
    settings,
    u32,
    until,
)

NAME = "extauthz.example"


class Secure:
    """A server with mTLS, and what its clients need."""

    def __init__(self, directory: Path, **options) -> None:
        self.directory = directory
        self.ca, self.mesh = trustme.CA(), trustme.CA()
        self.mesh.cert_pem.write_to_path(directory / "clients.pem")
        self.issue(self.ca)
        self.envoy = self.mesh.issue_cert("envoy.example")
        self.server = Server(
            tls=TlsOptions(
                certificate=str(directory / "tls.crt"),
                key=str(directory / "tls.key"),
                client_ca=str(directory / "clients.pem"),
            ),
            **options,
        )
        self.stream = 1
        self.good: Peer | None = None

    def issue(self, ca: trustme.CA) -> None:
        leaf = ca.issue_cert(NAME)
        leaf.private_key_pem.write_to_path(self.directory / "tls.key")
        (self.directory / "tls.crt").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))

    def context(self, client: trustme.LeafCert | None = None, alpn: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if client is not None:
            client.configure_cert(context)
        return context

    def peer(self, context: ssl.SSLContext | None = None, *pairs: tuple[int, int], preface: bool = True) -> Peer:
        used = context or self.context(self.envoy)
        return Peer(
            self.server.address, *pairs, preface=preface, wrap=lambda s: used.wrap_socket(s, server_hostname=NAME)
        )

    def refuses(self, context: ssl.SSLContext) -> bool:
        """Whether who comes so is turned away: by TLS 1.3 that is seen with the first bytes that come, or do not."""
        try:
            with self.peer(context) as peer:
                peer.send(check(1, b"stranger"))
                peer.until(lambda: peer.closed or peer.streams[1].done)
                return peer.closed and not peer.streams[1].headers
        except (ssl.SSLError, ConnectionError):
            return True

    def serves(self) -> bool:
        if self.good is None or self.good.closed or self.good.goaways:
            self.good, self.stream = self.peer(), 1
            self.good.give(0, MOST - 65535)
        raw = b"good %d" % self.stream
        answered = self.good.ask(self.stream, raw) == b"answer:" + raw
        self.stream += 2
        return answered

    def settles(self) -> bool:
        with self.peer() as fresh:
            answered = fresh.ask(1, b"fresh") == b"answer:fresh"
        return answered and self.serves() and until(lambda: self.server.transport.inflight == 0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    secure = Secure(tmp_path_factory.mktemp("tls"))
    yield secure
    if secure.good is not None:
        secure.good.close()
    secure.server.close()


@pytest.fixture
def secure(shared: Secure) -> Iterator[Secure]:
    shared.server.asked()
    yield shared
    assert shared.settles()


def expired(secure: Secure) -> ssl.SSLContext:
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    return secure.context(secure.mesh.issue_cert("envoy.example", not_before=now - 9 * day, not_after=now - day))


def old(secure: Secure) -> ssl.SSLContext:
    context = secure.context(secure.envoy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def self_signed(secure: Secure) -> ssl.SSLContext:
    """A certificate by a CA of the same name as the right one."""
    return secure.context(
        trustme.CA(organization_name=secure.mesh.cert_pem.bytes().decode()[:20]).issue_cert("envoy.example")
    )


def before_1_3(secure: Secure, client: trustme.LeafCert | None) -> ssl.SSLContext:
    context = secure.context(client)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


STRANGERS: dict[str, Callable[[Secure], ssl.SSLContext]] = {
    "no certificate": lambda secure: secure.context(),
    "no certificate by TLS 1.2": lambda secure: before_1_3(secure, None),
    "a certificate of another CA": lambda secure: secure.context(trustme.CA().issue_cert("envoy.example")),
    "a certificate of another CA by TLS 1.2": lambda secure: before_1_3(secure, trustme.CA().issue_cert("envoy.example")),
    "a certificate of the server's own CA": lambda secure: secure.context(secure.ca.issue_cert("envoy.example")),
    "a certificate of a CA that looks alike": self_signed,
    "an expired certificate": expired,
    "TLS 1.1": old,
}  # fmt: skip


@pytest.mark.parametrize("who", STRANGERS)
def test_t61_who_may_not_come_in_is_never_answered(secure: Secure, who: str) -> None:
    assert secure.refuses(STRANGERS[who](secure))
    assert secure.server.asked() == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_check_is_answered_by_both_versions_of_tls(secure: Secure, version: ssl.TLSVersion) -> None:
    context = secure.context(secure.envoy)
    context.minimum_version = context.maximum_version = version
    with secure.peer(context) as peer:
        assert peer.ask(1, b"x") == b"answer:x"
        assert peer.socket.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("offered", [(), ("http/1.1",), ("http/1.1", "h2"), ("h3", "h2c")], ids=str)
def test_3_2_a_client_that_does_not_agree_on_h2_is_served_h2_or_nothing(
    secure: Secure, offered: tuple[str, ...]
) -> None:
    try:
        with secure.peer(secure.context(secure.envoy, offered)) as peer:
            assert peer.socket.selected_alpn_protocol() in {None, "h2"}
            peer.send(check(1, b"x"))
            peer.until(lambda: peer.closed or peer.streams[1].done)
            assert peer.streams[1].answer == b"answer:x" or (peer.closed and "h2" not in offered)
    except (ssl.SSLError, ConnectionError):
        assert "h2" not in offered


@pytest.mark.parametrize(
    "sent",
    [
        PREFACE + settings() + check(),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + bytes(40),
        b"\x16\x03\x01\xff\xff" + os.urandom(64) * 1100,
        bytes(1 << 16),
        b"\x80\x2e\x01\x03\x01" + bytes(60),
    ],
    ids=["HTTP/2", "HTTP/1.1", "a handshake of noise", "zeros", "SSL 2"],
)
def test_t61_what_is_no_tls_ends_the_connection(secure: Secure, sent: bytes) -> None:
    with secure.server.peer(preface=False) as peer:
        peer.socket.settimeout(5)
        with suppress(OSError):
            peer.socket.sendall(sent)
            while came := peer.socket.recv(1 << 16):
                assert b"answer" not in came
    assert secure.server.asked() == []


def hello(secure: Secure) -> bytes:
    """The first bytes of a client in TLS."""
    out = ssl.MemoryBIO()
    handshake = secure.context(secure.envoy).wrap_bio(ssl.MemoryBIO(), out, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return out.read()


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 1.0])
def test_t64_handshakes_that_stall_hold_up_nobody_and_leave_nothing(secure: Secure, part: float) -> None:
    first = hello(secure)
    process = psutil.Process()
    assert secure.serves()
    before = process.num_fds()
    with ExitStack() as stack:
        for _ in range(60):
            peer = stack.enter_context(secure.server.peer(preface=False))
            peer.socket.sendall(first[: int(len(first) * part)])
        began = time.monotonic()
        for _ in range(5):
            assert secure.serves()
        with secure.peer() as fresh:
            assert fresh.ask(1, b"fresh") == b"answer:fresh"
        assert time.monotonic() - began < 5
    assert until(lambda: process.num_fds() <= before)


def test_t64_more_handshakes_that_stall_than_the_server_has_at_once_keep_out_nobody(secure: Secure) -> None:
    first = hello(secure)
    with ExitStack() as stack:
        for number in range(700):
            peer = stack.enter_context(secure.server.peer(preface=False))
            peer.socket.sendall(first[: len(first) // 2])
            if number % 100 == 99:
                with secure.peer() as fresh:
                    assert fresh.ask(1, b"fresh") == b"answer:fresh"


def test_t61_a_client_ca_may_be_one_that_another_has_issued(tmp_path: Path) -> None:
    """Who trusts one CA of many need not trust the root above them."""
    root = trustme.CA()
    own, sibling = root.create_child_ca(), root.create_child_ca()
    secure = Secure(tmp_path)
    own.cert_pem.write_to_path(tmp_path / "clients.pem")
    try:
        with secure.peer(secure.context(own.issue_cert("envoy.example"))) as peer:
            assert peer.ask(1, b"x") == b"answer:x"
        assert secure.refuses(secure.context(sibling.issue_cert("envoy.example")))
        assert secure.refuses(secure.context(root.issue_cert("envoy.example")))
    finally:
        secure.server.close()


def test_a_handshake_byte_by_byte_comes_to_its_end(secure: Secure) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = secure.context(secure.envoy).wrap_bio(incoming, outgoing, server_hostname=NAME)
    host, _, port = secure.server.address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                drip(raw, outgoing.read())
                incoming.write(raw.recv(1 << 16))
        tls.write(PREFACE + settings() + check(1, b"drip"))
        drip(raw, outgoing.read())
        came = b""
        while b"answer:drip" not in came:
            incoming.write(raw.recv(1 << 16))
            with suppress(ssl.SSLWantReadError):
                while record := tls.read(1 << 16):
                    came += record


def drip(raw: socket.socket, sent: bytes) -> None:
    for octet in sent:
        raw.sendall(bytes((octet,)))


def test_certificates_that_are_replaced_serve_who_comes_next_and_cut_off_nobody(tmp_path: Path) -> None:
    secure = Secure(tmp_path)
    try:
        with secure.peer() as before:
            assert before.ask(1, b"x") == b"answer:x"
            first, secure.ca = secure.ca, trustme.CA()
            secure.issue(secure.ca)
            with secure.peer() as after:
                assert after.ask(1, b"x") == b"answer:x"
            assert before.ask(3, b"x") == b"answer:x"
        other = trustme.CA()
        other.cert_pem.write_to_path(tmp_path / "clients.pem")
        assert secure.refuses(secure.context(secure.envoy))
        with secure.peer(secure.context(other.issue_cert("envoy.example"))) as renewed:
            assert renewed.ask(1, b"x") == b"answer:x"
        secure.ca = first
        with pytest.raises(ssl.SSLError):
            secure.peer()
    finally:
        secure.server.close()


def test_a_client_that_ends_tls_or_tcp_in_the_middle_leaves_nothing(secure: Secure) -> None:
    process = psutil.Process()
    assert secure.serves()
    before = process.num_fds()
    secure.server.echo.gate.clear()
    for number in range(12):
        peer = secure.peer()
        peer.send(check(1, b"slow"), opening(3), frame(DATA, 0, 3, message(b"half")[:6]))
        if number % 3 == 0:
            with suppress(OSError, ssl.SSLError):
                peer.socket.settimeout(0.01)
                peer.socket.unwrap()
        elif number % 3 == 1:
            peer.socket.shutdown(socket.SHUT_RDWR)
        peer.close()
    secure.server.echo.gate.set()
    assert until(lambda: process.num_fds() <= before)


# --- HTTP/2 within TLS


@pytest.mark.parametrize(
    "sent",
    [frame(PING, 0, 0, bytes(7)), frame(DATA, 0, 0, b"x"), frame(WINDOW, 0, 0, u32(0)), frame(SETTINGS, 0, 1)],
    ids=["PING of 7 bytes", "DATA on stream 0", "WINDOW_UPDATE of 0", "SETTINGS on a stream"],
)
def test_an_error_of_the_connection_ends_it_within_tls_too(secure: Secure, sent: bytes) -> None:
    with secure.peer() as peer:
        peer.send(sent)
        assert peer.until(lambda: peer.closed)


def test_large_answers_and_messages_pass_through_tls_whole(secure: Secure) -> None:
    with secure.peer(None, (INITIAL_WINDOW, 1 << 22)) as peer:
        peer.give(0, 1 << 22)
        peer.send(check(1, b"size:2000000:a"))
        assert peer.ending(1) == "answer"
        assert peer.streams[1].answer == pattern(2_000_000, b"a")
        peer.send(opening(3))
        peer.pour(3, message(b"m" * (4 << 20)))
        peer.send(frame(DATA, END_STREAM, 3))
        assert peer.ending(3) == "answer"


def test_an_answer_comes_through_small_windows_within_tls(secure: Secure) -> None:
    with secure.peer(None, (INITIAL_WINDOW, 1)) as peer:
        peer.send(check(1, b"x"))
        while not peer.streams[1].done and not peer.closed:
            size = len(peer.streams[1].data)
            peer.give(1, 1)
            assert peer.until(lambda: len(peer.streams[1].data) > size or peer.streams[1].done)  # noqa: B023
        assert peer.streams[1].answer == b"answer:x"


def test_many_checks_in_one_record_of_tls_are_all_answered(secure: Secure) -> None:
    """What the socket no longer shows, because TLS has read it already, is not forgotten."""
    with secure.peer() as peer:
        streams = range(1, 241, 2)
        peer.send(b"".join(check(stream, b"%d" % stream) for stream in streams))
        assert peer.until(lambda: all(peer.streams[stream].done for stream in streams))
        assert all(peer.streams[stream].answer == b"answer:%d" % stream for stream in streams)


def test_t64_rapid_reset_and_never_reading_within_tls_hold_up_nobody(secure: Secure) -> None:
    with secure.peer(None, (INITIAL_WINDOW, (1 << 31) - 1)) as peer:
        peer.socket.settimeout(0.5)
        with suppress(OSError):
            for start in range(1, 4000, 200):
                streams = range(start, start + 200, 2)
                peer.socket.sendall(b"".join(check(s, b"x") + frame(RST, 0, s, u32(CANCEL)) for s in streams))
                if start % 1000 == 1:
                    assert until(secure.serves)
    with secure.peer(None, (INITIAL_WINDOW, (1 << 31) - 1)) as peer:
        peer.give(0, (1 << 31) - 65536)
        peer.send(*(check(stream, b"size:1000000:a") for stream in range(1, 41, 2)))
        for _ in range(5):
            assert until(secure.serves)  # for they are asked large answers
    assert until(lambda: secure.server.transport.inflight == 0)
