"""Counters that several threads add to without a lock and without a lost increment.

Every thread adds to dictionaries of its own; a scrape copies and sums them. A copy of a dictionary is one step under
the interpreter lock, so a scrape never sees half an update. One addition costs about 0.1 us.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

Key = tuple[str, ...]  # name of the family, values of its labels
Exemplar = tuple[str, float, float]  # trace id, seconds, time


Series = Callable[[Any], Iterable[Key]]  # the series that something counted as one adds to

# What is counted as one, at most: it is written out when that changes, 2 us each.
_MAX_ALIKE: Final = 2048


class Shard:
    """What one thread has counted."""

    __slots__ = ("_kept", "exemplars", "sums", "thread")

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        # Replaced as one, so that a scrape finds everything counted exactly once.
        self._kept: _Kept = (defaultdict(int), _nothing, {}, {})
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.exemplars: dict[tuple[str, int], Exemplar] = {}

    @property
    def counts(self) -> defaultdict[Key, int]:
        """By series, as far as they were counted by series."""
        return self._kept[0]

    def count_as_one(self, what: Hashable, series: Series, name: Hashable = None) -> None:
        """Add one to all series of `what`, which can be counted again by `name`. For the thread itself alone."""
        counts, before, alike, named = self._kept
        if series is not before:
            counts, alike, named = self.written_out(), {}, {}
            self._kept = (counts, series, alike, named)
        count = alike.get(what)
        if count is None:
            for key in series(what):
                counts[key] += 1
            if len(alike) >= _MAX_ALIKE:
                return
            alike[what] = count = [0]  # from the second one on
        else:
            count[0] += 1
        if name is not None and len(named) < _MAX_ALIKE:
            named[name] = count

    def count_again(self, name: Hashable, series: Series) -> bool:
        """Add one to what was counted by that name. Returns whether it was. For the thread itself alone."""
        _, before, _, named = self._kept
        count = named.get(name)
        if count is None or series is not before:
            return False
        count[0] += 1
        return True

    def written_out(self) -> defaultdict[Key, int]:
        """All counts, by series."""
        counts, series, alike, _ = self._kept
        found = defaultdict(int, counts)
        for what, (count,) in dict(alike).items():
            for key in series(what) if count else ():
                found[key] += count
        return found


_Count = list[int]  # of one member
# By series; the series of what is counted as one; that, with its count; the same counts by name.
_Kept = tuple[defaultdict[Key, int], Series, dict[Hashable, _Count], dict[Hashable, _Count]]


def _nothing(_: Hashable) -> Iterable[Key]:
    return ()


class Shards:
    """All threads' counts."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._shards: list[Shard] = []
        self._retired = Shard(threading.current_thread())  # what threads that ended had counted

    def mine(self) -> Shard:
        """The calling thread's own shard."""
        try:
            shard: Shard = self._local.shard
        except AttributeError:
            shard = self._local.shard = Shard(threading.current_thread())
            with self._lock:
                self._shards.append(shard)
        return shard

    def total(self) -> Shard:
        """The sum over all threads, as of now."""
        total = Shard(threading.current_thread())
        with self._lock:
            for shard in [shard for shard in self._shards if not shard.thread.is_alive()]:
                self._shards.remove(shard)
                add(self._retired, shard)
            for shard in (self._retired, *self._shards):
                add(total, shard)
        return total


def add(total: Shard, part: Shard) -> None:
    """Count into `total` what `part` has; of two exemplars the newer stays."""
    for key, count in part.written_out().items():
        total.counts[key] += count
    for outcome, seconds in dict(part.sums).items():
        total.sums[outcome] += seconds
    for place, exemplar in dict(part.exemplars).items():
        if place not in total.exemplars or total.exemplars[place][2] < exemplar[2]:
            total.exemplars[place] = exemplar
