"""The threads that decide, the short queue before them, and the thread that says no when both are full."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_here = threading.local()


def is_overflow() -> bool:
    """Whether the calling thread is the one for what found no slot."""
    return getattr(_here, "overflow", False)


class Slots(ThreadPoolExecutor):
    """Runs up to `threads` calls, queues up to `limit - threads`, and hands the rest to the overflow thread.

    grpc's own bound (`maximum_concurrent_rpcs`) ends a call with RESOURCE_EXHAUSTED, which Envoy may let through;
    a call in the overflow thread can still give an explicit answer.
    """

    def __init__(self, threads: int, limit: int) -> None:
        super().__init__(threads, thread_name_prefix="check")
        self._limit = limit
        self._lock = threading.Lock()
        self._overflow = ThreadPoolExecutor(1, thread_name_prefix="overflow", initializer=_mark_overflow)
        self.taken = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` in a slot, or in the overflow thread when all are taken."""
        with self._lock:
            if self.taken >= self._limit:
                return self._overflow.submit(fn, *args, **kwargs)
            self.taken += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._leave)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - inherited
        """Stop both; queued calls are still run unless cancelled."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._overflow.shutdown(wait, cancel_futures=cancel_futures)

    def _leave(self, _future: Future[T]) -> None:
        with self._lock:
            self.taken -= 1


def _mark_overflow() -> None:
    _here.overflow = True
