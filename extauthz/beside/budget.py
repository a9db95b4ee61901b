"""What a candidate may cost: a share of what the process spends on everything else.

Rule: what is over is not made up for later; a burst may be short.
"""

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

# How much may be spent at once: as much as 10,000 evaluations of 20 us, or a second's worth at a share of a fifth.
_DEPTH_SECONDS: Final = 0.2
# The processor's time is read so seldom that reading it, 0.5 us, costs next to nothing.
_SPENT_UNREAD_SECONDS: Final = 500e-6


class Budget:
    """Seconds of the processor that may still be spent. Threads may share it."""

    def __init__(self, share: float, cpu: Callable[[], float] = time.process_time) -> None:
        """`cpu` counts the seconds of processor time that the process has had."""
        self._share, self._cpu = share, cpu
        self._left = _DEPTH_SECONDS
        self._unread = 0.0  # spent since `cpu` was read
        self._read = cpu()
        self._lock = Lock()
        self.spent = 0.0  # seconds, in all

    def spend(self, seconds: float) -> None:
        """An evaluation took so long."""
        with self._lock:
            self.spent += seconds
            self._left -= seconds
            self._unread += seconds
            if self._unread >= _SPENT_UNREAD_SECONDS:
                self._fill()

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left, also after a look at what the process did meanwhile."""
        if self._left <= 0:
            with self._lock:
                self._fill()
        return self._left <= 0

    def _fill(self) -> None:
        now = self._cpu()
        others = now - self._read - self._unread
        self._read, self._unread = now, 0.0
        if others > 0:
            self._left = min(_DEPTH_SECONDS, self._left + self._share * others)
