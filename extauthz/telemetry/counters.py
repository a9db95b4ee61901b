"""Counters that several threads add to without a lock and without a lost increment.

Every thread adds to a dictionary of its own; a scrape copies and sums them. A copy of a dictionary is one step under
the interpreter lock, so a scrape never sees half an update. One addition costs about 0.1 us.
"""

import threading
from collections import defaultdict

Key = tuple[str, ...]  # name of the family, values of its labels
Exemplar = tuple[str, float, float]  # trace id, seconds, time


class Shard:
    """What one thread has counted."""

    __slots__ = ("counts", "exemplars", "sums", "thread")

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.counts: defaultdict[Key, int] = defaultdict(int)
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.exemplars: dict[tuple[str, int], Exemplar] = {}


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
    for key, count in dict(part.counts).items():
        total.counts[key] += count
    for outcome, seconds in dict(part.sums).items():
        total.sums[outcome] += seconds
    for place, exemplar in dict(part.exemplars).items():
        if place not in total.exemplars or total.exemplars[place][2] < exemplar[2]:
            total.exemplars[place] = exemplar
