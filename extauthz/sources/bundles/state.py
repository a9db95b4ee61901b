"""What the disk remembers of bundles: revisions, marks, leave to go back, and what operators ordered.

Rule: changes are functions from one state to the next; the store makes them under its lock.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.verify import Mark
from extauthz.sources.operators import Operator

FORMAT: Final = "extauthz bundle state 1"
MAX_HISTORY: Final = 100  # what is older is in the journal

OrderKind = Literal["rollback", "pin", "unpin", "promote"]


class StoreError(OSError):
    """The directory cannot be used, and why."""


class Kept(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A revision that was in force, or waits, and whose archive is still here."""

    id: str = ""  # names its files
    name: str
    revision: str
    sequence: int
    digest: str  # of its files
    sha256: str = ""  # of the archive, hex
    key: str  # id of the key that vouched; "" when nobody had to
    source: str  # where it came from
    tag: str  # what the source called it
    activated: float  # when the source last put it in force, in seconds since the epoch; 0: never. Orders leave it


class Permit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Leave to put an older bundle in force: who gave it, and why."""

    operator: str  # as they called themselves
    uid: int  # as the kernel calls them
    reason: str
    given: float  # seconds since the epoch


class Hold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator put in force, or keeps there, against the source.

    A pin keeps back whatever the source brings. A rollback keeps back what was gone back from, and what is not newer;
    so does a promotion, until the source has what was promoted.
    """

    kind: Literal["rollback", "pin", "promotion"]
    id: str  # of the revision in force
    revision: str
    digest: str
    since: float  # seconds since the epoch
    operator: Operator
    left: tuple[str, ...] = ()  # digests of what was in force before


class Past(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that happened to what is in force."""

    at: float  # seconds since the epoch
    what: Literal["activated", "rollback", "pin", "unpin", "promote"]
    id: str  # of what is in force afterwards
    revision: str
    before: str = ""  # the revision until then
    operator: Operator | None = None  # None: the source brought it
    forced: bool = False


class State(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `state.json`."""

    format: str = FORMAT
    active: str = ""  # id of the revision in force
    marks: dict[str, Mark] = {}  # by name of a bundle: the highest sequence that was ever in force
    permits: dict[str, Permit] = {}  # by digest of a bundle
    contact: float = 0.0  # when the source was last heard, in seconds since the epoch; 0: never
    hold: Hold | None = None
    waiting: str = ""  # id of what the source holds while something else is held in force
    history: tuple[Past, ...] = ()  # the oldest first

    @property
    def permitted(self) -> frozenset[str]:
        """Digests of bundles that may be read although they are older: what is held in force, and what waits for it."""
        held = {self.hold.digest, *self.hold.left} if self.hold is not None else set()
        return frozenset(self.permits.keys() | held)


def is_held_back(state: State, name: str, sequence: int, digest: str) -> bool:
    """Whether a bundle that the source brings has to wait."""
    hold = state.hold
    if hold is None or digest == hold.digest:
        return False
    if hold.kind == "pin":
        return True
    mark = state.marks.get(name)
    if sequence and mark is not None:
        return sequence <= mark.sequence
    return digest in hold.left


def is_too_old(state: State, kept: Kept) -> bool:
    """Whether something newer was in force, and nobody gave leave for this."""
    mark = state.marks.get(kept.name)
    return mark is not None and kept.sequence < mark.sequence and kept.digest not in state.permitted


def put_in_force(state: State, kept: Kept, before: str) -> State:
    """The source has brought it, and nothing keeps it back. `before`: the revision until then."""
    mark = state.marks.get(kept.name)
    top = _higher(mark, kept)
    changed = state.active != kept.id
    # Leave to go back ends when something newer comes into force, or what was gone back from does again.
    over = changed and mark is not None and top.sequence == kept.sequence
    hold = state.hold
    if hold is not None and (hold.id != kept.id or hold.kind == "promotion"):
        hold = None  # something newer, or the source has what was promoted
    past = Past(at=kept.activated, what="activated", id=kept.id, revision=kept.revision, before=before)
    return replace(
        state,
        active=kept.id,
        marks={**state.marks, kept.name: top},
        permits={} if over else state.permits,
        contact=kept.activated,
        hold=hold,
        waiting="",
        history=_with(state, past) if changed else state.history,
    )


def caught_up(state: State, digest: str) -> State:
    """The source holds what is in force."""
    hold = state.hold
    promoted = hold is not None and hold.kind == "promotion" and hold.digest == digest
    return replace(state, waiting="", hold=None if promoted else hold)


def put_back(state: State, kept: Kept, hold: Hold | None, past: Past) -> State:
    """An operator puts `kept` in force, or ends a hold (None) and leaves it there."""
    # The leave of an order ends with what it put in force.
    former = state.hold.digest if state.hold is not None and hold is not None else ""
    permits = {digest: permit for digest, permit in state.permits.items() if digest != former}
    waiting = state.waiting
    mark = state.marks.get(kept.name)
    if mark is not None and kept.sequence < mark.sequence and past.operator is not None:
        by = past.operator
        permits = {**permits, kept.digest: Permit(operator=by.name, uid=by.uid, reason=by.reason, given=past.at)}
    if hold is not None:
        waiting = waiting or state.active
    return replace(
        state,
        active=kept.id,
        marks={**state.marks, kept.name: _higher(mark, kept)},
        permits=permits,
        hold=hold,
        waiting="" if waiting == kept.id else waiting,
        history=_with(state, past),
    )


def _with(state: State, past: Past) -> tuple[Past, ...]:
    return (*state.history, past)[-MAX_HISTORY:]


def _higher(mark: Mark | None, kept: Kept) -> Mark:
    """Marks only rise: an older bundle that was permitted leaves the mark where it is."""
    if mark is not None and mark.sequence > kept.sequence:
        return mark
    return Mark(kept.sequence, kept.digest)
