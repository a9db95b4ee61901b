"""What an operator asked of the bundles that are kept, and how it ended."""

from typing import Literal

from msgspec import Struct

from extauthz.bundle import BundleError
from extauthz.bundle.difference import Difference
from extauthz.sources.bundles.state import Kept, OrderKind
from extauthz.sources.operators import Operator

Fault = Literal["unknown", "refused", "disk"]


class Ordered(Struct, frozen=True, kw_only=True):
    """One order, as it goes on record before it takes effect."""

    kind: OrderKind
    operator: Operator
    before: Kept | None = None  # in force until then
    after: Kept | None = None  # in force from then on; None when the order was refused before it named one
    why_not: str = ""  # of an order that was refused, or failed
    forced: bool = False
    basis: str = ""  # of a promotion: what was compared
    overridden: tuple[str, ...] = ()  # of a forced one: what the gate says against it
    told: bool = False  # whether another worker took it


class Judged(Struct, frozen=True, kw_only=True):
    """What is known of a candidate, and whether it may be promoted."""

    digest: str  # of the candidate
    live_digest: str = ""  # of what it was compared with
    passed: bool
    reasons: tuple[str, ...] = ()  # why not
    basis: str = ""  # what was compared, in words


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an order that was not refused."""

    ordered: Ordered
    difference: Difference | None = None  # of a dry run: what would change; None when that cannot be told
    dry_run: bool = False
    waiting: str = ""  # the revision that the source holds and that waits now
    note: str = ""  # what else there is to know


class OrderRefusedError(Exception):
    """The order was not carried out; what is in force is as before."""

    def __init__(self, message: str, fault: Fault = "refused") -> None:
        self.fault = fault
        super().__init__(message)


def as_refusal(error: Exception) -> OrderRefusedError:
    """What an operator is told of a BundleError or a StoreError."""
    if isinstance(error, OrderRefusedError):
        return error
    if isinstance(error, BundleError):
        return OrderRefusedError(f"it may not come into force ({error.step}): {error.findings[0]}")
    return OrderRefusedError(str(error), "disk")
