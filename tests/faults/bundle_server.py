"""A server of bundles on the loopback: HTTPS by a certificate of its own authority, ETags, long polls, and bad days."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from typing import Any, ClassVar

import trustme

Respond = Callable[[BaseHTTPRequestHandler], None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the small answer must not wait for an ACK
    owner: ClassVar["BundleServer"]

    def setup(self) -> None:
        super().setup()
        self.owner.open.append(self.connection)

    def do_GET(self) -> None:
        self.owner.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        respond = self.owner.respond
        try:
            if respond is not None:
                respond(self)
            else:
                self.owner.answer(self)
        except OSError:
            self.close_connection = True  # the client had enough

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def handle_error(self, *_: Any) -> None:
        """A client that does not like our certificate is no news."""


class BundleServer:
    """Holds one archive; `publish` wakes whoever waits for another."""

    def __init__(self, directory: Path, authority: trustme.CA | None = None, *, with_tls: bool = True) -> None:
        self.authority = authority or trustme.CA()
        self.ca_file = directory / "bundle-ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.archive, self.tag = b"", ""
        self.respond: Respond | None = None
        self.holds = True  # whether it honours `Prefer: wait`
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.wanted_token = ""
        self.client_ca = ""  # PEM file: only clients with a certificate of that authority are heard
        self.open: list[socket.socket] = []  # connections, some of them closed by now
        self._published = Condition()
        self._number = 0
        self._tls = with_tls
        self._port = 0
        self.up()

    def up(self) -> None:
        handler = type("Own", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_port
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("127.0.0.1").configure_cert(context)
            if self.client_ca:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.client_ca)
            # The handshake happens in the thread of the connection.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self.open:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.open.clear()
        with self._published:
            self._published.notify_all()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/bundles/small.tar.gz"

    def publish(self, archive: bytes) -> None:
        with self._published:
            self._number += 1
            self.archive, self.tag = archive, f'"v{self._number}"'
            self._published.notify_all()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """As a good server of bundles does."""
        if self.wanted_token and handler.headers.get("authorization") != f"Bearer {self.wanted_token}":
            send(handler, 401)
            return
        known, preference = handler.headers.get("if-none-match"), handler.headers.get("prefer", "")
        extra = {}
        if self.holds and preference.startswith("wait=") and known == self.tag:
            extra["preference-applied"] = preference
            end = time.monotonic() + float(preference.removeprefix("wait="))
            with self._published:
                self._published.wait_for(lambda: self.tag != known, timeout=end - time.monotonic())
            if self.respond is not None:  # the bad day began meanwhile
                self.respond(handler)
                return
        if known == self.tag:
            send(handler, 304, etag=self.tag, **extra)
        elif not self.tag:
            send(handler, 404)
        else:
            send(handler, 200, self.archive, etag=self.tag, **extra)


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if status != 304:
        handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def cut_off(archive: bytes, sent: int) -> Respond:
    """Promises the archive and goes away in the middle of it."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(len(archive)))
        handler.end_headers()
        handler.wfile.write(archive[:sent])
        handler.wfile.flush()
        handler.close_connection = True

    return respond
