"""What both admin listeners share: bounds in connections, bytes and seconds, on threads that decide nothing.

Rule: who asks at once is answered, whoever else holds connections: a probe without an answer restarts the server.
"""

import logging
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from http.server import ThreadingHTTPServer
from io import BufferedIOBase

from msgspec import Struct

log = logging.getLogger("extauthz.admin")

_HEAD_SECONDS = 1.0  # until the whole head is there, the default timeout of a kubelet's probe; and see `_make_room`


class _Connection(Struct):
    since: float  # monotonic
    address: str  # "" on a Unix socket
    has_head: bool = False


class BoundedServer(ThreadingHTTPServer):
    """Answers each connection on a thread of its own, and no more than so many at a time."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False
    max_connections = 16
    max_seconds = 10.0  # for a whole exchange: Prometheus' default scrape timeout

    def __init__(self, where: object, exchange: type) -> None:
        self._open: dict[socket.socket, _Connection] = {}  # grows on the thread that accepts, and there alone
        super().__init__(where, exchange)  # type: ignore[arg-type]  # a path, for a Unix socket

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Begin an exchange; when there are too many, end a slow one, and when none is slow, hang up."""
        now = time.monotonic()
        if len(self._open) >= self.max_connections and not self._make_room(now):
            self.shutdown_request(request)
            return
        self._open[request] = _Connection(now, client_address[0] if isinstance(client_address, tuple) else "")
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """The end of an exchange."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def shutdown(self) -> None:
        """Take no more connections, at once: the end of the listener wakes the thread that waits at it."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def head_is_read(self, request: socket.socket) -> None:
        """Called by an exchange: what is asked is known, so it is no longer up to the client."""
        connection = self._open.get(request)
        if connection is not None:
            connection.has_head = True

    def service_actions(self) -> None:
        """Called twice a second by `serve_forever`: end what takes too long."""
        now = time.monotonic()
        for request, connection in list(self._open.items()):
            if now - connection.since > (self.max_seconds if connection.has_head else _HEAD_SECONDS):
                self._end(request)

    def _make_room(self, now: float) -> bool:
        """End one that has not said yet what it wants, else one that is long under way.

        The client that holds the most gives way first, and of its connections the oldest.
        """
        found = list(self._open.items())
        held = Counter(connection.address for _, connection in found)
        slow = {
            request: (not connection.has_head, held[connection.address], -connection.since)
            for request, connection in found
            if not connection.has_head or now - connection.since > _HEAD_SECONDS
        }
        if not slow:
            return False
        self._end(max(slow, key=slow.__getitem__))
        return True

    def _end(self, request: socket.socket) -> None:
        """Its thread finds the connection closed, and goes."""
        self._open.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """A client that went away is no news; a page that fails is."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("an admin page failed: %r", error)


class BoundedReader(BufferedIOBase):
    """Fails after so many bytes: what was cut off must not be taken for a whole request."""

    def __init__(self, stream: BufferedIOBase, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def readline(self, size: int | None = -1, /) -> bytes:
        """One line, or less of it."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        return self._count(self._stream.readline(wanted))

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, or what came before the other side ended."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        return self._count(self._stream.read(wanted))

    def close(self) -> None:
        """Close what is behind."""
        self._stream.close()

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left <= 0:
            message = "the request is too large"
            raise OSError(message)
        return data
