"""What the journal owes its reader after a time in which it could not be written."""

from collections import deque
from collections.abc import Callable

from extauthz.journal.record import lifecycle_event

Entry = tuple[bytes, bytes]  # RFC 3339 time, event as JSON

# Events of the server's life wait here while the journal cannot be written; the oldest go first.
_MAX_WAITING = 1000


class Outage:
    """Events that wait and counts of what has no record. The writer's lock guards it."""

    __slots__ = ("_waiting", "refused", "unrecorded")

    def __init__(self) -> None:
        self.refused = 0  # records that could not be written
        self.unrecorded = 0  # answers that went out without one, because their profile says so
        self._waiting: deque[Entry] = deque(maxlen=_MAX_WAITING)

    def __bool__(self) -> bool:
        """Whether anything is owed."""
        return bool(self.refused or self.unrecorded or self._waiting)

    def wait(self, entry: Entry) -> None:
        """Keep an event until it can be written."""
        self._waiting.append(entry)

    def owed(self, now: Callable[[], bytes]) -> list[Entry]:
        """What comes before the next record: the events that waited, and how much is missing."""
        entries = list(self._waiting)
        if self.refused or self.unrecorded:
            detail = {"refused": str(self.refused), "unrecorded": str(self.unrecorded)}
            entries.append((now(), lifecycle_event("journal_restored", detail)))
        return entries
