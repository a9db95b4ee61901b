"""What operators revoke while the server runs, beside the bundle (JWT-13).

Rule 1: readers see one immutable list, replaced whole by one assignment; writers take turns.
Rule 2: a revocation is in force before it is on disk, a restoration is on disk before it is in force:
        when the disk fails, more is denied rather than less.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Annotated, Literal

from msgspec import Meta, Struct

from extauthz.guards import NO_REVOCATIONS, Entry, RevocationList, wrong_with
from extauthz.model.ports import RevokedBy
from extauthz.model.subject import Subject
from extauthz.sources.revocation_file import RevocationFile, RevocationFileError, RuntimeEntry

MAX_REASON = 500  # characters
MAX_OPERATOR = 100


class RevocationsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is revoked at run time, through the control socket."""

    file: str = ""  # keeps the list across restarts; required with `admin.controlSocket`, one file a server
    max_entries: Annotated[int, Meta(ge=1, le=100_000)] = 10_000  # beyond it revoking is refused


class Operator(Struct, frozen=True):
    """Who changes the list, and why."""

    name: str
    uid: int
    reason: str


class Change(Struct, frozen=True):
    """One thing that happened to the list."""

    kind: Literal["added", "removed", "expired"]
    entry: RuntimeEntry
    operator: Operator | None = None  # None: it ended by itself
    problem: str = ""  # why it will not survive a restart; "" when it will


class RevocationError(Exception):
    """The change was refused; the list is as before."""


class UnknownEntryError(RevocationError):
    """There is no such entry."""


class RuntimeRevocations:
    """The run-time list. Implements `model.ports.Revoked`."""

    def __init__(
        self, options: RevocationsOptions, clock: Callable[[], float], on_change: Callable[[Change], None]
    ) -> None:
        """Nothing is read yet; without a file the list stays empty and takes nothing."""
        self._options, self._clock, self._on_change = options, clock, on_change
        self._file = RevocationFile(Path(options.file)) if options.file else None
        self._entries: dict[str, RuntimeEntry] = {}
        self._list = NO_REVOCATIONS
        self._writers = Lock()
        self.share: Callable[[Change, list[RuntimeEntry]], None] = _keep  # told last, with the list that is in force

    def open(self) -> bool:
        """Hold the file and read it; whether there was one. Raises RevocationFileError."""
        if self._file is None:
            return False
        self._file.acquire()
        try:
            found = self._file.load()
            with self._writers:
                self._publish({entry.id: entry for entry in found or ()})
                if self._drop_ended() or found is None:
                    self._file.save(self._entries.values())  # proves that it can be written
        except RevocationFileError:
            self._file.release()
            raise
        return found is not None

    def adopt(self, entries: Iterable[RuntimeEntry], change: Change | None = None) -> None:
        """Follow a list that another process keeps, and has changed. The file stays its, until it has an order here."""
        with self._writers:
            self._publish({entry.id: entry for entry in entries})
            if change is not None:
                self._on_change(change)

    def close(self) -> None:
        """Let the file go; what is revoked stays so for Checks still under way."""
        if self._file is not None:
            self._file.release()

    def find(self, subject: Subject, tenant: str, now: int, services: tuple[str, ...] = ()) -> RevokedBy | None:
        """See `model.ports.Revoked`."""
        return self._list.find(subject, tenant, now, services)

    def in_force(self) -> int:
        """How many entries have not ended."""
        return self._list.in_force(int(self._clock()))

    def entries(self) -> list[RuntimeEntry]:
        """What is in force, the newest first."""
        now = self._clock()
        with self._writers:
            found = list(self._entries.values())
        return [entry for entry in reversed(found) if now < entry.until]

    def add(self, wanted: Entry, operator: Operator) -> Change:
        """Revoke. Raises RevocationError. The change says if it could not be written down: it is in force even then."""
        _require_operator(operator)
        if fault := wrong_with(wanted):
            message = f"{fault[0]}: {fault[1]}"
            raise RevocationError(message)
        now = int(self._clock())
        if wanted.until <= now:
            message = "until: must be in the future"
            raise RevocationError(message)
        entry = RuntimeEntry(
            id=f"r-{token_hex(8)}",
            selector=wanted.selector,
            value=wanted.value,
            issuer=wanted.issuer,
            issued_before=wanted.issued_before,
            until=wanted.until,
            reason=operator.reason,
            operator=operator.name,
            uid=operator.uid,
            created=now,
        )
        with self._writers:
            self._drop_ended()
            if self._file is None or len(self._entries) >= self._options.max_entries:
                why = "`revocations.file` is not set" if self._file is None else "the list is full"
                message = f"{why}: put it into the bundle, or restore what is no longer needed"
                raise RevocationError(message)
            self._publish({**self._entries, entry.id: entry})
            problem = ""
            try:
                self._file.save(self._entries.values())
            except RevocationFileError as error:
                problem = str(error)
            return self._tell(Change("added", entry, operator, problem))

    def remove(self, entry_id: str, operator: Operator) -> Change:
        """Restore what an entry revokes. Raises RevocationError and RevocationFileError; then it stays revoked."""
        _require_operator(operator)
        with self._writers:
            self._drop_ended()
            entry = self._entries.get(entry_id)
            if entry is None or self._file is None:
                message = f"no entry `{entry_id}` is in force"
                raise UnknownEntryError(message)
            left = {key: kept for key, kept in self._entries.items() if key != entry_id}
            self._file.save(left.values())
            self._publish(left)
            return self._tell(Change("removed", entry, operator))

    def _tell(self, change: Change) -> Change:
        self._on_change(change)
        self.share(change, list(self._entries.values()))
        return change

    def _publish(self, entries: dict[str, RuntimeEntry]) -> None:
        self._entries = entries
        self._list = RevocationList(entry.entry() for entry in entries.values())

    def _drop_ended(self) -> bool:
        """Forget what has ended, and whether anything had; for readers it has ended by itself."""
        now = self._clock()
        ended = [entry for entry in self._entries.values() if entry.until <= now]
        if ended:
            self._publish({key: entry for key, entry in self._entries.items() if now < entry.until})
        for entry in ended:
            self._tell(Change("expired", entry))
        return bool(ended)


def _keep(change: Change, entries: list[RuntimeEntry]) -> None:
    """Nobody else needs to know."""


def _require_operator(operator: Operator) -> None:
    for name, text, longest in (("operator", operator.name, MAX_OPERATOR), ("reason", operator.reason, MAX_REASON)):
        if not 0 < len(text.strip()) <= longest or len(text) > longest or not text.isprintable():
            message = f"{name}: must be 1 to {longest} printable characters"
            raise RevocationError(message)
