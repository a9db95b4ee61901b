"""What time it may be."""

from msgspec import Struct


class Moment(Struct, frozen=True, gc=False):
    """The earliest and the latest second that it may be, since the epoch: the same, unless somebody set the clock.

    What denies lasts until the earliest is past its end, what allows until the latest is.
    """

    earliest: int
    latest: int


def exactly(now: int) -> Moment:
    """When the clock is believed."""
    return Moment(now, now)
