"""How long ago the source was last heard, and what follows when that is too long.

Heard is: it brought a bundle that verifies, or said that nothing changed since one that did. A source that brings what
nobody may trust says nothing about what should be in force.
"""

from collections.abc import Callable
from typing import Final, Literal

_NOTED_SECONDS: Final = 60.0  # the disk hears of a contact at most so often
_NOTED_SHARE: Final = 0.05  # of the age that is too old


class Freshness:
    """Tells when the bundle became too old, and when it is no longer; times are seconds since the epoch."""

    def __init__(
        self, max_age: float, clock: Callable[[], float], note: Callable[[float], None], heard: float = 0.0
    ) -> None:
        """`note` writes down a contact; `heard` is what was written down before."""
        self._max_age, self._clock, self._note = max_age, clock, note
        self._heard = self._noted = heard
        self._began = clock()
        self._too_old = False

    def contact(self) -> None:
        """The source was heard now."""
        now = self._clock()
        self._heard = now
        pause = max(_NOTED_SECONDS, self._max_age * _NOTED_SHARE)
        if self._max_age and not self._noted <= now < self._noted + pause:
            self._noted = now
            self._note(now)

    @property
    def heard(self) -> bool:
        """Whether there was a contact, ever."""
        return bool(self._heard)

    @property
    def age(self) -> float:
        """Seconds since the last contact, or since the start when there was none."""
        return max(0.0, self._clock() - self._since())

    @property
    def left(self) -> float:
        """Seconds until it is too old."""
        return self._since() + self._max_age - self._clock() if self._max_age else float("inf")

    def look(self) -> Literal["too_old", "fresh_again", ""]:
        """What changed since the last look."""
        too_old = self.left < 0
        if too_old == self._too_old:
            return ""
        self._too_old = too_old
        return "too_old" if too_old else "fresh_again"

    def _since(self) -> float:
        """A server that never heard its source is as old as its own start."""
        return self._heard or self._began
