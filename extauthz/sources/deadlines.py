"""Network streams whose every read and write ends by one moment, however slowly the other side trickles.

httpcore's timeouts are for each read: a server that sends a byte now and then would hold its caller for as long as it
likes. Here the calling thread says until when it may be held.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import httpcore

_calling = threading.local()


@contextmanager
def until(moment: float) -> Iterator[None]:
    """In this thread streams end at `moment`, in seconds of time.monotonic."""
    _calling.moment = moment
    try:
        yield
    finally:
        del _calling.moment


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections whose streams keep to `until`, and can cut them all."""

    def __init__(self) -> None:
        self._plain = httpcore.SyncBackend()
        self._open: WeakSet[socket.socket] = WeakSet()
        self._opening = threading.Lock()
        self._cut = False

    def cut(self) -> None:
        """Whoever reads or writes gets an error now, whoever connects afterwards at once. A close wakes nobody."""
        with self._opening:
            self._cut = True
            for each in self._open:
                with suppress(OSError):  # it has ended already
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # not as TLS does, which another thread may be in

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect in what is left; the system's name resolution has its own timeout."""
        left = _left(timeout, httpcore.ConnectTimeout)
        stream = self._plain.connect_tcp(host, port, left, local_address, socket_options)
        self._keep(stream)
        return _Stream(stream, self._keep)

    def _keep(self, stream: httpcore.NetworkStream) -> None:
        with self._opening:
            if not self._cut:
                self._open.add(stream.get_extra_info("socket"))
                return
        stream.close()
        raise httpcore.ConnectError


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, keep: Callable[[httpcore.NetworkStream], None]) -> None:
        self._stream, self._keep = stream, keep

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        wrapped = self._stream.start_tls(ssl_context, server_hostname, left)  # a socket of its own
        self._keep(wrapped)
        return _Stream(wrapped, self._keep)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - inherited
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    moment: float | None = getattr(_calling, "moment", None)
    if moment is None:
        return timeout
    left = moment - time.monotonic()
    if left <= 0:
        raise error
    return left if timeout is None else min(left, timeout)
