"""How much of a journal may lie behind its last valid checkpoint: the verifier's decision, never the journal's.

What nobody signed for may have been written by anyone who can write the directory, with any number in it.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

# The default `checkpointRecords`, and half as many for those that come while a checkpoint is signed.
MAX_UNSIGNED: Final = 15_000
# Ten times the default `checkpointSeconds`: a disk that was full for a while, a step of the clock.
MAX_UNSIGNED_SECONDS: Final = 600


class Bounds(Struct, frozen=True, kw_only=True):
    """What a verifier accepts unsigned."""

    records: int = MAX_UNSIGNED
    seconds: float = MAX_UNSIGNED_SECONDS  # from the last signed time on, by the records' own times
    signed_since: str = ""  # RFC 3339 in UTC: the last checkpoint must be from then or later; "" asks for none

    def exceeded(self, count: int, until: str, signed_until: str) -> str:
        """Why this is too much, or "". `until`: latest time of the `count` records that nobody signed for."""
        if count > self.records:
            return f"{count} records lie behind the last valid checkpoint; {self.records} are accepted"
        if count and (span := _seconds(signed_until, until)) > self.seconds:
            return f"records behind the last valid checkpoint reach {span:.0f} s on; {self.seconds:.0f} s are accepted"
        if signed_until < self.signed_since:
            return f"the last valid checkpoint is from {signed_until}, before {self.signed_since}"
        return ""


DEFAULT_BOUNDS: Final = Bounds()


def _seconds(start: str, end: str) -> float:
    """Between two times of the journal; infinite when one of them is no time."""
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
