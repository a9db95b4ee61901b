"""The few threads in which Checks of the loop wait for the outside, and the way back to their calls."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class _Job:
    """What is to be done, and whether somebody does it: a thread, or nobody because none could be begun."""

    __slots__ = ("reply", "taken", "work")

    def __init__(self, work: Callable[[], bytes], reply: Callable[[bytes], None]) -> None:
        self.work, self.reply, self.taken = work, reply, False


class Aside:
    """Runs what may wait. Nothing is queued: who finds no free thread must do without waiting."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(max(most, 1), thread_name_prefix="waiting", initializer=self._mark)
        self._here = threading.local()
        self._lock = threading.Lock()
        self._closed = False
        self.count = 0

    def is_here(self) -> bool:
        """Whether the calling thread is one of them."""
        return getattr(self._here, "waits", False)

    def run(self, work: Callable[[], bytes], reply: Callable[[bytes], None]) -> bool:
        """Do it in one of them; False when all are taken."""
        with self._lock:
            if self.count >= self._most:
                return False
            self.count += 1
        job = _Job(work, reply)
        try:
            self._pool.submit(self._run, job)
        except RuntimeError:  # the machine gives no thread; the pool may have kept the job, for one that it has
            return not self._withdraw(job)
        return True

    def close(self, then: Callable[[], None]) -> None:
        """From now on no call is touched; `then` happens before anybody could."""
        with self._lock:
            self._closed = True
            then()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _withdraw(self, job: _Job) -> bool:
        """Whether nobody will do it any more."""
        with self._lock:
            if job.taken:
                return False
            job.taken = True
            self.count -= 1
            return True

    def _run(self, job: _Job) -> None:
        with self._lock:
            if job.taken:
                return
            job.taken = True
        answer = job.work()
        with self._lock:
            self.count -= 1
            if not self._closed:
                job.reply(answer)

    def _mark(self) -> None:
        self._here.waits = True
