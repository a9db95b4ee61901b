"""An authorization server's introspection endpoint on loopback, whose every answer a test chooses."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

Respond = Callable[[BaseHTTPRequestHandler], None]


def body(
    content: bytes | Mapping[str, Any],
    status: int = 200,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Respond:
    """One answer, as bytes or as the JSON of a mapping."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("content-type", media_type)
        request.send_header("content-length", str(len(raw)))
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(raw)

    return respond


def slow(seconds: float, then: Respond) -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        then(request)

    return respond


def trickling(request: BaseHTTPRequestHandler) -> None:
    """A header line now and then, each in time, for ever."""
    request.send_response(200)
    request.flush_headers()
    for number in range(200):
        request.wfile.write(f"x-{number}: y\r\n".encode())
        time.sleep(0.05)


class Question:
    """What the server was asked."""

    def __init__(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", "0"))
        self.path = request.path
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.form = {name: values[0] for name, values in parse_qs(request.rfile.read(length).decode()).items()}


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # many tests ask from many threads at once


class AuthorizationServer:
    """Answers `respond` to every POST; `tokens` makes it answer by token, inactive for unknown ones."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.respond: Respond | None = None
        self.tokens: dict[str, Mapping[str, Any]] = {}
        self.asked: list[Question] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        owner = self

        class Own(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # the small answer must not wait for an ACK

            def setup(self) -> None:
                owner.connections += 1
                owner._open.append(self.request)
                super().setup()

            def do_POST(self) -> None:
                question = Question(self)
                owner.asked.append(question)
                found = owner.tokens.get(question.form.get("token", ""), {"active": False})
                try:
                    (owner.respond or body(found))(self)
                except OSError:
                    self.close_connection = True  # the client left, as it should

            def log_message(self, *_: Any) -> None:
                pass

        self.server = _Server(("127.0.0.1", port), Own)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_port
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self.endpoint = f"{self.url}/introspect"
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for connection in self._open:  # as the kernel does for a process that died
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
