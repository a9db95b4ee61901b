"""An order that may be carried out: what comes into force by it, and what is kept of that."""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from extauthz.sources.bundles.ordered import Judged, Ordered
from extauthz.sources.bundles.state import Hold, Kept, OrderKind, Past, State
from extauthz.sources.bundles.store import BundleStore

_HOLDS: Final[dict[OrderKind, Literal["rollback", "pin", "promotion"]]] = {
    "rollback": "rollback",
    "pin": "pin",
    "promote": "promotion",
}
_UNJUDGED: Final = Judged(digest="", passed=True)  # a kept revision: no gate is asked


class Prepared(Struct, frozen=True):
    """An order that may be carried out: what comes into force, and how."""

    after: Kept
    archive: bytes
    effect: Callable[[], None]
    write: Callable[[Callable[[State], State]], State]
    judged: Judged = _UNJUDGED


Prepare = Callable[[BundleStore, State, list[Kept]], Prepared]  # raises OrderRefusedError, BundleError, StoreError


def made_hold(ordered: Ordered, after: Kept, state: State, now: float) -> Hold:
    """What keeps `after` in force against the source; `now` in seconds since the epoch."""
    left = state.hold.left if state.hold is not None and state.hold.kind != "pin" else ()
    if ordered.kind != "pin" and ordered.before is not None:
        left = (*left, ordered.before.digest)
    return Hold(
        kind=_HOLDS[ordered.kind],
        id=after.id,
        revision=after.revision,
        digest=after.digest,
        since=now,
        operator=ordered.operator,
        left=left,
    )


def made_past(ordered: Ordered, after: Kept, now: float) -> Past:
    """The line of the history."""
    return Past(
        at=now,
        what=ordered.kind,
        id=after.id,
        revision=after.revision,
        before=ordered.before.revision if ordered.before else "",
        operator=ordered.operator,
        forced=ordered.forced,
    )
