"""HTTP clients that send exactly what a test says: no normalising, no joining, no default headers."""

import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events

SECONDS = 20.0


@dataclass
class Answer:
    """What the client got. `status` 0: the connection or stream was reset without an answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The only value of that header; a test that expects one fails on two."""
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Every value of that header, in order."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def upstream(self) -> "Seen":
        """What the upstream received; only an allowed request has it."""
        assert self.status == 200, (self.status, self.body)
        return Seen(**self.json)


@dataclass
class Seen:
    """A request as the upstream saw it."""

    method: str
    path: str
    headers: list[list[str]]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} reached the upstream {len(values)} times"
        return values[0] if values else None


def connect(port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connection to Envoy on loopback."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    return tls.wrap_socket(plain, server_hostname="localhost") if tls else plain


def send_h1(
    port: int,
    target: str,
    headers: list[tuple[str, str]] | tuple[tuple[str, str], ...] = (),
    *,
    method: str = "GET",
    host: str = "api.banking.local",
    body: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One HTTP/1.1 request with exactly these lines (latin-1), plus Host and content-length."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    raw = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    return send_bytes(port, raw, method=method, tls=tls)


def send_bytes(port: int, raw: bytes, *, method: str = "GET", tls: ssl.SSLContext | None = None) -> Answer:
    """Any bytes; the first answer that comes back."""
    with connect(port, tls) as sock:
        sock.sendall(raw)
        response = http.client.HTTPResponse(sock, method=method)
        try:
            response.begin()
            return Answer(response.status, response.getheaders(), response.read())
        except (http.client.HTTPException, OSError):
            return Answer(0)


def send_h2(port: int, headers: list[tuple[str, str]], body: bytes = b"", tls: ssl.SSLContext | None = None) -> Answer:
    """One HTTP/2 request with exactly these fields, pseudo-headers included, unchecked by the client."""
    config = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
    )
    h2_connection = h2.connection.H2Connection(config)
    h2_connection.initiate_connection()
    h2_connection.send_headers(1, headers, end_stream=not body)
    if body:
        h2_connection.send_data(1, body, end_stream=True)
    answer = Answer(0)
    with connect(port, tls) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(h2_connection.data_to_send())
        while data := sock.recv(65536):
            for event in h2_connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        fields = [(str(name), str(value)) for name, value in event.headers]
                        answer.status = int(dict(fields)[":status"])
                        answer.headers = fields
                    case h2.events.DataReceived():
                        answer.body += event.data
                    case h2.events.StreamEnded() | h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        return answer
            sock.sendall(h2_connection.data_to_send())
    return answer


def h2_get(path: str, *, method: str = "GET", authority: str = "api.banking.local") -> list[tuple[str, str]]:
    """The pseudo-headers of an ordinary HTTP/2 request."""
    return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
