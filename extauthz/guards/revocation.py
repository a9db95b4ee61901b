"""What is denied whatever policies say: revoked tokens and callers, and what was frozen, wherever tokens are cached.

A revocation and a freeze are one kind of entry. The freeze is the broader word: it also names routes, or everything,
and it always ends.

Rule: the cost of a lookup does not grow with the number of entries.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Final

from extauthz.guards.entries import Entry, Frozen, Queue, Selector, first_in_force, queue
from extauthz.guards.frozen_routes import FrozenRoutes
from extauthz.model.moment import Moment
from extauthz.model.subject import ANONYMOUS, Subject

_Key = tuple[str, str]  # issuer, value


def _actor(subject: Subject) -> str:
    """Who is denied may not act for others either (RFC 8693 section 4.1: the outermost actor calls)."""
    return subject.actors[0] if subject.actors else ""


_OWN: Final[tuple[tuple[Selector, Callable[[Subject], str]], ...]] = (
    ("tokenId", attrgetter("token_id")),
    ("session", attrgetter("session")),
    ("keyId", attrgetter("key_id")),
    ("subject", attrgetter("id")),
    ("subject", _actor),
    ("client", attrgetter("client")),
)


class RevocationList:
    """Entries by what they name. Immutable; a change makes a new list."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Sort the entries into tables; about 1 µs and 480 bytes each."""
        tables: dict[Frozen, dict[_Key, Queue]] = {}
        several: dict[tuple[Frozen, _Key], list[Entry]] = {}
        routes = []
        ends, size = [], 0
        for entry in entries:
            size += 1
            if not entry.emergency:
                ends.append(entry.until)
            if entry.route is not None:
                routes.append(entry)
                continue
            key = (entry.issuer, entry.value)
            first = tables.setdefault(entry.selector, {}).setdefault(key, ((entry,),))[0][0]
            if first is not entry:
                several.setdefault((entry.selector, key), [first]).append(entry)
        for (selector, key), found in several.items():
            tables[selector][key] = queue(found)
        self._everything: Final = tables.pop("everything", {}).get(("", ""), ())
        # What there is nothing of is not looked for.
        self._own: Final = [(tables[selector], read) for selector, read in _OWN if selector in tables]
        self._services: Final = tables.get("service", {})
        self._tenants: Final = tables.get("tenant", {})
        self._routes: Final = FrozenRoutes(routes)
        self._ends: Final = array("q", sorted(ends))
        self._size: Final = size

    def __len__(self) -> int:
        """How many entries there are, also those that have ended."""
        return self._size

    def in_force(self, now: int) -> int:
        """How many revocations have not ended; freezes are counted apart."""
        return len(self._ends) - bisect_right(self._ends, now)

    def find_everything(self, moment: Moment) -> Entry | None:
        """The freeze of everything, if there is one."""
        return first_in_force(self._everything, moment, ANONYMOUS) if self._everything else None

    def find_route(self, host: str, folded: tuple[str, ...], method: str, moment: Moment) -> Entry | None:
        """The entry that freezes the route of a request; `folded` are its case-folded segments."""
        return self._routes.find(host, folded, method, moment) if self._routes else None

    def find(self, subject: Subject, tenant: str, moment: Moment, services: tuple[str, ...] = ()) -> Entry | None:
        """The entry that denies this caller, its tenant or a service it comes through; None when there is none.

        When several do, a freeze comes before a revocation.
        """
        listed = self._listed(subject, tenant, services)
        revoked = None
        for entries in listed:
            found = first_in_force(entries, moment, subject)
            if found is not None and found.emergency:
                return found
            revoked = revoked or found
        return revoked

    def _listed(self, subject: Subject, tenant: str, services: tuple[str, ...]) -> list[Queue]:
        """What is listed under any name of the caller, in force or not; nothing nearly always."""
        found: list[Queue] = []
        issuer = subject.issuer
        if issuer:
            for table, read in self._own:
                value = read(subject)
                if value:
                    found += [table[key] for key in ((issuer, value), ("", value)) if key in table]
        if self._services:
            found += [self._services["", service] for service in services if ("", service) in self._services]
        if self._tenants and ("", tenant) in self._tenants:
            found.append(self._tenants["", tenant])
        return found


NO_REVOCATIONS: Final = RevocationList()
