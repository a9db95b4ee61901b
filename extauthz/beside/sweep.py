"""What is left over when no Check comes: compared and recorded by a thread beside the path.

Rule: it looks seldom, and does little at a time. Whatever is much is done in the transport's spare time.
"""

import threading
from collections.abc import Callable
from typing import Final

_EVERY_SECONDS: Final = 0.1
_LAST_SWEEPS: Final = 100  # before it ends; a queue that is full takes a tenth of that


class Sweeper:
    """Calls from time to time until it is stopped."""

    def __init__(self, sweep: Callable[[], bool]) -> None:
        """`sweep` does some of what is left, and says whether there is more. Total."""
        self._sweep = sweep
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="candidate-sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, when all that is left is done."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        for _ in range(_LAST_SWEEPS):
            if not self._sweep():
                return

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self._sweep()
