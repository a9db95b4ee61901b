"""What was worked out before, kept in bounded memory: two generations of dictionaries.

Rule 1: no lock and no iteration: every step is one dictionary operation, atomic under the interpreter's lock; what
another thread overtakes is at most worked out a second time.
Rule 2: no cliff. What is asked for again moves to the young generation and stays; whoever floods a memo with keys of
his own costs the others one more working out each, once a generation.
Rule 3: keys and values are such that the garbage collector does not track them.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_GENERATIONS: Final = 3  # young, old, and the one that is let go
# Dropping 50,000 entries at once takes 8 ms (measured); two at a time, as fast as entries come, nobody notices.
_DROPPED_AT_ONCE: Final = 2


class Memo(Generic[Key, Value]):
    """Values by key, bounded in number and in bytes."""

    __slots__ = ("_dropped", "_half", "_old", "_share", "_weigh", "_young_bytes", "young")

    def __init__(self, max_entries: int, max_bytes: int, weigh: Callable[[Key, Value], int]) -> None:
        """`weigh` tells the memory that an entry takes, rather too much; what takes over a third is not kept."""
        self._half: Final = max(1, max_entries // 2)
        self._share: Final = max_bytes // _GENERATIONS
        self._weigh: Final = weigh
        self._young_bytes = 0  # a step that another thread overtakes is an error of one entry, until the next turn
        # What was asked for last. Who is short of time looks here first, as in `memo.young.get(key) or memo.get(key)`,
        # and changes nothing.
        self.young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._dropped: dict[Key, Value] = {}

    def __len__(self) -> int:
        """How many entries can be found."""
        return len(self.young) + len(self._old)

    def parts(self) -> tuple[dict[Any, Any], ...]:
        """As `letting_go.Large`."""
        return self.young, self._old, self._dropped

    def get(self, key: Key) -> Value | None:
        """The value kept under `key`."""
        value = self.young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep `value`; when the young generation is full it becomes the old one."""
        size = self._weigh(key, value)
        if size > self._share:
            return
        if len(self.young) >= self._half or self._young_bytes + size > self._share:
            self._dropped, self._old, self.young = self._old, self.young, {}
            self._young_bytes = 0
        self.young[key] = value
        self._young_bytes += size
        for _ in range(_DROPPED_AT_ONCE):
            try:
                self._dropped.popitem()
            except KeyError:
                return
