"""grpc.health.v1 on the thread of the loop, so that it says whether the loop still turns.

Rule 1: a watcher that does not read holds up nobody: the newest state is sent when the message before has left.
"""

from collections.abc import Callable
from typing import Final

from extauthz.transport.health_states import HEALTH_CHECK, HEALTH_WATCH, is_known, service_name, status
from extauthz.transport.http2.call import Call
from extauthz.transport.http2.status import INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, Status

METHODS: Final = (HEALTH_CHECK, HEALTH_WATCH)
_MAX_WATCHERS = 64  # Envoy and Kubernetes poll `Check`; `Watch` is for gRPC clients that balance by themselves
_UNREADABLE: Final = Status(INVALID_ARGUMENT, "not a HealthCheckRequest")
_UNKNOWN: Final = Status(NOT_FOUND, "unknown service")
_TOO_MANY: Final = Status(UNAVAILABLE, "no more watchers")


class LoopHealth:
    """The one health state of the server, and who watches it. Any thread may set it; the rest is the loop's."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        """`post` has something done in the loop's thread."""
        self._post = post
        self._serving = False
        self._closed = False
        self._watchers: dict[Call, tuple[str, bytes]] = {}  # the service, and what was told last

    def set(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """Tell everybody who asks or watches."""
        self._serving = serving
        self._post(self.tell)

    def answer(self, call: Call) -> None:
        """Answer a call to one of METHODS whose message has come."""
        try:
            service = service_name(call.raw or b"")
        except Exception:  # noqa: BLE001 - whatever a decoder makes of hostile bytes
            call.fail(_UNREADABLE)
            return
        if call.path == HEALTH_WATCH:
            self._begin(call, service)
        elif is_known(service):
            call.reply(status(service, self._serving))
        else:
            call.fail(_UNKNOWN)

    def tell(self) -> None:
        """Tell watchers what they do not know; those that still have to read come the next time."""
        for call, (service, told) in list(self._watchers.items()):
            now = status(service, self._serving)
            if call.gone:
                del self._watchers[call]
            elif now != told and not call.pending:
                self._watchers[call] = service, now
                call.send(now)

    def close(self) -> None:
        """End all streams, each after what it has still to be told."""
        self.tell()
        self._closed = True
        for call in self._watchers:
            call.end_stream()
        self._watchers.clear()

    def _begin(self, call: Call, service: str) -> None:
        if len(self._watchers) >= _MAX_WATCHERS:
            self.tell()  # which forgets those that have gone
        if self._closed or len(self._watchers) >= _MAX_WATCHERS:
            call.fail(_TOO_MANY)
            return
        now = status(service, self._serving)
        self._watchers[call] = service, now
        call.begin_stream(now)
