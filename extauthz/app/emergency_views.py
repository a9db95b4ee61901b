"""What is revoked, frozen and opened, in the words of the control socket."""

from datetime import UTC, datetime

from msgspec.structs import replace

from extauthz.admin import Emergency, Revoked
from extauthz.bundle.emergencies import glass_summary
from extauthz.guards import NEVER, Summary
from extauthz.sources import Change, RuntimeEntry, RuntimeGlass

_SHOWN_STEP = 5.0  # seconds; network time corrects less than that now and then


def revoked(entry: RuntimeEntry | RuntimeGlass, problem: str = "") -> Revoked:
    """A revocation; `problem`: why it was not written down."""
    if isinstance(entry, RuntimeGlass):
        raise TypeError(entry.id)
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
        account=entry.account,
        created=_time(entry.created),
        warning=problem and f"in force now, but it will not survive a restart: {problem}",
    )


def ordered(
    entry: RuntimeEntry | RuntimeGlass, now: int, approvers: tuple[str, ...] = (), *, approved: bool = True
) -> Emergency:
    """A freeze or a break glass of an operator."""
    row = of_bundle(summary(entry, approvers), now)
    return replace(
        row,
        source="runtime",
        state=row.state if approved else "not approved",
        operator=entry.operator,
        uid=entry.uid,
        account=entry.account,
        created=_time(entry.created),
    )


def changed(change: Change, now: int, step: float) -> Emergency:
    """What was just ordered or ended; `step` as `SteadyClock.step`."""
    row = ordered(change.entry, now, change.approvers)
    if change.kind == "removed":
        what = "ended now, but a restart would open it again"
        return replace(row, state="ended", warning=f"{what}: {change.problem}" if change.problem else "")
    what = "in force now, but it will not survive a restart"
    return replace(row, warning=f"{what}: {change.problem}" if change.problem else clock_warning(step))


def of_bundle(found: Summary, now: int) -> Emergency:
    """An Emergency document."""
    state = "in force" if found.is_in_force(now) else "not yet" if now < found.begin else "ended"
    return Emergency(
        id=found.id,
        kind=found.kind,
        source="bundle",
        state=state,
        what=found.what,
        begin=_time(found.begin),
        end=_time(found.end),
        ticket=found.ticket,
        approvers=found.approvers,
    )


def summary(entry: RuntimeEntry | RuntimeGlass, approvers: tuple[str, ...] = ()) -> Summary:
    """What people read of it."""
    return glass_summary(entry.request, approvers) if isinstance(entry, RuntimeGlass) else entry.summary()


def clock_warning(step: float) -> str:
    """What a clock that somebody set does to emergencies; "" when nobody has."""
    if abs(step) < _SHOWN_STEP:
        return ""
    how = f"set {'forward' if step > 0 else 'back'} by {abs(step):.0f} s since the server started"
    return f"the clock was {how}: freezes may last longer and break glass shorter by as much, until it starts anew"


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: int) -> datetime | None:
    return None if seconds == NEVER else _time(seconds)
