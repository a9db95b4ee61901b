"""One thing that is denied, by a revocation or a freeze, and which of several for the same thing is in force.

Rule 1: an entry never matches by a name alone that another issuer could give (JWT-21); a subject needs its issuer.
Rule 2: what a token does not say counts against it: without `iat` it was issued before any moment.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, Literal, get_args

from msgspec import Struct

from extauthz.model.hosts import HostPattern
from extauthz.model.moment import Moment
from extauthz.model.paths import PathPattern
from extauthz.model.subject import Subject

Selector = Literal["tokenId", "session", "keyId", "subject", "client", "service", "tenant"]
SELECTORS: Final[tuple[Selector, ...]] = get_args(Selector)
Frozen = Literal[Selector, "route", "everything"]
NEVER: Final = 1 << 62  # seconds since the epoch, beyond every date that can be written
MAX_VALUE: Final = 512  # characters; ids and SPIFFE IDs are shorter, and every entry stays in memory

OF_TOKENS: Final = frozenset({"tokenId", "session", "keyId"})  # the client may come back with a new token
_ANYWHERE = frozenset({"tenant", "service", "route", "everything"})  # belong to no issuer
_UNDATED = frozenset({"tokenId", "service", "route", "everything"})  # one token, or no token at all


class Route(Struct, frozen=True):
    """The requests that a frozen route covers. `path` is case-folded: what denies covers every case (T-11)."""

    host: HostPattern
    path: PathPattern
    methods: tuple[str, ...] = ()  # none: all


class Entry(Struct, frozen=True, gc=False, kw_only=True):
    """One thing that is denied. Times are seconds since the epoch."""

    selector: Frozen
    value: str  # what is named; of a route its text, of everything ""
    issuer: str = ""  # exact `iss`; "": whoever issued it
    place: str = ""  # where the entry stands, for people
    issued_before: int = NEVER  # only tokens issued before
    begin: int = 0  # without effect before
    until: int = NEVER  # without effect from then on
    emergency: str = ""  # of a freeze: its id, by which its uses are recorded; "" of a revocation
    route: Route | None = None

    @property
    def whole(self) -> bool:
        """Everything of the caller is denied, not only tokens that a new one could replace."""
        return bool(self.emergency) or (self.selector not in OF_TOKENS and self.issued_before == NEVER)

    def reaches(self, subject: Subject) -> bool:
        """Whether the token was issued early enough."""
        return self.issued_before == NEVER or (bool(subject.issuer) and subject.issued_at < self.issued_before)


Queue = tuple[tuple[Entry, ...], ...]  # of entries for one thing those that matter; see `queue`


def wrong_with(entry: Entry) -> tuple[str, str] | None:
    """The field at fault and what would be right, for an entry that could not mean what it says."""
    selector, value = entry.selector, entry.value
    if selector != "everything" and not (0 < len(value) <= MAX_VALUE and value.isprintable()):
        return selector, f"must be 1 to {MAX_VALUE} printable characters"
    if selector == "service" and not value.startswith("spiffe://"):
        return selector, f"`{value}` must be a SPIFFE ID, e.g. `spiffe://cluster.local/ns/web/sa/front`"
    if selector == "subject" and not entry.issuer:
        return "issuer", "missing: a subject is unique within its issuer only"
    if selector in _ANYWHERE and entry.issuer:
        what = selector if selector == "everything" else f"a {selector}"
        return "issuer", f"{what} belongs to no issuer: leave it out"
    if selector in _UNDATED and entry.issued_before != NEVER:
        why = "names one token" if selector == "tokenId" else "is known by its certificate, not by a token"
        return "issuedBefore", f"`{selector}` {why}: leave it out"
    return None


def queue(entries: Iterable[Entry]) -> Queue:
    """Of entries for one thing those that matter: freezes first, and apart those that begin at different times.

    In each group every entry ends later than the one before it and reaches less far.
    """
    groups: dict[tuple[bool, int], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((not entry.emergency, entry.begin), []).append(entry)
    return tuple(_staircase(groups[key]) for key in sorted(groups))


def first_in_force(entries: Queue, moment: Moment, subject: Subject) -> Entry | None:
    """The entry that denies now; None when all have ended, have not begun or do not reach the token."""
    for group in entries:
        if moment.latest < group[0].begin:
            continue
        # The first that has not ended reaches furthest of all that have not.
        index = bisect_right(group, moment.earliest, key=_until) if group[0].until <= moment.earliest else 0
        if index < len(group) and group[index].reaches(subject):
            return group[index]
    return None


def _until(entry: Entry) -> int:
    return entry.until


def _staircase(entries: list[Entry]) -> tuple[Entry, ...]:
    if len(entries) == 1:
        return tuple(entries)
    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.until, entry.issued_before), reverse=True):
        if not kept or entry.issued_before > kept[-1].issued_before:
            kept.append(entry)
    return tuple(reversed(kept))
