"""Network streams that a stop cuts off, however long the other side was allowed to take: a long poll lasts a minute."""

import ssl
import time
from threading import Event
from typing import Any, Final

import httpcore

from extauthz.sources.deadlines import DeadlineBackend

_SLICE_SECONDS: Final = 0.25  # a thread that waits for a byte looks so often whether it shall stop


class PatientBackend(DeadlineBackend):
    """Streams that end by the moment of `until`, and soon after `stopping` is set."""

    def __init__(self, stopping: Event) -> None:
        super().__init__()
        self._stopping = stopping

    def connect_tcp(self, *given: Any, **named: Any) -> httpcore.NetworkStream:  # noqa: ANN401 - as inherited
        """Connect by the moment of `until`."""
        return _PatientStream(super().connect_tcp(*given, **named), self._stopping)


class _PatientStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, stopping: Event) -> None:
        self._stream, self._stopping = stream, stopping

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        end = time.monotonic() + (timeout if timeout is not None else 0.0)
        while True:
            try:
                return self._stream.read(max_bytes, _SLICE_SECONDS)
            except httpcore.ReadTimeout:
                if self._stopping.is_set() or time.monotonic() >= end:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _PatientStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._stopping)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - inherited
        return self._stream.get_extra_info(info)
