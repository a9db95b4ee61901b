"""Waiting for SIGTERM and SIGINT.

A handler that takes a lock, as an Event does, can meet the very thread that holds it; writing to a pipe cannot.
"""

import os
import select
import signal
from typing import Self


class Signals:
    """While open, both signals wake `wait` instead of ending the process. For the main thread."""

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        self._write = write
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _noted) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float | None = None) -> str:
        """The name of the signal that came, or "" when none came in time."""
        if not select.select([self._read], [], [], seconds)[0]:
            return ""
        return signal.Signals(os.read(self._read, 1)[0]).name


def _noted(_number: int, _frame: object) -> None:
    """The pipe has it already."""
