"""Which kept revision an operator means. Pure."""

from collections.abc import Sequence
from typing import Final

from extauthz.sources.bundles.ordered import OrderRefusedError
from extauthz.sources.bundles.state import Kept, State

_SHORTEST_DIGEST: Final = 8


def in_order(kept: Sequence[Kept]) -> list[Kept]:
    """As the source put them in force, the newest first; what never was stands before them."""
    return sorted(kept, key=lambda each: (not each.activated, each.activated), reverse=True)


def named(kept: Sequence[Kept], wanted: str) -> Kept:
    """By id, by revision, or by the beginning of the digest. Raises OrderRefusedError."""
    found = [each for each in kept if each.id == wanted]
    found = found or [each for each in kept if each.revision == wanted]
    if not found and len(wanted) >= _SHORTEST_DIGEST:
        found = [each for each in kept if each.digest.startswith(wanted)]
    if not found:
        names = ", ".join(f"`{each.revision}`" for each in kept) or "nothing"
        message = f"no revision `{wanted}` is kept; kept are {names}"
        raise OrderRefusedError(message, "unknown")
    if len(found) > 1:
        ids = ", ".join(f"`{each.id}`" for each in found)
        message = f"`{wanted}` names {len(found)} revisions: say which by its id, {ids}"
        raise OrderRefusedError(message)
    return found[0]


def backwards(state: State, kept: Sequence[Kept], wanted: str, steps: int) -> Kept:
    """The revision to go back to: `wanted`, or so many steps before the one in force. Raises OrderRefusedError."""
    was = [each for each in kept if each.activated]
    places = {each.id: place for place, each in enumerate(was)}
    if state.active not in places:
        message = "what is in force is not among the kept revisions: name the one to pin"
        raise OrderRefusedError(message)
    here = places[state.active]
    if not wanted:
        if here + steps >= len(was):
            message = f"only {len(was) - 1 - here} older revisions are kept, not {steps}"
            raise OrderRefusedError(message, "unknown")
        return was[here + steps]
    found = named(was, wanted)
    if found.id == state.active:
        message = f"`{found.revision}` is in force"
        raise OrderRefusedError(message)
    if places[found.id] < here:
        message = f"`{found.revision}` came after `{was[here].revision}`: to go forward, unpin, or pin it"
        raise OrderRefusedError(message)
    return found


def require_unpinned(state: State) -> None:
    """Raises OrderRefusedError while a pin keeps everything else out."""
    hold = state.hold
    if hold is not None and hold.kind == "pin":
        message = f"`{hold.revision}` is pinned by {hold.operator.name}: pin another revision, or unpin"
        raise OrderRefusedError(message)


def behind(state: State, kept: Sequence[Kept]) -> tuple[Kept, Kept]:
    """What is in force by order, and what waits behind it; the same where nothing does. Raises OrderRefusedError."""
    if state.hold is None and not state.waiting:
        message = "nothing is pinned or rolled back: the source is followed"
        raise OrderRefusedError(message)
    if state.hold is not None and state.hold.kind == "promotion":
        message = f"`{state.hold.revision}` was promoted: what is newer comes by itself, and `rollback` goes back"
        raise OrderRefusedError(message)
    before = next((each for each in kept if each.id == state.active), None)
    if before is None:
        message = "what is in force is not kept: pin a revision that is, or publish one"
        raise OrderRefusedError(message)
    return before, next((each for each in kept if each.id == state.waiting), before)
