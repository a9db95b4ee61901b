"""The threads that decide, the short queue before them, and the thread that says no when both are full.

Rule 1: no more than `threads` calls work at once; one that waits for the outside gives its place to another.
Rule 2: who waits costs nobody a place: neither among those at work nor in the queue.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_here = threading.local()


def is_overflow() -> bool:
    """Whether the calling thread is the one for what found no slot."""
    return getattr(_here, "overflow", False)


class _Job:
    """One call and its future."""

    __slots__ = ("call", "future")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.future: Future[Any] = Future()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except BaseException as error:  # noqa: BLE001 - a future passes on whatever it was
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Slots(ThreadPoolExecutor):
    """Runs up to `threads` calls, queues up to `limit - threads`, and hands the rest to the overflow thread.

    Up to `waiting` more may have stepped aside. grpc's own bound (`maximum_concurrent_rpcs`) ends a call with
    RESOURCE_EXHAUSTED, which Envoy may let through; a call in the overflow thread can still give an explicit answer.
    """

    def __init__(self, threads: int, limit: int, waiting: int = 0) -> None:
        super().__init__(threads + waiting, thread_name_prefix="check")
        self._limit, self._most_waiting = limit, waiting
        self._lock = threading.Lock()
        self._free = threads  # how many more may work
        self._queue: deque[_Job] = deque()
        self._returning: deque[threading.Event] = deque()  # those who have waited go first
        self._overflow = ThreadPoolExecutor(1, thread_name_prefix="overflow", initializer=_mark_overflow)
        self.taken = 0  # at work, queued or aside
        self.waiting = 0  # aside

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` in a slot, or in the overflow thread when all are taken."""
        job = _Job(partial(fn, *args, **kwargs))
        with self._lock:
            if self.taken - self.waiting >= self._limit:
                return self._overflow.submit(fn, *args, **kwargs)
            self.taken += 1
            if not self._free:
                self._queue.append(job)
                return job.future
            self._free -= 1
        super().submit(self._work, job)
        return job.future

    @contextmanager
    def aside(self) -> Iterator[bool]:
        """Give the calling thread's place to another while the body waits. False when as many wait as may."""
        with self._lock:
            may_wait = self.waiting < self._most_waiting
            if may_wait:
                self.waiting += 1
                job = self._pass_on()
        if not may_wait:
            yield False
            return
        if job is not None:
            with suppress(RuntimeError):  # the pool was shut down meanwhile, so nobody waits for this call
                super().submit(self._work, job)
        try:
            yield True
        finally:
            self._come_back()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - inherited
        """Stop both; queued calls are still run unless cancelled."""
        if cancel_futures:
            with self._lock:
                for job in self._queue:
                    job.future.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._overflow.shutdown(wait, cancel_futures=cancel_futures)

    def _work(self, job: _Job | None) -> None:
        while job is not None:
            job.run()
            with self._lock:
                self.taken -= 1
                job = self._pass_on()

    def _pass_on(self) -> _Job | None:
        """Give a place away, under the lock: the job that has it now, None when it needs no thread."""
        if self._returning:
            self._returning.popleft().set()
        elif self._queue:
            return self._queue.popleft()
        else:
            self._free += 1
        return None

    def _come_back(self) -> None:
        """Take a place again; until then the caller still counts as waiting, so that threads suffice for all."""
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                self.waiting -= 1
                return
            self._returning.append(turn)
        turn.wait()
        with self._lock:
            self.waiting -= 1


def _mark_overflow() -> None:
    _here.overflow = True
