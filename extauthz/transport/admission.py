"""How much work may wait: a bound in time, for a bound in calls is too low for cheap ones and too high for dear ones.

Rule 1: what is refused is refused at once; nobody waits in a queue that is longer than its patience.
"""

_WEIGHT = 0.05  # of one sample in the moving average
# A pause of the machine or of the collector is not the price of a Check: no sample counts for more than this.
_MOST_TIMES = 4.0
_FEWEST = 16  # a burst of so many is always taken in: Envoy's bursts are short, and a refusal is a failed request


class Queue:
    """Calls that wait for the one thread, and how long that will take them."""

    def __init__(self, seconds: float, most: int, first_guess: float) -> None:
        """At most `seconds` of work and `most` calls; a call costs `first_guess` seconds until measured."""
        self._seconds, self._most, self._cost = seconds, most, first_guess
        self.limit = self._bound()

    def worked(self, calls: int, seconds: float) -> None:
        """What `calls` have cost together."""
        sample = min(seconds / calls, self._cost * _MOST_TIMES)
        self._cost += _WEIGHT * (sample - self._cost)
        self.limit = self._bound()

    def _bound(self) -> int:
        return max(min(_FEWEST, self._most), min(self._most, int(self._seconds / self._cost)))
