"""What is denied whatever policies say: revoked tokens and callers, and what was frozen, wherever tokens are cached.

A revocation and a freeze are one kind of entry. The freeze is the broader word: it also names routes, or everything,
and it always ends.

Rule: the cost of a lookup does not grow with the number of entries.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from extauthz.guards.entries import Entry, Frozen, Queue, Selector, first_in_force, queue
from extauthz.guards.frozen_routes import FrozenRoutes
from extauthz.model.moment import Moment
from extauthz.model.subject import ANONYMOUS, Subject

_Key = tuple[str, str]  # issuer, value


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
        self._tables: Final = tables
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
        revoked = None
        for found in self._each(subject, tenant, moment, services) if self._tables else ():
            if found.emergency:
                return found
            revoked = revoked or found
        return revoked

    def _each(self, subject: Subject, tenant: str, moment: Moment, services: tuple[str, ...]) -> Iterator[Entry]:
        tables = self._tables
        for selector, value, issuers in _names(subject, tenant, services):
            table = tables.get(selector)
            if table is None or not value:
                continue
            for issuer in issuers:
                entries = table.get((issuer, value))
                if entries is not None and (found := first_in_force(entries, moment, subject)):
                    yield found


NO_REVOCATIONS: Final = RevocationList()


def _names(subject: Subject, tenant: str, services: tuple[str, ...]) -> Iterator[tuple[Selector, str, tuple[str, ...]]]:
    """Everything by which an entry could name the caller, and whose name it may be."""
    if subject.issuer:
        issuers = (subject.issuer, "")
        yield "tokenId", subject.token_id, issuers
        yield "session", subject.session, issuers
        yield "keyId", subject.key_id, issuers
        yield "subject", subject.id, issuers
        if subject.actors:  # who is denied may not act for others either
            yield "subject", subject.actors[0], issuers
        yield "client", subject.client, issuers
    for service in services:
        yield "service", service, ("",)
    yield "tenant", tenant, ("",)
