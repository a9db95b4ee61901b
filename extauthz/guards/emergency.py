"""What is frozen, revoked or opened now, by the bundle and by operators at run time.

Rule 1: a Check that meets no entry at all pays for one look, see `in_force`.
Rule 2: what denies is asked first and wins; what opens is asked last and lifts nothing but a policy's no.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from msgspec import Struct

from extauthz.guards.break_glass import Glass
from extauthz.guards.entries import Entry
from extauthz.guards.refusal import Refusal
from extauthz.guards.revocation import NO_REVOCATIONS, RevocationList
from extauthz.guards.spans import Kind
from extauthz.model.moment import Moment, exactly
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Request
from extauthz.model.subject import ANONYMOUS, Subject


class Summary(Struct, frozen=True):
    """An emergency as people see it listed. Times are seconds since the epoch."""

    id: str
    kind: Kind
    what: str  # may name a subject: for operators, not for logs and journals
    begin: int
    end: int
    ticket: str
    approvers: tuple[str, ...] = ()

    def is_in_force(self, now: int) -> bool:
        """Whether it has begun and not ended."""
        return self.begin <= now < self.end


class Listed(Struct, frozen=True):
    """Everything that one place lists: a bundle, or the operators of a server."""

    denied: RevocationList = NO_REVOCATIONS
    opened: tuple[Glass, ...] = ()
    summaries: tuple[Summary, ...] = ()  # of all freezes and break glasses in it; revocations are none
    is_empty: bool = True  # nothing here: not even what has ended or has not begun


NOTHING_LISTED: Final = Listed()


def listed(entries: Iterable[Entry], opened: tuple[Glass, ...] = (), summaries: tuple[Summary, ...] = ()) -> Listed:
    """What a place lists; the one way to make it."""
    denied = RevocationList(entries)
    return Listed(denied, opened, summaries, is_empty=False) if len(denied) or opened else NOTHING_LISTED


class Orders(Protocol):
    """What operators order while the server runs. Answers from memory, at once, and never raises."""

    @property
    def listed(self) -> Listed:
        """What is ordered now."""
        ...

    def moment(self, now: int) -> Moment:
        """What time it may be when the clock says `now`, seconds since the epoch."""
        ...


class AsListed(Struct, frozen=True):
    """Without a running server: what is listed stays so, nothing by default, and the clock is believed."""

    listed: Listed = NOTHING_LISTED

    def moment(self, now: int) -> Moment:
        """What the clock says."""
        return exactly(now)


class Emergencies(Struct, frozen=True):
    """All lists that hold anything, as of one moment."""

    lists: tuple[Listed, ...]
    moment: Moment

    def refuse_route(self, request: Request) -> Refusal | None:
        """No for a frozen route, or when everything is frozen; it does not matter who asks."""
        for each in self.lists:
            found = each.denied.find_everything(self.moment) or each.denied.find_route(
                request.host, request.folded, request.method, self.moment
            )
            if found:
                return _refuse(found)
        return None

    def refuse_caller(self, subject: Subject, tenant: str, services: tuple[str, ...] = ()) -> Refusal | None:
        """JWT-13: no for a token, a caller, client, service or tenant that is revoked or frozen; freezes first."""
        revoked = None
        for each in self.lists:
            found = each.denied.find(subject, tenant, self.moment, services)
            if found is not None and found.emergency:
                return _refuse(found)
            revoked = revoked or found
        return _refuse(revoked) if revoked else None

    def refuse_tenant(self, tenant: str) -> Refusal | None:
        """No when the tenant that the request is about is closed, whoever asks."""
        return self.refuse_caller(ANONYMOUS, tenant)

    def refuse_connection(self, connection: Connection) -> Refusal | None:
        """No for a connection without HTTP: everything, or its service. Routes say nothing about it."""
        for each in self.lists:
            if found := each.denied.find_everything(self.moment):
                return _refuse(found)
        return self.refuse_caller(ANONYMOUS, "", (connection.source.principal,))

    def find_opened(self, request: Request, subject: Subject, tenant: str) -> Glass | None:
        """The break glass by which the request may pass, a drill only if there is no other."""
        drill = None
        for each in self.lists:
            for glass in each.opened:
                if (drill is None or not glass.drill) and glass.opens(request, subject, tenant, self.moment):
                    if not glass.drill:
                        return glass
                    drill = glass
        return drill


def opened_by(found: Listed, keys: frozenset[str]) -> Listed:
    """The list without break glass that somebody else than the holders of these keys approved."""
    kept = tuple(glass for glass in found.opened if keys.issuperset(glass.approver_keys))
    if len(kept) == len(found.opened):
        return found
    gone = {glass.id for glass in found.opened} - {glass.id for glass in kept}
    summaries = tuple(summary for summary in found.summaries if summary.id not in gone)
    return Listed(found.denied, kept, summaries, is_empty=not len(found.denied) and not kept)


def in_force(bundle: Listed, orders: Orders, now: int) -> Emergencies | None:
    """What a Check at `now` must heed; None when nothing is listed anywhere."""
    ordered = orders.listed
    if bundle.is_empty and ordered.is_empty:
        return None
    return Emergencies(tuple(each for each in (ordered, bundle) if not each.is_empty), orders.moment(now))


def _refuse(entry: Entry) -> Refusal:
    if entry.whole:
        check = "" if entry.selector in {"route", "everything"} else "JWT-13"
        detail = f"denied by `{entry.selector}` of {entry.place}"
        return Refusal(Reason.EMERGENCY_DENIED, check, detail, emergency=entry.emergency)
    return Refusal(Reason.TOKEN_REVOKED, "JWT-13", f"revoked by `{entry.selector}` of {entry.place}")
