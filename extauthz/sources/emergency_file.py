"""The file that keeps what operators ordered at run time: the whole list, replaced at every change, twice.

Rule 1: it is read whole or not at all; a file that is not exactly what was written is never an empty list.
Rule 2: readers and a crash see the old list or the new one, never a mixture.
Rule 3: one process owns it.
Rule 4: what is denied survives a damaged file, by the copy beside it; what is opened does not.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from extauthz.bundle.approvals import ApprovalSpec, GlassRequest
from extauthz.guards import NEVER, Entry, Frozen, RouteSpec, Summary, compile_route
from extauthz.guards.spans import Kind
from extauthz.model.problems import Problem

FORMAT: Final = "extauthz emergencies 2"
_FORMER: Final = "extauthz revocations 1"  # the same without freezes and break glass
MAX_BYTES: Final = 256 << 20  # 100,000 entries with all texts at their longest
COPY: Final = ".copy"


class EmergencyFileError(OSError):
    """The file cannot be used, and why."""


class RuntimeEntry(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False, tag="deny"
):
    """One revocation or freeze made at run time. Times are seconds since the epoch; `NEVER` or absent without one."""

    id: str
    selector: Frozen
    value: str
    issuer: str = ""  # exact `iss`
    issued_before: int = NEVER
    until: int = NEVER
    reason: str
    operator: str  # as they called themselves
    uid: int  # as the kernel calls them
    account: str = ""  # the name of that uid, where it has one
    created: int
    freeze: bool = False
    route: RouteSpec | None = None

    def entry(self) -> Entry:
        """What a lookup needs of it."""
        problems: list[Problem] = []
        return Entry(
            selector=self.selector,
            value=self.value,
            issuer=self.issuer,
            place=f"run-time {'freeze' if self.freeze else 'entry'} `{self.id}`",
            issued_before=self.issued_before,
            until=self.until,
            emergency=self.id if self.freeze else "",
            route=None if self.route is None else compile_route(self.route, problems, ()),
        )

    def summary(self) -> Summary:
        """What people read of a freeze."""
        kind: Kind = "freeze_everything" if self.selector == "everything" else "freeze"
        what = f"{self.selector} {self.value}".strip()
        return Summary(self.id, kind, what, self.created, self.until, self.reason)


class RuntimeGlass(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="open"):
    """One break glass opened at run time. It stays listed until it ends, also when it was ended before."""

    request: GlassRequest  # its issuers are exact `iss`
    approvals: tuple[ApprovalSpec, ...]
    reason: str
    operator: str
    uid: int
    account: str = ""
    created: int
    ended: int = 0  # when an operator ended it; 0: nobody did

    @property
    def id(self) -> str:
        """Its id, the same on every server that opened it."""
        return self.request.id

    @property
    def until(self) -> int:
        """When it is forgotten."""
        return self.request.last_second


Kept = RuntimeEntry | RuntimeGlass


class Found(Struct, frozen=True):
    """What was read, and from where."""

    entries: list[Kept]
    origin: Literal["file", "copy"]
    damage: str = ""  # why the file itself could not be read
    dropped: int = 0  # break glass that the copy held


class _Head(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line; the rest is one line an entry."""

    format: str
    entries: int
    sha256: str  # hex, over everything behind this line


class EmergencyFile:
    """Reads and replaces the file and its copy, and holds them for this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copy = path.with_name(path.name + COPY)
        self._lock = -1

    def acquire(self) -> None:
        """Keep other processes away; the kernel lets go when this one ends. Raises EmergencyFileError."""
        name = self.path.with_name(self.path.name + ".lock")
        try:
            self._lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            message = f"the revocation file `{self.path}` belongs to another running process"
            raise EmergencyFileError(message) from None
        except OSError as error:
            self.release()
            raise self._unusable(error) from error

    def keep_across_exec(self) -> int:
        """The descriptor of what was acquired, which the program after this one inherits with the lock."""
        os.set_inheritable(self._lock, True)  # noqa: FBT003 - the signature is Python's
        return self._lock

    def release(self) -> None:
        """Let another process have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def load(self) -> Found | None:
        """Every entry; None when there are neither file nor copy. Raises EmergencyFileError when both are unusable."""
        found = self._read(self.path)
        if isinstance(found, list):
            return Found(found, "file")
        damage = "it is missing" if found is None else found
        other = self._read(self.copy)
        if found is None and other is None:
            return None
        if isinstance(other, list):
            kept: list[Kept] = [entry for entry in other if isinstance(entry, RuntimeEntry)]
            return Found(kept, "copy", damage, len(other) - len(kept))
        message = (
            f"the revocation file `{self.path}` is damaged: {damage}; its copy `{self.copy.name}` "
            f"{'is missing' if other is None else f'too: {other}'}: put a good copy back, "
            "or move both away to start with nothing revoked"
        )
        raise EmergencyFileError(message)

    def save(self, entries: Iterable[Kept]) -> None:
        """Replace both; on return the disk has them. Raises EmergencyFileError; then the file is untouched."""
        encoder = msgspec.json.Encoder()
        lines = [encoder.encode(entry) + b"\n" for entry in entries]  # line by line: others get the interpreter between
        content = b"".join(lines)
        head = _Head(FORMAT, len(lines), hashlib.sha256(content).hexdigest())
        # The copy first: what is told to have failed is then never what a restart finds.
        for path in (self.copy, self.path):
            self._replace(path, encoder.encode(head) + b"\n" + content)

    def _read(self, path: Path) -> list[Kept] | str | None:
        """The entries, what is wrong, or None when there is no file."""
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        return _parse(content)

    def _replace(self, path: Path, content: bytes) -> None:
        fresh = path.with_name(path.name + ".new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            self._sync_directory()
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise self._unusable(error) from error

    def _sync_directory(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _unusable(self, error: OSError) -> EmergencyFileError:
        why = (error.strerror or str(error)).lower()
        return EmergencyFileError(f"the revocation file `{self.path}` cannot be used: {why}")


def _parse(content: bytes) -> list[Kept] | str:
    """The entries, or what is wrong."""
    first, newline, rest = content.partition(b"\n")
    try:
        head = msgspec.json.decode(first, type=_Head)
        if not newline or head.format not in {FORMAT, _FORMER}:
            return f"it does not begin as `{FORMAT}`"
        if hashlib.sha256(rest).hexdigest() != head.sha256:
            return "its digest does not fit its content"
        # An entry of the former format does not say what it is.
        decoder = msgspec.json.Decoder(Kept if head.format == FORMAT else RuntimeEntry)
        entries: list[Kept] = [decoder.decode(line) for line in rest.splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return str(error).lower()
    return entries if len(entries) == head.entries else f"it holds {len(entries)} entries instead of {head.entries}"
