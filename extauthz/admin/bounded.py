"""What both admin listeners share: bounds in connections, bytes and seconds, on threads that decide nothing."""

import logging
import socket
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from io import BufferedIOBase

log = logging.getLogger("extauthz.admin")

_MAX_SECONDS = 10.0  # for a whole exchange: Prometheus' default scrape timeout


class BoundedServer(ThreadingHTTPServer):
    """Answers each connection on a thread of its own, and no more than so many at a time."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False
    max_connections = 16

    def __init__(self, where: object, exchange: type) -> None:
        self._free = threading.BoundedSemaphore(self.max_connections)
        self._open: dict[socket.socket, float] = {}
        super().__init__(where, exchange)  # type: ignore[arg-type]  # a path, for a Unix socket

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Begin an exchange, or hang up when there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """The end of an exchange."""
        if self._open.pop(request, None) is not None:
            self._free.release()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called twice a second by `serve_forever`: end what takes too long."""
        oldest = time.monotonic() - _MAX_SECONDS
        for request, since in list(self._open.items()):
            if since < oldest:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

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
