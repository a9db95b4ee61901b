"""What time it may be, when somebody sets the clock of a running server.

Rule: an end is where the decision's own clock says, and no timer's; a clock that is set moves it in one direction only.
"""

from collections.abc import Callable

from extauthz.model.moment import Moment


class SteadyClock:
    """Knows what the clock would say if nobody had set it."""

    def __init__(self, clock: Callable[[], float], ticks: Callable[[], float]) -> None:
        """`clock` counts seconds since the epoch; `ticks` counts seconds and never jumps."""
        self._clock, self._ticks = clock, ticks
        self._anchor = 0.0
        self.anchor()

    def anchor(self) -> None:
        """Believe the clock as it is now."""
        self._anchor = self._clock() - self._ticks()

    def now(self) -> float:
        """What the clock says."""
        return self._clock()

    def step(self) -> float:
        """Seconds by which it was set forward (back when negative) since it was believed."""
        return self._clock() - self._anchor - self._ticks()

    def moment(self, now: int) -> Moment:
        """What time it may be when the clock says `now`."""
        steady = int(self._anchor + self._ticks())
        return Moment(now, steady) if now <= steady else Moment(steady, now)

    def current(self) -> Moment:
        """What time it may be now."""
        return self.moment(int(self._clock()))
