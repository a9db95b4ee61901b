"""Verified tokens in memory, bounded.

Rule 1: no lock and no iteration: every step is one dictionary operation, atomic under the interpreter's lock, and
a step that another thread overtakes costs at most a second verification.
Rule 2: entries are bytes and a Subject, neither tracked by the garbage collector.
"""

from sys import getsizeof
from typing import Annotated, Final

from msgspec import Meta, Struct

from extauthz.model.subject import Subject

# Under a fifth of the 512 MiB that a pod is given; with 20,000 entries a token may take 3.3 KiB, a usual one takes 2.
# Without this bound 20,000 tokens of 8 KiB with hundreds of roles took 800 MiB (measured).
MAX_BYTES: Final = 96 << 20
_GENERATIONS: Final = 3  # young, old, and the one that is let go
_ENTRY_BYTES: Final = 1400  # Subject, key, short strings, place in the table: 1,165 measured with long ids


class TokenOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is kept of tokens that were verified."""

    cache_entries: Annotated[int, Meta(ge=0, le=10_000_000)] = 20_000  # about 2 KiB each; 0 verifies every time
    # all of them together; a token that takes more than a third of it is verified every time
    cache_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = MAX_BYTES


# Dropping 50,000 entries at once takes 8 ms (measured); two at a time, as fast as entries come, nobody notices.
_DROPPED_AT_ONCE = 2


class GenerationalTokenCache:
    """Two generations: what is asked for again moves to the young one, what is not is dropped with the old one."""

    def __init__(self, max_entries: int, max_bytes: int = MAX_BYTES) -> None:
        """At most `max_entries` are kept, about 1.5 KiB each with a usual token, and at most `max_bytes` of memory."""
        self._half = max(1, max_entries // 2)
        self._share = max_bytes // _GENERATIONS
        self._young_bytes = 0  # a step that another thread overtakes is an error of one entry, until the next turn
        self._young: dict[bytes, Subject] = {}
        self._old: dict[bytes, Subject] = {}
        self._dropped: dict[bytes, Subject] = {}

    def __len__(self) -> int:
        """How many entries can be found."""
        return len(self._young) + len(self._old)

    def get(self, key: bytes) -> Subject | None:
        """The Subject kept under `key`."""
        subject = self._young.get(key)
        if subject is None:
            subject = self._old.pop(key, None)
            if subject is not None:
                self.put(key, subject)
        return subject

    def put(self, key: bytes, subject: Subject) -> None:
        """Keep `subject`; when the young generation is full it becomes the old one."""
        size = _bytes_of(subject)
        if size > self._share:
            return
        if len(self._young) >= self._half or self._young_bytes + size > self._share:
            self._dropped, self._old, self._young = self._old, self._young, {}
            self._young_bytes = 0
        self._young[key] = subject
        self._young_bytes += size
        for _ in range(_DROPPED_AT_ONCE):
            try:
                self._dropped.popitem()
            except KeyError:
                return


def _bytes_of(subject: Subject) -> int:
    """What an entry takes in memory, near enough and rather too much."""
    lists = (subject.roles, subject.scopes, subject.confirmation, subject.actors, subject.acrs)
    texts = sum(getsizeof(text) for texts in lists for text in texts) + sum(map(getsizeof, lists))
    return _ENTRY_BYTES + len(subject.claims) + texts
