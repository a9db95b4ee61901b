"""Orders of the control socket about bundles → the source of bundles, the journal, the metrics and the log."""

import logging
from datetime import UTC, datetime
from http import HTTPStatus

from extauthz.admin import (
    BundleOrdered,
    Changes,
    Happened,
    OrderError,
    Pin,
    Promote,
    Revision,
    RevisionPage,
    Rollback,
    Unpin,
)
from extauthz.app.bundles import Note
from extauthz.app.operators import operator_of
from extauthz.bundle.difference import Difference
from extauthz.journal import LifecycleKind
from extauthz.sources.bundles import BundleOrders, Kept, Ordered, OrderRefusedError, Outcome, Past, State
from extauthz.sources.bundles.ordered import Fault
from extauthz.telemetry import Metrics

log = logging.getLogger("extauthz.app")

_STATUS: dict[Fault, HTTPStatus] = {
    "unknown": HTTPStatus.NOT_FOUND,
    "refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "disk": HTTPStatus.SERVICE_UNAVAILABLE,
}
_EVENTS: dict[str, LifecycleKind] = {
    "rollback": "bundle_rolled_back",
    "pin": "bundle_pinned",
    "unpin": "bundle_unpinned",
    "promote": "bundle_promoted",
}


class ControlledBundles:
    """Carries out what `extauthz ctl` asks. Implements `admin.BundleOrders`."""

    def __init__(self, orders: BundleOrders) -> None:
        self._orders = orders

    def rollback(self, order: Rollback, uid: int) -> BundleOrdered:
        """Go back to a kept revision."""
        operator = operator_of(order.operator, uid, order.reason)
        try:
            done = self._orders.rollback(order.revision, order.steps, operator, dry_run=order.dry_run)
        except OrderRefusedError as error:
            raise _refused(error) from error
        return self._done(done)

    def pin(self, order: Pin, uid: int) -> BundleOrdered:
        """Put a revision in force and keep it there."""
        operator = operator_of(order.operator, uid, order.reason)
        try:
            done = self._orders.pin(order.revision, operator, dry_run=order.dry_run)
        except OrderRefusedError as error:
            raise _refused(error) from error
        return self._done(done)

    def promote(self, order: Promote, uid: int) -> BundleOrdered:
        """Put the candidate in force."""
        operator = operator_of(order.operator, uid, order.reason)
        try:
            return self._done(self._orders.promote(operator, force=order.force, dry_run=order.dry_run))
        except OrderRefusedError as error:
            raise _refused(error) from error

    def unpin(self, order: Unpin, uid: int) -> BundleOrdered:
        """Follow the source again."""
        try:
            return self._done(self._orders.unpin(operator_of(order.operator, uid, order.reason)))
        except OrderRefusedError as error:
            raise _refused(error) from error

    def revisions(self, limit: int) -> RevisionPage:
        """What is kept, and what happened."""
        try:
            state, kept = self._orders.kept()
        except OrderRefusedError as error:
            raise _refused(error) from error
        rows = tuple(self._revision(each, state) for each in kept)
        return RevisionPage(
            held=state.hold.kind if state.hold else "",
            waiting=next((each.revision for each in kept if each.id == state.waiting), ""),
            revisions=rows[:limit],
            history=tuple(_happened(past) for past in state.history[::-1][:limit]),
        )

    def _done(self, outcome: Outcome) -> BundleOrdered:
        state, _ = self._orders.kept()
        ordered = outcome.ordered
        return BundleOrdered(
            order=ordered.kind,
            dry_run=outcome.dry_run,
            before=self._revision(ordered.before, state) if ordered.before else None,
            after=self._revision(ordered.after, state) if ordered.after else None,
            waiting=outcome.waiting,
            basis=ordered.basis,
            forced=ordered.forced,
            overridden=ordered.overridden,
            changes=_changes(outcome.difference),
            warning=outcome.note,
        )

    def _revision(self, kept: Kept, state: State) -> Revision:
        return Revision(
            id=kept.id,
            revision=kept.revision,
            state=_state(kept, state),
            name=kept.name,
            sequence=kept.sequence,
            digest=kept.digest,
            signed_by=kept.key,
            key=self._orders.key_state(kept),
            source=kept.source,
            activated=_moment(kept.activated) if kept.activated else None,
        )


def record_order(ordered: Ordered, note: Note, metrics: Metrics) -> None:
    """Put it on record: who, what, why, and whether it was done. Comes before the effect."""
    operator = ordered.operator
    detail = {
        "order": ordered.kind,
        "result": "refused" if ordered.why_not else "done",
        **_named("from", ordered.before),
        **_named("to", ordered.after),
        "operator": operator.name,
        "uid": str(operator.uid),
        "account": operator.account,
        "reason": operator.reason,
        "why": ordered.why_not,
        "basis": ordered.basis,
        "forced": "true" if ordered.forced else "",
        "overridden": "; ".join(ordered.overridden) if ordered.forced else "",
    }
    if ordered.after is not None:
        detail |= {"revision": ordered.after.revision, "digest": ordered.after.digest}
    kind = "bundle_order_refused" if ordered.why_not else _EVENTS[ordered.kind]
    note(kind, {name: text for name, text in detail.items() if text})
    if not ordered.told:  # once a server
        metrics.bundle_order(ordered.kind, detail["result"])
    extra = {name: detail[name] for name in ("order", "from", "to", "operator", "why") if detail.get(name)}
    log.warning("%s", kind.replace("_", " "), extra=extra)


def _refused(error: OrderRefusedError) -> OrderError:
    return OrderError(_STATUS[error.fault], str(error))


def _state(kept: Kept, state: State) -> str:
    if kept.id == state.active:
        by = state.hold.kind if state.hold is not None and state.hold.id == kept.id else ""
        return {"pin": "pinned", "rollback": "rolled back to", "promotion": "promoted"}.get(by, "live")
    return "waiting" if kept.id == state.waiting else "kept"


def _happened(past: Past) -> Happened:
    by = past.operator
    return Happened(
        at=_moment(past.at),
        what=past.what,
        revision=past.revision,
        id=past.id,
        before=past.before,
        operator=by.name if by else "",
        uid=by.uid if by else None,
        account=by.account if by else "",
        reason=by.reason if by else "",
        forced=past.forced,
    )


def _changes(found: Difference | None) -> Changes | None:
    if found is None:
        return None
    return Changes(**{name: getattr(found, name) for name in Difference.__struct_fields__})


def _named(word: str, kept: Kept | None) -> dict[str, str]:
    return {} if kept is None else {word: kept.revision, f"{word}_digest": kept.digest}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
