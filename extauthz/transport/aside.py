"""The few threads in which Checks of the loop wait for the outside, and the way back to their calls."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


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
        self._pool.submit(self._run, work, reply)
        return True

    def close(self, then: Callable[[], None]) -> None:
        """From now on no call is touched; `then` happens before anybody could."""
        with self._lock:
            self._closed = True
            then()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[], bytes], reply: Callable[[bytes], None]) -> None:
        answer = work()
        with self._lock:
            self.count -= 1
            if not self._closed:
                reply(answer)

    def _mark(self) -> None:
        self._here.waits = True
