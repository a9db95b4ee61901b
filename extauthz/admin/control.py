"""The control socket: HTTP over a Unix socket, for `extauthz ctl` on the same machine.

Rule 1: nothing that changes a running server is reachable over TCP.
Rule 2: only the server's own user and root are heard; the kernel says who asks, and the journal keeps it.
"""

import os
import re
import socket
import stat
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from extauthz.admin.bounded import BoundedReader, BoundedServer
from extauthz.admin.bundle_orders import Pin, Promote, Rollback, Unpin
from extauthz.admin.desk import Desk
from extauthz.admin.orders import Draft, Freeze, OpenGlass, OrderError, Restore, Revoke

_FRESH = ".new"
MAX_PATH = 107 - len(_FRESH)  # sun_path, unix(7)

_MAX_HEADER_BYTES = 8 << 10
_MAX_BODY_BYTES = 8 << 10  # the longest order is under 4 KiB
_MAX_GLASS_BYTES = 128 << 10  # but for break glass of 64 subjects and 64 routes
_SHOWN = 1000  # entries of a page when no limit is asked for: about 300 KB
_ENTRY = re.compile(r"/(revocations|emergencies)/([A-Za-z0-9.-]{1,64})")
_PLACES = (
    "there are GET /revocations, /emergencies and /bundle/revisions, POST /revocations, /freezes, "
    "/break-glasses/drafts, /break-glasses, /bundle/rollback, /bundle/pin, /bundle/promote and /bundle/unpin, "
    "DELETE /revocations/<id> and /emergencies/<id>"
)
ORDER_SECONDS = 60.0  # to compile 10,000 policies anew takes 15 on a slow machine, and other workers follow then
_LENGTH = re.compile(r"[0-9]{1,7}")
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)

Order = TypeVar("Order", Revoke, Restore, Freeze, Draft, OpenGlass, Rollback, Pin, Promote, Unpin)


