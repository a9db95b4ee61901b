"""One HTTP exchange: which page, and who may ask for it.

Rule: nothing here changes anything: GET and HEAD only.
"""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from socket import socket
from typing import Protocol

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from extauthz.admin.bounded import BoundedReader
from extauthz.admin.console import STYLE_HASH, render
from extauthz.admin.status import Status
from extauthz.model.hosts import canonicalise_host

_MAX_REQUEST_BYTES = 16 << 10  # request line and headers; browsers and scrapers send well under 4 KiB
_JSON = "application/json"


class Views(Struct, frozen=True):
    """Where the answers come from. All are called on admin threads."""

    registry: CollectorRegistry
    readiness: Callable[[], tuple[str, ...]]  # why the server is not ready; empty when it is
    status: Callable[[], Status]
    workers: Callable[[], tuple[int, int]] | None = None  # of several: how many are ready, and how many there are


class Asked(Protocol):
    """What an exchange needs of the server it belongs to."""

    views: Views
    host_names: frozenset[str]

    def head_is_read(self, request: socket) -> None:
        """Called when request line and headers are there."""


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: Asked  # type: ignore[assignment]  # what the exchange knows of its server
    timeout = 5.0  # for one read or write

    def setup(self) -> None:
        """Bound what may be sent."""
        super().setup()
        self.rfile = BoundedReader(self.rfile, _MAX_REQUEST_BYTES)

    def parse_request(self) -> bool:
        """Refuse other methods and foreign Host names before anything is done."""
        if not super().parse_request():
            return False
        self.server.head_is_read(self.connection)
        if self.command not in {"GET", "HEAD"}:
            self._reply(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
            return False
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or not all(self._is_ours(host) for host in hosts):
            self._reply(HTTPStatus.MISDIRECTED_REQUEST, b"unknown host name: see `admin.hostNames`\n")
            return False
        return True

    def do_GET(self) -> None:
        """Answer one of the five pages."""
        views, path = self.server.views, self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._reply(HTTPStatus.OK, encode(views.registry), content_type)
        elif path == "/livez":
            self._reply(HTTPStatus.OK, b'{"live":true}', _JSON)
        elif path == "/readyz":
            reasons = views.readiness()
            found: dict[str, object] = {"ready": not reasons, "reasons": reasons}
            if views.workers is not None:
                found["workers"] = dict(zip(("ready", "of"), views.workers(), strict=True))
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            self._reply(status, msgspec.json.encode(found), _JSON)
        elif path == "/status":
            self._reply(HTTPStatus.OK, msgspec.json.encode(views.status()), _JSON)
        elif path == "/":
            self._reply(HTTPStatus.OK, render(views.status()), "text/html; charset=utf-8")
        else:
            self._reply(HTTPStatus.NOT_FOUND, b"pages: / /status /metrics /readyz /livez\n")

    do_HEAD = do_GET  # noqa: N815 - http.server looks the method up by this name

    def version_string(self) -> str:
        """No versions of libraries for strangers."""
        return "extauthz"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
        """Scrapes and probes are no news."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class found wrong, without echoing what was sent."""
        self._reply(HTTPStatus(code), f"{HTTPStatus(code).phrase.lower()}\n".encode())

    def _is_ours(self, host: str) -> bool:
        """A rebinding attack needs a DNS name of the attacker's; addresses and our own names are safe."""
        found = canonicalise_host(host)
        return found is not None and (
            _is_ip(found.name) or found.name == "localhost" or found.name in self.server.host_names
        )

    def _reply(
        self,
        status: HTTPStatus,
        body: bytes,
        content_type: str = "text/plain; charset=utf-8",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in (
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", f"default-src 'none'; style-src '{STYLE_HASH}'; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Connection", "close"),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_ip(name: str) -> bool:
    """Whether a canonical host name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
