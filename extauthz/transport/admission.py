"""How much work may wait: a bound in time, for a bound in calls is too low for cheap ones and too high for dear ones.

Rule 1: what is refused is refused at once; nobody waits in a queue that is longer than its patience.
Rule 2: a burst is taken in and worked off; only a queue that stands, because more comes than can be done, is cut short.
"""

# A queue that so much work has not emptied stands, and one that does not may hold so much. In processor time, not by
# the clock: what has gathered while the machine stood still, or gave the core to somebody else, is a burst.
_STANDS_SECONDS = 0.02
# One that stands goes on to, until it was so often found empty with nobody refused since the last time that of twice
# that work so little is left. Soon after it would be long again, and what comes meanwhile would wait for it.
_CALM_SECONDS = 0.0025
_LEFT = 0.95
# Where the queue stands more are read than can be done, to choose fairly: it takes no longer than the work.
_READ_SECONDS = 40e-6
_WEIGHT = 0.05  # of one sample in the moving average
# A pause of the collector is not the price of a Check: no sample counts for more than this.
_MOST_TIMES = 4.0
_FEWEST = 16  # a few are always taken in


class Queue:
    """Calls that wait for the one thread, and how long that will take them."""

    def __init__(self, seconds: float, most: int, first_guess: float, *, choosing: bool = False) -> None:
        """A standing queue holds `seconds` of work, any queue `most` calls; `first_guess` is the cost of one.

        With `choosing`, a standing queue takes in more, for the caller to choose whom to serve.
        """
        self._seconds, self._most = seconds, most
        self._cost = self._price = first_guess  # of a call, by the clock and in processor time
        self._choice = int(seconds / _READ_SECONDS) if choosing else 0
        self._worked = 0.0  # seconds since it was empty, while it stands since it began to and less what has left
        self.stands = False  # whether more comes than can be done: then only `places` of those that wait are in time
        self.places = 0  # how many calls are as much work as may wait
        self._refused = False  # whether anybody was, since it was last found empty
        self.room = 0  # how many may wait
        self._bound()

    def emptied(self) -> None:
        """Nobody waits now, neither here nor unseen before the door."""
        if not self.stands:
            self._worked = 0.0
        elif self._refused:
            self._refused = False
        else:
            self._worked *= _LEFT
            if self._worked < _CALM_SECONDS:
                self.stands = False
                self._bound()

    def is_full(self, waiting: int) -> bool:
        """Whether another must be refused while so many wait."""
        if waiting < self.room:
            return False
        self._refused = True
        return True

    def turned_away(self) -> None:
        """Some that had been taken in were refused after all."""
        self._refused = True

    def worked(self, calls: int, seconds: float, used: float) -> None:
        """So many have been served together, in so many seconds and for so much processor time."""
        sample = min(seconds / calls, self._cost * _MOST_TIMES)
        used = min(used, calls * sample)
        self._worked = min(self._worked + used, _STANDS_SECONDS * 2)
        self._cost += _WEIGHT * (sample - self._cost)
        self._price += _WEIGHT * (used / calls - self._price)
        self.stands = self.stands or self._worked > _STANDS_SECONDS
        self._bound()

    def _bound(self) -> None:
        self.places = places = min(max(_FEWEST, int(self._seconds / self._cost)), self._most)
        room = places + self._choice if self.stands else max(places, int(_STANDS_SECONDS / max(self._price, 1e-9)))
        self.room = min(room, self._most)
