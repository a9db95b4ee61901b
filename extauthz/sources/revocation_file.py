"""The file that keeps run-time revocations: the whole list, replaced at every change.

Rule 1: it is read whole or not at all; a file that is not exactly what was written is an error, never an empty list.
Rule 2: readers and a crash see the old list or the new one, never a mixture.
Rule 3: one process owns it.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from extauthz.guards import NEVER, Entry, RevocationList, Selector

FORMAT = "extauthz revocations 1"
MAX_BYTES = 256 << 20  # 100,000 entries with all texts at their longest


class RevocationFileError(OSError):
    """The file cannot be used, and why."""


class RuntimeEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One revocation made at run time. Times are seconds since the epoch; `NEVER` or absent where there is none."""

    id: str
    selector: Selector
    value: str
    issuer: str = ""  # exact `iss`
    issued_before: int = NEVER
    until: int = NEVER
    reason: str
    operator: str  # as they called themselves
    uid: int  # as the kernel calls them
    created: int

    def entry(self) -> Entry:
        """What a lookup needs of it."""
        return Entry(
            selector=self.selector,
            value=self.value,
            issuer=self.issuer,
            place=f"run-time entry `{self.id}`",
            issued_before=self.issued_before,
            until=self.until,
        )


class _Head(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line; the rest is one line an entry."""

    format: str
    entries: int
    sha256: str  # hex, over everything behind this line


class RevocationFile:
    """Reads and replaces the file, and holds it for this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def acquire(self) -> None:
        """Keep other processes away; the kernel lets go when this one ends. Raises RevocationFileError."""
        name = self.path.with_name(self.path.name + ".lock")
        try:
            self._lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            message = f"the revocation file `{self.path}` belongs to another running process"
            raise RevocationFileError(message) from None
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

    def load(self) -> list[RuntimeEntry] | None:
        """Every entry; None when there is no file. Raises RevocationFileError."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        found = _parse(content)
        if isinstance(found, str):
            message = (
                f"the revocation file `{self.path}` is damaged: {found}: put a good copy back, "
                "or move it away to start with nothing revoked"
            )
            raise RevocationFileError(message)
        return found

    def save(self, entries: Iterable[RuntimeEntry]) -> None:
        """Replace the file; on return the disk has it. Raises RevocationFileError; then the old one is untouched."""
        encoder = msgspec.json.Encoder()
        lines = [encoder.encode(entry) + b"\n" for entry in entries]  # line by line: others get the interpreter between
        content = b"".join(lines)
        head = _Head(FORMAT, len(lines), hashlib.sha256(content).hexdigest())
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(encoder.encode(head) + b"\n" + content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
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

    def _unusable(self, error: OSError) -> RevocationFileError:
        why = (error.strerror or str(error)).lower()
        return RevocationFileError(f"the revocation file `{self.path}` cannot be used: {why}")


def load_revocations(path: Path) -> RevocationList:
    """What a server's file revokes, without holding it: to explain decisions. Raises RevocationFileError."""
    entries = RevocationFile(path).load()
    if entries is None:
        message = f"there is no revocation file `{path}`"
        raise RevocationFileError(message)
    return RevocationList(entry.entry() for entry in entries)


def _parse(content: bytes) -> list[RuntimeEntry] | str:
    """The entries, or what is wrong."""
    first, newline, rest = content.partition(b"\n")
    try:
        head = msgspec.json.decode(first, type=_Head)
        if not newline or head.format != FORMAT:
            return f"it does not begin as `{FORMAT}`"
        if hashlib.sha256(rest).hexdigest() != head.sha256:
            return "its digest does not fit its content"
        entries = [msgspec.json.decode(line, type=RuntimeEntry) for line in rest.splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return str(error).lower()
    return entries if len(entries) == head.entries else f"it holds {len(entries)} entries instead of {head.entries}"
