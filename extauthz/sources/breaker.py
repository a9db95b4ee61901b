"""Stops asking somebody who does not answer, so that nobody waits in vain for him."""

from collections.abc import Callable
from random import uniform
from threading import Lock
from typing import Annotated

from msgspec import Meta, Struct


class BreakerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """When an issuer that does not answer is left alone, and for how long."""

    failures: Annotated[int, Meta(ge=1, le=1000)] = 5  # in a row
    pause_seconds: Annotated[float, Meta(gt=0, le=60)] = 1.0  # the first; doubled after each attempt in vain
    pause_max_seconds: Annotated[float, Meta(gt=0, le=3600)] = 30.0  # the longest pause


class Breaker:
    """Closed: everybody may ask. Open: nobody, but for one after each pause. An answer closes it."""

    def __init__(self, options: BreakerOptions, clock: Callable[[], float]) -> None:
        """`clock` counts seconds and must not jump."""
        self._options, self._clock = options, clock
        self._lock = Lock()
        self._failures = 0
        self._pauses = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the other side is held for dead."""
        return self._failures >= self._options.failures

    def admits(self) -> bool:
        """Whether the caller may ask; while open that is one at a time, after a pause."""
        if not self.is_open:
            return True
        with self._lock:
            now = self._clock()
            if not self.is_open:
                return True
            if now < self._open_until:
                return False
            self._open_until = now + self._next_pause()  # nobody else until this attempt has ended
            return True

    def succeeded(self) -> bool:
        """There was an answer. True when that closes the breaker."""
        if not self._failures:
            return False
        with self._lock:
            was_open = self.is_open
            self._failures = self._pauses = 0
            return was_open

    def failed(self) -> bool:
        """There was none. True when that opens the breaker."""
        with self._lock:
            was_open = self.is_open
            self._failures += 1
            if not self.is_open:
                return False
            self._open_until = self._clock() + self._next_pause()
            self._pauses += was_open
            return not was_open

    def _next_pause(self) -> float:
        options = self._options
        pause = min(options.pause_max_seconds, options.pause_seconds * 2.0 ** min(self._pauses, 16))
        return pause * uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
