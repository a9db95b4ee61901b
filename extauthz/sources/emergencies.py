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
from typing import Final

from msgspec.structs import replace

from extauthz.bundle.approvals import ApprovalSpec, GlassRequest, approved
from extauthz.bundle.emergencies import freeze_kind
from extauthz.guards import NEVER, NOTHING_LISTED, Entry, Glass, Listed, RouteSpec, wrong_with
from extauthz.guards.spans import wrong_span
from extauthz.model.moment import Moment
from extauthz.sources.emergency_changes import Change, EmergencyError, UnknownEntryError, require_operator
from extauthz.sources.emergency_clock import SteadyClock
from extauthz.sources.emergency_file import EmergencyFile, EmergencyFileError, Found, Kept, RuntimeEntry, RuntimeGlass
from extauthz.sources.emergency_lists import Lists
from extauthz.sources.emergency_options import RevocationsOptions
from extauthz.sources.operators import Operator

MAX_OPENED: Final = 64  # break glasses, those that were ended before their time among them


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
        self.clock: Final = SteadyClock(clock, ticks)
        self._options, self._on_change = options, on_change
        self._file = EmergencyFile(Path(options.file)) if options.file else None
        self._entries: dict[str, Kept] = {}
        self._soonest = NEVER  # before then no entry ends
        self._lists = Lists()
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
            moment = self.clock.current()
            self._publish({entry.id: entry for entry in entries if not _has_ended(entry, moment)})
            if change is not None:
                self._on_change(change)

    def close(self) -> None:
        """Let the file go; what is ordered stays so for Checks still under way."""
        if self._file is not None:
            self._file.release()

    def moment(self, now: int) -> Moment:
        """See `guards.Orders`."""
        return self.clock.moment(now)

    def in_force(self) -> int:
        """How many revocations have not ended."""
        return self.listed.denied.in_force(int(self.clock.now()))

    def entries(self) -> list[RuntimeEntry]:
        """What is denied, the newest first."""
        moment = self.clock.current()
        return [entry for entry in self._kept() if isinstance(entry, RuntimeEntry) and moment.earliest < entry.until]

    def glasses(self) -> list[tuple[RuntimeGlass, Glass | None]]:
        """What is opened or about to be, the newest first; without a Glass when it is not approved any more."""
        moment = self.clock.current()
        return [
            (entry, self._lists.opened.get(entry.id))
            for entry in self._kept()
            if isinstance(entry, RuntimeGlass) and not entry.ended and moment.latest < entry.until
        ]

    def add(self, wanted: Entry, operator: Operator, route: RouteSpec | None = None, *, freeze: bool = False) -> Change:
        """Revoke or freeze. Raises EmergencyError. In force even when the change says that it was not written down."""
        require_operator(operator)
        if fault := wrong_with(wanted):
            message = f"{fault[0]}: {fault[1]}"
            raise EmergencyError(message)
        exact = self.clock.now()
        now = int(exact)
        if wanted.until <= now:
            message = "until: must be in the future"
            raise EmergencyError(message)
        # A second that has begun counts as whole, or the longest span would never fit.
        if freeze and (wrong := wrong_span(freeze_kind((wanted,)), -int(-exact // 1), wanted.until)):
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
        require_operator(operator)
        with self._writers:
            self._drop_ended()
            if self.clock.current().latest >= glass.end:
                message = "end: must be in the future"
                raise EmergencyError(message)
            if request.id in self._entries:
                message = f"`{request.id}` was opened before: make a new request, and have it approved"
                raise EmergencyError(message)
            glass, problems = approved(glass, request, approvals, self._lists.approvers)
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
                created=int(self.clock.now()),
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
        require_operator(operator)
        with self._writers:
            self._drop_ended()
            entry = self._entries.get(entry_id)
            if entry is None or (isinstance(entry, RuntimeGlass) and entry.ended):
                message = f"no entry `{entry_id}` is in force"
                raise UnknownEntryError(message)
            left = {key: kept for key, kept in self._entries.items() if key != entry_id}
            if isinstance(entry, RuntimeGlass):
                left[entry_id] = replace(entry, ended=int(self.clock.now()))  # approvals are good for one opening
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
            before = self._lists.opened
            self._lists.set_approvers(approvers)
            self._publish(self._entries)
            for lost in before.keys() - self._lists.opened.keys():
                self._on_change(Change("unapproved", self._entries[lost]))

    def sweep(self) -> None:
        """Forget what has ended, and tell of it. Decisions do not wait for this: an end is in force by itself."""
        with self._writers:
            self._drop_ended()
            if not self._entries:
                self.clock.anchor()  # nothing depends on how it was set

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
        self.listed = self._lists.compile(entries)
        self._entries = entries
        self._soonest = min((entry.until for entry in entries.values()), default=NEVER)

    def _drop_ended(self) -> bool:
        """Forget what has ended, and whether anything had; for readers it has ended by itself."""
        moment = self.clock.current()
        if moment.latest < self._soonest:
            return False
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
    lists = Lists()
    lists.set_approvers(approvers)
    return lists.compile({entry.id: entry for entry in found.entries})


def _has_ended(entry: Kept, moment: Moment) -> bool:
    return entry.until <= (moment.latest if isinstance(entry, RuntimeGlass) else moment.earliest)