class ControlServer:
    """The control socket and its threads."""

    def __init__(self, path: str, desk: Desk | None, hand_over: Callable[[socket.socket], None] | None = None) -> None:
        """Nothing is opened yet; without a path nothing ever is. `hand_over` takes connections instead of the desk."""
        self._path = Path(path) if path else None
        self._desk, self._hand_over = desk, hand_over
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._inode = 0

    def bind(self) -> None:
        """Take the path, without serving yet. Raises OSError that names it and why."""
        if self._path is None:
            return
        try:
            _require_free(self._path)
            # Under another name until only its owner may connect; umask would hit the files of other threads.
            fresh = self._path.with_name(self._path.name + _FRESH)
            fresh.unlink(missing_ok=True)
            self._server = _Server(str(fresh), self._desk, self._hand_over)
            fresh.chmod(0o600)
            fresh.rename(self._path)
            self._inode = self._path.lstat().st_ino
        except OSError as error:
            if self._server is not None:
                self._server.server_close()
                self._server = None
            why = (error.strerror or str(error)).lower()
            message = f"cannot listen on `{self._path}` for control: {why}"
            raise OSError(message) from error

    def start(self) -> None:
        """Begin to answer."""
        if self._server is not None:
            self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Close and remove the socket, unless another process has put its own there."""
        if self._server is None or self._path is None:
            return
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(1.0)
        self._server.server_close()
        with suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()


class _Server(BoundedServer):
    address_family = socket.AF_UNIX
    max_connections = 8
    max_seconds = ORDER_SECONDS
    request_queue_size = 32  # a Unix socket whose queue is full refuses at once

    def __init__(self, path: str, desk: Desk | None, hand_over: Callable[[socket.socket], None] | None = None) -> None:
        self.desk = desk
        self._hand_over = hand_over
        super().__init__(path, ControlExchange)

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        if self._hand_over is None:
            super().process_request(request, client_address)
            return
        self._hand_over(request)
        request.close()  # and no more: another process may go on with it


class Ordered(Protocol):
    """What an exchange needs of the server it belongs to."""

    desk: Desk

    def head_is_read(self, request: socket.socket) -> None:
        """Called when request line and headers are there."""


class ControlExchange(BaseHTTPRequestHandler):
    """One order and its answer."""

    server: Ordered  # type: ignore[assignment]  # what the exchange knows of its server
    timeout = 5.0  # for one read or write

    def setup(self) -> None:
        """Ask the kernel who it is, and bound what may be sent."""
        super().setup()
        self.uid = peer_uid(self.connection)
        self.rfile = BoundedReader(self.rfile, _MAX_HEADER_BYTES + _MAX_GLASS_BYTES)

    def parse_request(self) -> bool:
        """Refuse other users before anything is done."""
        if not super().parse_request():
            return False
        self.server.head_is_read(self.connection)
        if self.uid not in {0, os.geteuid()}:
            self._reply(HTTPStatus.FORBIDDEN, _error("only the server's own user and root may use this socket"))
            return False
        return True

    def do_GET(self) -> None:
        """List."""
        path, _, query = self.path.partition("?")
        desk = self.server.desk
        lists: dict[str, Callable[[int], Struct]] = {
            "/revocations": desk.emergencies.revoked,
            "/emergencies": desk.emergencies.emergencies,
            "/bundle/revisions": desk.bundles.revisions,
        }
        if path not in lists:
            self._unknown()
            return
        limit = parse_qs(query).get("limit", [str(_SHOWN)])[-1]
        if not _LENGTH.fullmatch(limit):
            self._reply(HTTPStatus.BAD_REQUEST, _error("limit: must be a number"))
            return
        self._carry_out(HTTPStatus.OK, lambda: lists[path](int(limit)))

    def do_POST(self) -> None:
        """Revoke, freeze, open; go back, pin, promote, unpin."""
        orders, bundles, done = self.server.desk.emergencies, self.server.desk.bundles, HTTPStatus.CREATED
        match self.path:
            case "/revocations":
                self._carry_out(done, lambda: orders.revoke(self._order(Revoke), self.uid))
            case "/freezes":
                self._carry_out(done, lambda: orders.freeze(self._order(Freeze), self.uid))
            case "/break-glasses/drafts":
                self._carry_out(HTTPStatus.OK, lambda: orders.draft(self._order(Draft), self.uid))
            case "/break-glasses":
                self._carry_out(done, lambda: orders.open_glass(self._order(OpenGlass), self.uid))
            case "/bundle/rollback":
                self._carry_out(HTTPStatus.OK, lambda: bundles.rollback(self._order(Rollback), self.uid))
            case "/bundle/pin":
                self._carry_out(HTTPStatus.OK, lambda: bundles.pin(self._order(Pin), self.uid))
            case "/bundle/promote":
                self._carry_out(HTTPStatus.OK, lambda: bundles.promote(self._order(Promote), self.uid))
            case "/bundle/unpin":
                self._carry_out(HTTPStatus.OK, lambda: bundles.unpin(self._order(Unpin), self.uid))
            case _:
                self._unknown()

    def do_DELETE(self) -> None:
        """Restore."""
        match = _ENTRY.fullmatch(self.path)
        if match is None:
            self._unknown()
            return
        orders = self.server.desk.emergencies
        end = orders.restore if match[1] == "revocations" else orders.end
        self._carry_out(HTTPStatus.OK, lambda: end(match[2], self._order(Restore), self.uid))

    def _carry_out(self, status: HTTPStatus, order: Callable[[], Struct]) -> None:
        try:
            done = order()
        except OrderError as error:
            self._reply(HTTPStatus(error.status), _error(str(error)))
            return
        self._reply(status, msgspec.json.encode(done))

    def version_string(self) -> str:
        """No versions of libraries."""
        return "extauthz"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
        """What changes is in the journal."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class found wrong."""
        self._reply(HTTPStatus(code), _error(HTTPStatus(code).phrase.lower()))

    def _order(self, kind: type[Order]) -> Order:
        """The body; raises OrderError for anything but one JSON document of that kind and a stated length."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") is not None or not _LENGTH.fullmatch(length):
            raise OrderError(HTTPStatus.LENGTH_REQUIRED, "the length of the body must be stated")
        longest = _MAX_GLASS_BYTES if kind in {Draft, OpenGlass} else _MAX_BODY_BYTES
        if int(length) > longest:
            raise OrderError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {longest} bytes")
        if self.headers.get_content_type() != "application/json":
            raise OrderError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise OrderError(HTTPStatus.BAD_REQUEST, "the body is shorter than stated")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise OrderError(HTTPStatus.BAD_REQUEST, str(error).lower()) from error

    def _unknown(self) -> None:
        self._reply(HTTPStatus.NOT_FOUND, _error(_PLACES))

    def _reply(self, status: HTTPStatus, body: bytes) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def peer_uid(connection: socket.socket) -> int:
    """Who is at the other end of a Unix socket, as the kernel knows it (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid


def _error(message: str) -> bytes:
    return msgspec.json.encode({"error": message})


def _require_free(path: Path) -> None:
    """Remove the socket of a process that is gone; one that answers belongs to somebody."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        message = "a file that is no socket is in its place"
        raise OSError(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # the rename replaces it
    message = "another process listens on it"
    raise OSError(message)
