"""Answers of issuers, bounded in number and in time."""

from collections.abc import Callable
from threading import Lock


class AnswerCache:
    """Forgets the oldest when it is full: entries live about equally long, so the oldest is the next to end."""

    def __init__(self, max_entries: int, clock: Callable[[], float]) -> None:
        """`clock` is in seconds, the same as of `until`."""
        self._max_entries, self._clock = max_entries, clock
        self._entries: dict[bytes, tuple[float, bytes]] = {}
        self._writers = Lock()

    def __len__(self) -> int:
        """How many entries are kept, ended ones included."""
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """The answer kept under `key`, unless it ended."""
        found = self._entries.get(key)
        if found is None:
            return None
        until, answer = found
        if self._clock() < until:
            return answer
        with self._writers:
            if self._entries.get(key) is found:
                del self._entries[key]
        return None

    def put(self, key: bytes, answer: bytes, until: float) -> None:
        """Keep `answer` until then."""
        with self._writers:
            self._entries.pop(key, None)
            while len(self._entries) >= self._max_entries:
                self._entries.pop(next(iter(self._entries)), None)
            self._entries[key] = (until, answer)
