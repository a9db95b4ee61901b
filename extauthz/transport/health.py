"""The health service of the stock transport.

Rule 1: a slow or hostile watcher must not hold up a drain or a Check: watchers have threads of their own, few.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from extauthz.transport.health_states import HEALTH_SERVICE, is_known, service_name, status

_MAX_WATCHERS = 8  # Envoy and Kubernetes poll `Check`; `Watch` is for gRPC clients that balance by themselves
_LOOK_SECONDS = 5.0  # how soon the thread of a vanished watcher is free again, at the latest


class Health:
    """The one health state of the server, and who watches it."""

    def __init__(self) -> None:
        self._serving = False
        self._closed = False
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(_MAX_WATCHERS, thread_name_prefix="health")

    def set(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """Tell everybody who asks or watches."""
        with self._changed:
            self._serving = serving
            self._changed.notify_all()

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._pool.shutdown(wait=False)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a grpc.Server needs to offer the service."""

        def watch(service: str, context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._watch(service, context)

        # grpc's own switch for a handler that must not occupy the threads of the others
        watch.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        return grpc.method_handlers_generic_handler(
            HEALTH_SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, request_deserializer=service_name),
                "Watch": grpc.unary_stream_rpc_method_handler(watch, request_deserializer=service_name),
            },
        )

    def _check(self, service: str, context: grpc.ServicerContext) -> bytes:
        if not is_known(service):
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return status(service, self._serving)

    def _watch(self, service: str, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self._wake)
        told = None
        while True:
            with self._changed:
                while (now := status(service, self._serving)) == told and not self._closed and context.is_active():
                    self._changed.wait(_LOOK_SECONDS)
                if self._closed or not context.is_active():
                    return
            told = now
            yield now

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
