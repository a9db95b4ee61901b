"""grpc.health.v1 on the thread of the loop, so that it says whether the loop still turns.

Rule 1: a watcher that does not read holds up nobody: the newest state is sent when the message before has left.
"""

import threading
from typing import Final

import grpc

from extauthz.transport.core import Call, Progress
from extauthz.transport.health import HEALTH_CHECK, HEALTH_WATCH, is_known, service_name, status

METHODS: Final = (HEALTH_CHECK, HEALTH_WATCH)
_MAX_WATCHERS = 64  # Envoy and Kubernetes poll `Check`; `Watch` is for gRPC clients that balance by themselves


class _Watcher:
    """What one stream is about, what it was told last, and whether that is still on its way."""

    __slots__ = ("sending", "service", "told")

    def __init__(self, service: str, told: bytes) -> None:
        self.service, self.told, self.sending = service, told, True


class LoopHealth:
    """The one health state of the server, and who watches it. Any thread may set it."""

    def __init__(self) -> None:
        self._serving = False
        self._closed = False
        self._lock = threading.Lock()
        self._watchers: dict[Call, _Watcher] = {}

    def set(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """Tell everybody who asks or watches."""
        with self._lock:
            self._serving = serving
            if self._closed:  # no call may be touched once the core has stopped
                return
            for call, watcher in self._watchers.items():
                self._tell(call, watcher)

    def answer(self, call: Call) -> None:
        """Answer a call to one of METHODS whose message has come."""
        try:
            service = service_name(call.raw or b"")
        except Exception:  # noqa: BLE001 - whatever a decoder makes of hostile bytes
            call.fail(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
            return
        if call.method == HEALTH_WATCH:
            self._begin(call, service)
        elif is_known(service):
            call.reply(status(service, self._serving))
        else:
            call.fail(grpc.StatusCode.NOT_FOUND, "unknown service")

    def progress(self, event: Progress) -> None:
        """Go on with a stream."""
        with self._lock:
            if event.ended:
                self._watchers.pop(event.call, None)
            elif (watcher := self._watchers.get(event.call)) is not None:
                watcher.sending = False
                self._tell(event.call, watcher)
                if self._closed and not watcher.sending:
                    self._end(event.call)

    def close(self) -> None:
        """End all streams, each after what it has still to be told."""
        with self._lock:
            self._closed = True
            for call in [call for call, watcher in self._watchers.items() if not watcher.sending]:
                self._end(call)

    def _begin(self, call: Call, service: str) -> None:
        with self._lock:
            if self._closed or len(self._watchers) >= _MAX_WATCHERS:
                call.fail(grpc.StatusCode.UNAVAILABLE, "no more watchers")
                return
            now = status(service, self._serving)
            self._watchers[call] = _Watcher(service, now)
            call.begin_stream(now)

    def _tell(self, call: Call, watcher: _Watcher) -> None:
        now = status(watcher.service, self._serving)
        if now != watcher.told and not watcher.sending:
            watcher.told, watcher.sending = now, True
            call.send(now)

    def _end(self, call: Call) -> None:
        del self._watchers[call]
        call.end_stream()
