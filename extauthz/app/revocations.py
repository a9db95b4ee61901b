"""Orders of the control socket → the run-time list, with every change on record."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

from extauthz.admin import OrderError, Restore, Revoke, Revoked, RevokedPage
from extauthz.bundle.revocations import ceiling, issuer_names, named_things, wrong_issuer
from extauthz.guards import NEVER, SELECTORS, Entry
from extauthz.journal import Journal, LifecycleKind
from extauthz.model.problems import suggestion
from extauthz.sources import (
    Change,
    Live,
    Operator,
    RevocationError,
    RevocationFileError,
    RuntimeEntry,
    RuntimeRevocations,
    UnknownEntryError,
)

log = logging.getLogger("extauthz.app")

_EVENTS: dict[str, LifecycleKind] = {
    "added": "revocation_added",
    "removed": "revocation_removed",
    "expired": "revocation_expired",
}


class ControlledRevocations:
    """Carries out what `extauthz ctl` asks. Implements `admin.Orders`."""

    def __init__(self, listed: RuntimeRevocations, live: Live, clock: Callable[[], float]) -> None:
        self._listed, self._live, self._clock = listed, live, clock

    def revoke(self, order: Revoke, uid: int) -> Revoked:
        """Put an entry in force."""
        try:
            change = self._listed.add(self._read(order), Operator(order.operator, uid, order.reason))
        except RevocationError as error:
            raise OrderError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return _shown(change.entry, change.problem)

    def restore(self, entry_id: str, order: Restore, uid: int) -> Revoked:
        """End an entry."""
        try:
            change = self._listed.remove(entry_id, Operator(order.operator, uid, order.reason))
        except UnknownEntryError as error:
            raise OrderError(HTTPStatus.NOT_FOUND, str(error)) from error
        except RevocationError as error:
            raise OrderError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except RevocationFileError as error:
            raise OrderError(HTTPStatus.SERVICE_UNAVAILABLE, f"still revoked: {error}") from error
        return _shown(change.entry)

    def revoked(self, limit: int) -> RevokedPage:
        """The newest entries in force."""
        found = self._listed.entries()
        return RevokedPage(
            total=len(found),
            in_bundle=self.counts()["bundle"],
            entries=tuple(_shown(entry) for entry in found[:limit]),
        )

    def counts(self) -> dict[str, int]:
        """Entries in force, by where they stand."""
        world = self._live.current
        in_bundle = world.revocations.in_force(int(self._clock())) if world is not None else 0
        return {"bundle": in_bundle, "runtime": self._listed.in_force()}

    def _read(self, order: Revoke) -> Entry:
        """What the order names, known to the bundle in force."""
        named = [(selector, value) for selector, value in named_things(order) if value]
        if len(named) != 1:
            names = ", ".join(f"`{selector}`" for selector in SELECTORS)
            raise OrderError(HTTPStatus.UNPROCESSABLE_ENTITY, f"an order names exactly one of {names}")
        selector, value = named[0]
        issuer = order.issuer
        if issuer:
            names_of = issuer_names(self._live.issuers)
            if wrong := wrong_issuer(issuer, names_of):
                raise OrderError(HTTPStatus.UNPROCESSABLE_ENTITY, f"issuer: {wrong}")
            issuer = names_of[issuer]
        world = self._live.current
        if selector == "tenant" and world is not None and len(world.tenants) and value not in world.tenants:
            message = f"tenant: unknown tenant `{value}`{suggestion(value, list(world.tenants))}"
            raise OrderError(HTTPStatus.UNPROCESSABLE_ENTITY, message)
        return Entry(
            selector=selector,
            value=value,
            issuer=issuer,
            issued_before=ceiling(order.issued_before),
            until=ceiling(order.until),
        )


def record(change: Change, journal: Journal) -> None:
    """Note a change: who, what, why; a subject by its pseudonym alone."""
    entry, operator = change.entry, change.operator
    by_name = entry.selector != "subject"
    detail = {
        "id": entry.id,
        "selector": entry.selector,
        "value": entry.value if by_name else journal.pseudonym(entry.issuer, entry.value),
        "issuer": entry.issuer,
        "issued_before": _text(entry.issued_before),
        "until": _text(entry.until),
        "operator": operator.name if operator else "",
        "uid": str(operator.uid) if operator else "",
        "reason": operator.reason if operator else "",
        "problem": change.problem,
    }
    journal.event(_EVENTS[change.kind], {name: text for name, text in detail.items() if text})
    log.warning("revocation %s", change.kind, extra={"id": entry.id, "selector": entry.selector})
    if change.problem:
        log.error("revocation `%s` is in force but will not survive a restart: %s", entry.id, change.problem)


def _shown(entry: RuntimeEntry, warning: str = "") -> Revoked:
    return Revoked(
        id=entry.id,
        selector=entry.selector,
        value=entry.value,
        issuer=entry.issuer,
        issued_before=_moment(entry.issued_before),
        until=_moment(entry.until),
        reason=entry.reason,
        operator=entry.operator,
        uid=entry.uid,
        created=datetime.fromtimestamp(entry.created, UTC),
        warning=warning and f"in force now, but it will not survive a restart: {warning}",
    )


def _moment(seconds: int) -> datetime | None:
    return None if seconds == NEVER else datetime.fromtimestamp(seconds, UTC)


def _text(seconds: int) -> str:
    moment = _moment(seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""
