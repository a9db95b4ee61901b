"""What was revoked: tokens before their end, and callers as a whole, wherever their tokens are cached.

Rule 1: an entry never matches by a name alone that another issuer could give (JWT-21); a subject needs its issuer.
Rule 2: the cost of a lookup does not grow with the number of entries.
Rule 3: what a token does not say counts against it: without `iat` it was issued before any moment.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, Literal, get_args

from msgspec import Struct

from extauthz.guards.refusal import Refusal
from extauthz.model.ports import Revoked, RevokedBy
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject

Selector = Literal["tokenId", "session", "keyId", "subject", "client", "service", "tenant"]
SELECTORS: Final[tuple[Selector, ...]] = get_args(Selector)
NEVER: Final = 1 << 62  # seconds since the epoch, beyond every date that can be written
MAX_VALUE: Final = 512  # characters; ids and SPIFFE IDs are shorter, and every entry stays in memory

_OF_TOKENS = frozenset({"tokenId", "session", "keyId"})  # the client may come back with a new token
_ANYWHERE = frozenset({"tenant", "service"})  # belong to no issuer
_UNDATED = frozenset({"tokenId", "service"})  # one token, or no token at all


class Entry(Struct, frozen=True, gc=False, kw_only=True):
    """One thing that is revoked. Times are seconds since the epoch."""

    selector: Selector
    value: str
    issuer: str = ""  # exact `iss`; "": whoever issued it
    place: str = ""  # where the entry stands, for people
    issued_before: int = NEVER  # only tokens issued before
    until: int = NEVER  # without effect from then on


def wrong_with(entry: Entry) -> tuple[str, str] | None:
    """The field at fault and what would be right, for an entry that could not mean what it says."""
    selector, value = entry.selector, entry.value
    if not 0 < len(value) <= MAX_VALUE or not value.isprintable():
        return selector, f"must be 1 to {MAX_VALUE} printable characters"
    if selector == "service" and not value.startswith("spiffe://"):
        return selector, f"`{value}` must be a SPIFFE ID, e.g. `spiffe://cluster.local/ns/web/sa/front`"
    if selector == "subject" and not entry.issuer:
        return "issuer", "missing: a subject is unique within its issuer only"
    if selector in _ANYWHERE and entry.issuer:
        return "issuer", f"a {selector} belongs to no issuer: leave it out"
    if selector in _UNDATED and entry.issued_before != NEVER:
        why = "names one token" if selector == "tokenId" else "is known by its certificate, not by a token"
        return "issuedBefore", f"`{selector}` {why}: leave it out"
    return None


class RevocationList:
    """Entries by what they name. Immutable; a change makes a new list."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Sort the entries into tables; about 1 µs and 390 bytes each."""
        tables: dict[Selector, dict[tuple[str, str], tuple[Entry, ...]]] = {}
        several: dict[tuple[Selector, tuple[str, str]], list[Entry]] = {}
        ends = []
        for entry in entries:
            key = (entry.issuer, entry.value)
            first = tables.setdefault(entry.selector, {}).setdefault(key, (entry,))[0]
            if first is not entry:
                several.setdefault((entry.selector, key), [first]).append(entry)
            ends.append(entry.until)
        for (selector, key), found in several.items():
            tables[selector][key] = _staircase(found)
        self._tables: Final = tables
        self._ends: Final = array("q", sorted(ends))

    def __len__(self) -> int:
        """How many entries there are, also those that have ended."""
        return len(self._ends)

    def in_force(self, now: int) -> int:
        """How many entries have not ended."""
        return len(self._ends) - bisect_right(self._ends, now)

    def find(self, subject: Subject, tenant: str, now: int, services: tuple[str, ...] = ()) -> RevokedBy | None:
        """The entry that revokes this caller, its tenant or a service it comes through; None when there is none."""
        if not self._tables:
            return None
        if subject.issuer:
            actor = subject.actors[0] if subject.actors else ""  # who is revoked may not act for others either
            for selector, value in (
                _pair("tokenId", subject.token_id),
                _pair("session", subject.session),
                _pair("keyId", subject.key_id),
                _pair("subject", subject.id),
                _pair("subject", actor),
                _pair("client", subject.client),
            ):
                if found := self._find(selector, value, (subject.issuer, ""), subject, now):
                    return found
        for service in services:
            if found := self._find("service", service, ("",), subject, now):
                return found
        return self._find("tenant", tenant, ("",), subject, now)

    def _find(
        self, selector: Selector, value: str, issuers: tuple[str, ...], subject: Subject, now: int
    ) -> RevokedBy | None:
        table = self._tables.get(selector)
        if table is None or not value:
            return None
        for issuer in issuers:
            entries = table.get((issuer, value))
            if entries is None:
                continue
            # The first that has not ended reaches furthest of all that have not.
            index = bisect_right(entries, now, key=_until)
            if index < len(entries) and _reaches(entries[index], subject):
                entry = entries[index]
                whole = selector not in _OF_TOKENS and entry.issued_before == NEVER
                return RevokedBy(f"`{selector}` of {entry.place}", whole)
        return None


NO_REVOCATIONS: Final = RevocationList()


def refuse_revoked(
    lists: tuple[Revoked, ...], subject: Subject, tenant: str, now: int, services: tuple[str, ...] = ()
) -> Refusal | None:
    """JWT-13: no for a token that was revoked, and for everything of a caller, client, service or tenant that was."""
    for revoked in lists:
        if found := revoked.find(subject, tenant, now, services):
            if found.whole:
                return Refusal(Reason.EMERGENCY_DENIED, "JWT-13", f"denied by {found.place}")
            return Refusal(Reason.TOKEN_REVOKED, "JWT-13", f"revoked by {found.place}")
    return None


def _pair(selector: Selector, value: str) -> tuple[Selector, str]:
    return selector, value


def _until(entry: Entry) -> int:
    return entry.until


def _reaches(entry: Entry, subject: Subject) -> bool:
    return entry.issued_before == NEVER or (bool(subject.issuer) and subject.issued_at < entry.issued_before)


def _staircase(entries: list[Entry]) -> tuple[Entry, ...]:
    """Of entries for one thing those that matter: each ends later than the one before it and reaches less far."""
    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.until, entry.issued_before), reverse=True):
        if not kept or entry.issued_before > kept[-1].issued_before:
            kept.append(entry)
    return tuple(reversed(kept))
