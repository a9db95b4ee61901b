"""What operators revoke, freeze and open while the server runs, beside the bundle (JWT-13).

Rule 1: readers see one immutable list, replaced whole by one assignment; writers take turns.
Rule 2: what denies is in force before it is on disk, and on disk without it before it ends; what opens the other way
        round: when the disk fails, more is denied rather than less.
Rule 3: an end is where the decision's own clock says; what denies lasts until every clock says so, what opens until
        one does.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from extauthz.bundle.approvals import (
    ApprovalSpec,
    Approvers,
    ApproverSpec,
    GlassRequest,
    approved,
    compile_approvers,
)
from extauthz.bundle.approver_keys import read_approver_key
from extauthz.bundle.emergencies import compile_glass, freeze_kind, glass_summary
from extauthz.bundle.finding import dotted
from extauthz.bundle.revocations import Known
from extauthz.bundle.trust import key_id, write_public_key
from extauthz.guards import NOTHING_LISTED, Entry, Glass, Listed, RouteSpec, TenantRegistry, listed, wrong_with
from extauthz.guards.spans import wrong_span
from extauthz.model.moment import Moment
from extauthz.model.problems import Problem
from extauthz.sources.emergency_file import EmergencyFile, EmergencyFileError, Found, Kept, RuntimeEntry, RuntimeGlass

MAX_REASON = 500  # characters
MAX_OPERATOR = 100
MAX_OPENED: Final = 64  # break glasses, those that were ended before their time among them
_UNJUDGED: Final = Known(None, TenantRegistry())  # names were resolved when it was opened


class RevocationsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is revoked, frozen and opened at run time, through the control socket."""

    file: str = ""  # keeps the list across restarts; required with `admin.controlSocket`, one file a server
    max_entries: Annotated[int, Meta(ge=1, le=100_000)] = 10_000  # beyond it revoking and freezing is refused


class EmergenciesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who may approve break glass on this server."""

    approvers: tuple[ApproverSpec, ...] = ()  # when any is named, those that a bundle names do not count

    def __post_init__(self) -> None:
        """Refuse what could not be used; raises ValueError, which msgspec reports with the field's place."""
        problems: list[Problem] = []
        compile_approvers(self.approvers, problems, ("approvers",))
        if problems:
            message = f"{dotted(problems[0].location)}: {problems[0].message}"
            raise ValueError(message)

    @property
    def keys(self) -> dict[str, str]:
        """The keys by name, as `Snapshot.approvers` has them."""
        found = compile_approvers(self.approvers, [], ())
        return {name: write_public_key(key) for name, key in found.items()}

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of the keys."""
        return frozenset(map(key_id, compile_approvers(self.approvers, [], ()).values()))


class Operator(Struct, frozen=True):
    """Who changes the list, and why."""

    name: str  # as they call themselves
    uid: int  # as the kernel calls them
    reason: str
    account: str = ""  # the name of that uid, where it has one


class Change(Struct, frozen=True):
    """One thing that happened to the list."""

    kind: Literal["added", "removed", "expired", "unapproved"]
    entry: Kept
    operator: Operator | None = None  # None: it ended by itself
    problem: str = ""  # why it will not survive a restart; "" when it will
    approvers: tuple[str, ...] = ()  # of break glass


class EmergencyError(Exception):
    """The change was refused; the list is as before."""


class UnknownEntryError(EmergencyError):
    """There is no such entry."""


class RuntimeEmergencies:
    """The run-time list. Implements `guards.Orders`."""

    def __init__(
        self,
        options: RevocationsOptions,
        clock: Callable[[], float],
        on_change: Callable[[Change], None],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet; without a file the list stays empty and takes nothing."""
        self.listed: Listed = NOTHING_LISTED
        self._options, self._clock, self._ticks, self._on_change = options, clock, ticks, on_change
        self._file = EmergencyFile(Path(options.file)) if options.file else None
        self._entries: dict[str, Kept] = {}
        self._approvers: Approvers = {}
        self._opened: dict[str, Glass] = {}  # those of the entries that are approved and were not ended
        self._anchor = clock() - ticks()
        self._writers = Lock()
        self.share: Callable[[Change, list[Kept]], None] = _keep  # told last of orders, with the list that is in force

    def open(self) -> Found | None:
        """Hold the file and read it; None when there was none. Raises EmergencyFileError."""
        if self._file is None:
            return None
        self._file.acquire()
        try:
            found = self._file.load()
            with self._writers:
                self._publish({entry.id: entry for entry in found.entries} if found else {})
                changed = self._drop_ended() or found is None or found.origin != "file"
                try:
                    self._file.save(self._entries.values())  # proves that it can be written, and mends the copy
                except EmergencyFileError:
                    if changed:
                        raise
        except EmergencyFileError:
            self._file.release()
            raise
        return found

    def adopt(self, entries: Iterable[Kept], change: Change | None = None) -> None:
        """Follow a list that another process keeps, and has changed. The file stays its, until it has an order here."""
        with self._writers:
            moment = self._moment()
            self._publish({entry.id: entry for entry in entries if not _has_ended(entry, moment)})
            if change is not None:
                self._on_change(change)

    def close(self) -> None:
        """Let the file go; what is ordered stays so for Checks still under way."""
        if self._file is not None:
            self._file.release()

    def moment(self, now: int) -> Moment:
        """See `guards.Orders`: what the clock says, and what it would say if nobody had set it since the start."""
        steady = int(self._anchor + self._ticks())
        return Moment(now, steady) if now <= steady else Moment(steady, now)

    def in_force(self) -> int:
        """How many revocations have not ended."""
        return self.listed.denied.in_force(int(self._clock()))

    def clock_step(self) -> float:
        """Seconds by which the clock was set forward (back when negative) since the start."""
        return self._clock() - self._anchor - self._ticks()

    def entries(self) -> list[RuntimeEntry]:
        """What is denied, the newest first."""
        moment = self._moment()
        return [entry for entry in self._kept() if isinstance(entry, RuntimeEntry) and moment.earliest < entry.until]

    def glasses(self) -> list[tuple[RuntimeGlass, Glass | None]]:
        """What is opened or about to be, the newest first; without a Glass when it is not approved any more."""
        moment = self._moment()
        return [
            (entry, self._opened.get(entry.id))
            for entry in self._kept()
            if isinstance(entry, RuntimeGlass) and not entry.ended and moment.latest < entry.until
        ]

    def add(self, wanted: Entry, operator: Operator, route: RouteSpec | None = None, *, freeze: bool = False) -> Change:
        """Revoke or freeze. Raises EmergencyError. In force even when the change says that it was not written down."""
        _require_operator(operator)
        if fault := wrong_with(wanted):
            message = f"{fault[0]}: {fault[1]}"
            raise EmergencyError(message)
        now = int(self._clock())
        if wanted.until <= now:
            message = "until: must be in the future"
            raise EmergencyError(message)
        # A second that has begun counts as whole, or the longest span would never fit.
        if freeze and (wrong := wrong_span(freeze_kind((wanted,)), -int(-self._clock() // 1), wanted.until)):
            message = f"until: {wrong}"
            raise EmergencyError(message)
        entry = RuntimeEntry(
            id=f"{'f' if freeze else 'r'}-{token_hex(8)}",
            selector=wanted.selector,
            value=wanted.value,
            issuer=wanted.issuer,
            issued_before=wanted.issued_before,
            until=wanted.until,
            reason=operator.reason,
            operator=operator.name,
            uid=operator.uid,
            account=operator.account,
            created=now,
            freeze=freeze,
            route=route,
        )
        with self._writers:
            self._drop_ended()
            self._require_room(RuntimeEntry, self._options.max_entries)
            self._publish({**self._entries, entry.id: entry})
            problem = ""
            try:
                self._save(self._entries)
            except EmergencyFileError as error:
                problem = str(error)
            return self._tell(Change("added", entry, operator, problem))

    def open_glass(
        self, glass: Glass, request: GlassRequest, approvals: tuple[ApprovalSpec, ...], operator: Operator
    ) -> Change:
        """Open. Raises EmergencyError, and EmergencyFileError when it cannot be written down; then it stays shut."""
        _require_operator(operator)
        with self._writers:
            self._drop_ended()
            if self._moment().latest >= glass.end:
                message = "end: must be in the future"
                raise EmergencyError(message)
            if request.id in self._entries:
                message = f"`{request.id}` was opened before: make a new request, and have it approved"
                raise EmergencyError(message)
            glass, problems = approved(glass, request, approvals, self._approvers)
            if problems:
                message = f"approvals: {problems[0].message}"
                raise EmergencyError(message)
            self._require_room(RuntimeGlass, MAX_OPENED)
            entry = RuntimeGlass(
                request=request,
                approvals=approvals,
                reason=operator.reason,
                operator=operator.name,
                uid=operator.uid,
                account=operator.account,
                created=int(self._clock()),
            )
            wanted = {**self._entries, entry.id: entry}
            self._save(wanted)
            self._publish(wanted)
            return self._tell(Change("added", entry, operator, approvers=glass.approvers))

    def end(self, entry_id: str, operator: Operator) -> Change:
        """End an entry before its time. Raises EmergencyError.

        When it cannot be written down: of what denies EmergencyFileError, and it is still in force; what opens is
        shut even then, and the change says that a restart would open it again.
        """
        _require_operator(operator)
        with self._writers:
            self._drop_ended()
            entry = self._entries.get(entry_id)
            if entry is None or (isinstance(entry, RuntimeGlass) and entry.ended):
                message = f"no entry `{entry_id}` is in force"
                raise UnknownEntryError(message)
            left = {key: kept for key, kept in self._entries.items() if key != entry_id}
            if isinstance(entry, RuntimeGlass):
                left[entry_id] = replace(entry, ended=int(self._clock()))  # approvals are good for one opening
                self._publish(left)
                try:
                    self._save(left)
                except EmergencyFileError as error:
                    return self._tell(Change("removed", entry, operator, str(error)))
            else:
                self._save(left)
                self._publish(left)
            return self._tell(Change("removed", entry, operator))

    def set_approvers(self, approvers: Mapping[str, str]) -> None:
        """Who may approve from now on, by name and key; what others approved is shut."""
        with self._writers:
            self._approvers = {name: read_approver_key(key) for name, key in approvers.items()}
            before, self._opened = self._opened, {}
            self._publish(self._entries)
            for lost in before.keys() - self._opened.keys():
                self._on_change(Change("unapproved", self._entries[lost]))

    def sweep(self) -> None:
        """Forget what has ended, and tell of it. Decisions do not wait for this: an end is in force by itself."""
        with self._writers:
            self._drop_ended()
            if not self._entries:
                self._anchor = self._clock() - self._ticks()  # nothing depends on it

    def _approve(self, entry: RuntimeGlass) -> Glass | None:
        glass = compile_glass(entry.request, _UNJUDGED, [], ())
        if glass is None:
            return None
        glass, problems = approved(glass, entry.request, entry.approvals, self._approvers)
        return None if problems else glass

    def _require_room(self, kind: type[Kept], most: int) -> None:
        why = ""
        if self._file is None:
            why = "`revocations.file` is not set"
        elif sum(isinstance(entry, kind) for entry in self._entries.values()) >= most:
            why = "the list is full"
        if why:
            message = f"{why}: put it into the bundle, or restore what is no longer needed"
            raise EmergencyError(message)

    def _save(self, entries: Mapping[str, Kept]) -> None:
        if self._file is not None:
            self._file.save(entries.values())

    def _publish(self, entries: dict[str, Kept]) -> None:
        self._entries = entries
        opened = {entry.id: self._opened.get(entry.id) or self._approve(entry) for entry in _openings(entries)}
        self._opened = {key: glass for key, glass in opened.items() if glass is not None}
        denied = [entry for entry in entries.values() if isinstance(entry, RuntimeEntry)]
        summaries = [entry.summary() for entry in denied if entry.freeze]
        summaries += [
            glass_summary(entry.request, self._opened[entry.id].approvers)
            for entry in _openings(entries)
            if entry.id in self._opened
        ]
        self.listed = listed((entry.entry() for entry in denied), tuple(self._opened.values()), tuple(summaries))

    def _drop_ended(self) -> bool:
        """Forget what has ended, and whether anything had; for readers it has ended by itself."""
        moment = self._moment()
        ended = [entry for entry in self._entries.values() if _has_ended(entry, moment)]
        if ended:
            gone = {entry.id for entry in ended}
            self._publish({key: entry for key, entry in self._entries.items() if key not in gone})
        for entry in ended:
            if not isinstance(entry, RuntimeGlass) or not entry.ended:
                self._on_change(Change("expired", entry))
        return bool(ended)

    def _tell(self, change: Change) -> Change:
        self._on_change(change)
        self.share(change, list(self._entries.values()))
        return change

    def _moment(self) -> Moment:
        return self.moment(int(self._clock()))

    def _kept(self) -> list[Kept]:
        with self._writers:
            return [*self._entries.values()][::-1]


def _keep(change: Change, entries: list[Kept]) -> None:
    """Nobody else needs to know."""


def load_emergencies(path: Path, approvers: Mapping[str, str]) -> Listed:
    """What a server's file orders, without holding it: to explain decisions. Raises EmergencyFileError."""
    found = EmergencyFile(path).load()
    if found is None or found.origin != "file":
        message = f"there is no revocation file `{path}`"
        if found is not None and path.exists():
            message = f"the revocation file `{path}` is damaged: {found.damage}: a server would start from its copy"
        raise EmergencyFileError(message)
    store = RuntimeEmergencies(RevocationsOptions(), lambda: 0.0, lambda _change: None)
    store._publish({entry.id: entry for entry in found.entries})  # noqa: SLF001 - this module's own
    store.set_approvers(approvers)
    return store.listed


def _openings(entries: Mapping[str, Kept]) -> list[RuntimeGlass]:
    """The break glass that nobody has ended."""
    return [entry for entry in entries.values() if isinstance(entry, RuntimeGlass) and not entry.ended]


def _has_ended(entry: Kept, moment: Moment) -> bool:
    return entry.until <= (moment.latest if isinstance(entry, RuntimeGlass) else moment.earliest)


def _require_operator(operator: Operator) -> None:
    for name, text, longest in (("operator", operator.name, MAX_OPERATOR), ("reason", operator.reason, MAX_REASON)):
        if not 0 < len(text.strip()) <= longest or len(text) > longest or not text.isprintable():
            message = f"{name}: must be 1 to {longest} printable characters"
            raise EmergencyError(message)
