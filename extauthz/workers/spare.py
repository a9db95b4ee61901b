"""Processes that wait with everything loaded: for the start, and for the moment in which a worker ends.

Loading the program takes most of a start; a restart that finds it done takes a third of the time. What waits was loaded
from the same files as everything that runs, also when they are replaced meanwhile.
"""

import logging
import threading

from extauthz.workers.process import WorkerProcess

log = logging.getLogger("extauthz.workers")


class Spare:
    """Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[WorkerProcess] = []
        self._stopped = False

    def prepare(self, count: int = 1) -> None:
        """See that so many wait. That none can be started will be said by who needs it."""
        with self._lock:
            if self._stopped:
                return
            for ended in [process for process in self._waiting if process.ended(0)]:
                self._waiting.remove(ended)
                _drop(ended)
            try:
                while len(self._waiting) < count:
                    self._waiting.append(WorkerProcess())
            except OSError:
                log.warning("a spare process for workers cannot be started", exc_info=True)

    def take(self) -> WorkerProcess:
        """The one that waits the longest, or a new one. Raises OSError."""
        with self._lock:
            while self._waiting:
                found = self._waiting.pop(0)
                if not found.ended(0):
                    return found
                _drop(found)
        return WorkerProcess()

    def stop(self) -> None:
        """End all that wait."""
        with self._lock:
            self._stopped = True
            while self._waiting:
                _drop(self._waiting.pop())


def _drop(process: WorkerProcess) -> None:
    process.kill()
    process.wait()
    process.close()
