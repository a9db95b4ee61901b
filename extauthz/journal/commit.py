"""Group commit: who comes first synchronises for all who wait behind (`durability: disk`).

Rule: a position is confirmed only when the file that holds it was synchronised without an error. What a file could not
bring to the disk stays lost, whatever a later synchronisation says.
"""

import threading
from contextlib import suppress

from extauthz.journal.segments import SegmentFile


class GroupCommit:
    """Which positions of the journal are on the disk. Its lock is taken after the writer's where both are."""

    def __init__(self, position: int) -> None:
        """Everything through `position` was written by an earlier boot."""
        self.lock = threading.Lock()
        self._on_disk = position  # all through here are there, or lost
        self._lost: list[tuple[int, int]] = []  # positions (after, through) of which nobody knows

    # --- the lock is held

    def is_lost(self, position: int) -> bool:
        """Whether nobody knows, and will ever know, if the record is there."""
        return any(after < position <= through for after, through in self._lost)

    def is_on_disk(self, position: int) -> bool:
        """Whether the record, which is not lost, is there."""
        return position <= self._on_disk

    def synchronise(self, file: SegmentFile, position: int) -> None:
        """Bring all through `position`, which lies in `file`, to the disk. Raises OSError."""
        file.synchronise()
        self._on_disk = position

    def leave(self, file: SegmentFile, position: int) -> bool:
        """The last chance of what lies in `file`, through `position`. Returns whether it is on the disk."""
        with suppress(OSError):
            if file.is_whole():
                self.synchronise(file, position)
                return True
        if position > self._on_disk:
            self._lost.append((self._on_disk, position))
            self._on_disk = position
        return False
