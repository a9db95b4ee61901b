"""What the source of bundles tells about itself."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from extauthz.bundle import Finding, Step
from extauthz.sources.bundles.state import Hold, OrderKind, Permit

# unreachable: the source gave no answer; rejected: a bundle that may not come into force; held: one that waits, for an
# operator keeps another in force
Result = Literal["activated", "rejected", "unchanged", "unreachable", "held"]


class Activation(Struct, frozen=True, kw_only=True):
    """How one attempt to put a bundle in force went."""

    result: Result
    order: OrderKind | None = None  # by which it came into force, and which is on record already
    where: str = ""  # the source, or the copy on disk
    revision: str = ""  # of the bundle in force afterwards; "" when there is none
    digest: str = ""  # likewise
    name: str = ""  # of the bundle that was looked at, as its manifest says; "" without one
    sequence: int | None = None  # likewise
    key: str = ""  # id of the key that vouched for it; "" when nobody did
    key_expires: float | None = None  # when that key ends, in seconds since the epoch; None when it does not
    permit: Permit | None = None  # the leave by which it came into force although it is older than what was
    step: Step | None = None  # where it ended; None when it came through
    findings: tuple[Finding, ...] = ()  # why it was rejected, or the warnings of what was activated
    seconds: float = 0.0  # from the question to the source

    def says_the_same(self, other: "Activation | None") -> bool:
        """Whether it tells nothing new after `other`."""
        if other is None or self.result not in {"rejected", "unreachable"}:
            return False
        return (self.result, self.where, self.step, self.findings) == (
            other.result,
            other.where,
            other.step,
            other.findings,
        )


class SourceStatus(Struct, frozen=True, kw_only=True):
    """How the source fares, for status pages and metrics."""

    where: str
    heard: bool  # whether it was, ever
    contact_age: float  # seconds since it was last heard, or since the start
    too_old: bool
    key_expires: float | None  # when the key that vouches for what is in force ends, in seconds since the epoch
    hold: Hold | None  # what an operator keeps in force against it
    waiting: str  # the revision that waits meanwhile; "" when none does
    steps: Mapping[tuple[str, str], int]  # by step and `passed` or `failed`, since the start
