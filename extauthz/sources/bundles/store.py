"""What was in force, kept on disk: the last good bundle, those before it, and the marks that allow no way back.

Rule 1: everything is written beside its place, synchronised and renamed: a crash leaves the old state or the new one.
Rule 2: nothing in here is believed for lying here: bundles are verified like ones from afar, and a state file that is
        not exactly what was written is an error, never an empty one.
Rule 3: processes may share the directory; each change is made under a lock, on what the file says then.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from extauthz.sources.bundles.state import FORMAT, Kept, State, StoreError, is_held_back, is_too_old, put_in_force

_STATE: Final = "state.json"
_REVISIONS: Final = "revisions"
_ARCHIVE, _ABOUT = ".tar.gz", ".json"
_MAX_STATE_BYTES: Final = 1 << 20
_NAMED_DIGITS: Final = 16  # of the digest, in file names
# What msgspec raises for text that is not UTF-8 is none of its own errors.
_ID: Final = re.compile(r"\d+-[0-9a-f]+")
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class BundleStore:
    """One state directory."""

    def __init__(self, directory: str, keep: int) -> None:
        self.directory = Path(directory)
        self._revisions = self.directory / _REVISIONS
        self._keep = keep

    def open(self) -> State:
        """Make the directory if there is none, and read the state. Raises StoreError."""
        try:
            self._revisions.mkdir(mode=0o750, parents=True, exist_ok=True)
            with self._locked():
                pass
        except OSError as error:
            raise self._unusable(error) from error
        return self.state()

    def state(self) -> State:
        """What the file says now. Raises StoreError."""
        try:
            with (self.directory / _STATE).open("rb") as file:
                content = file.read(_MAX_STATE_BYTES)
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise self._unusable(error) from error
        digest, _, text = content.partition(b"\n")
        why, state = "", State()
        try:
            state = msgspec.json.decode(text, type=State)
        except _UNREADABLE as error:
            why = str(error).lower()
        if digest != _sha256(text).encode():
            why = "its digest does not fit its content"
        elif state.format != FORMAT:
            why = f"its format is not `{FORMAT}`"
        if why:
            message = (
                f"`{self.directory / _STATE}` is damaged: {why}: put a good copy back, or move the directory away to "
                "start without marks, and so without protection against a rollback until a bundle was in force"
            )
            raise StoreError(message)
        return state

    def revisions(self) -> list[Kept]:
        """What is kept, the newest activation first; what cannot be read is left out. Raises StoreError."""
        found = []
        try:
            for file in self._revisions.glob(f"*{_ABOUT}"):
                with suppress(FileNotFoundError, *_UNREADABLE):
                    found.append(msgspec.json.decode(file.read_bytes(), type=Kept))
        except OSError as error:
            raise self._unusable(error) from error
        return sorted(found, key=lambda kept: kept.activated, reverse=True)

    def load(self, revision: str) -> tuple[Kept, bytes]:
        """A kept revision and its archive, by id. Raises StoreError when it is gone or damaged."""
        if not _ID.fullmatch(revision):
            message = f"the kept bundle {revision!r} cannot be read: it is no name of one"
            raise StoreError(message)
        file = self._revisions / f"{revision}{_ARCHIVE}"
        try:
            kept = msgspec.json.decode((self._revisions / f"{revision}{_ABOUT}").read_bytes(), type=Kept)
            archive = file.read_bytes()
        except (OSError, *_UNREADABLE) as error:
            why = error.strerror if isinstance(error, OSError) else error
            message = f"the kept bundle `{file}` cannot be read: {str(why).lower()}"
            raise StoreError(message) from error
        if hashlib.sha256(archive).hexdigest() != kept.sha256:
            message = f"the kept bundle `{file}` is damaged: its digest is not the one that was noted"
            raise StoreError(message)
        return kept, archive

    def activate(self, kept: Kept, archive: bytes) -> Kept | None:
        """Note that this is in force from now on, with its archive; old revisions go. Raises StoreError.

        None when something else is held in force: it is kept, and waits. On return the disk has it. When it fails,
        what the disk said before still holds.
        """
        kept = identified(kept, archive)
        with self._changing():
            state = self.state()
            waits = is_held_back(state, kept.name, kept.sequence, kept.digest)
            if not waits and is_too_old(state, kept):  # another process has put something newer in force meanwhile
                message = f"sequence {kept.sequence} is lower than one that came into force meanwhile"
                raise StoreError(message)
            if waits:
                known = self._about(kept.id)
                kept = replace(kept, activated=known.activated if known else 0.0)
            self._write_revision(kept, archive)
            if waits:
                state = replace(state, waiting=kept.id)
            else:
                before = self._about(state.active)
                state = put_in_force(state, kept, before.revision if before else "")
            self._save(state)
            self._prune(state)
        return None if waits else kept

    def install(self, kept: Kept, archive: bytes, change: Callable[[State], State]) -> State:
        """Keep a revision that did not come from the source, and replace the state. Raises StoreError."""
        with self._changing():
            self._write_revision(kept, archive)
            state = change(self.state())
            self._save(state)
            self._prune(state)
        return state

    def _write_revision(self, kept: Kept, archive: bytes) -> None:
        self._write(self._revisions / f"{kept.id}{_ARCHIVE}", archive)
        self._write(self._revisions / f"{kept.id}{_ABOUT}", msgspec.json.encode(kept))

    def update(self, change: Callable[[State], State]) -> State:
        """Replace the state by what `change` makes of it. Raises StoreError."""
        with self._changing():
            state = change(self.state())
            self._save(state)
        return state

    def _about(self, revision: str) -> Kept | None:
        """What is known of a kept revision."""
        try:
            return msgspec.json.decode((self._revisions / f"{revision}{_ABOUT}").read_bytes(), type=Kept)
        except (OSError, *_UNREADABLE):
            return None

    def _prune(self, state: State) -> None:
        """Remove what is over the number, and archives of activations that did not come to their end."""
        with suppress(OSError):  # a file too many harms nobody
            listed = [kept for kept in self.revisions() if kept.activated]
            stay = {state.active, state.waiting, *(kept.id for kept in listed[: self._keep])}
            for file in self._revisions.iterdir():
                if file.name.removesuffix(_ARCHIVE).removesuffix(_ABOUT) not in stay:
                    file.unlink(missing_ok=True)

    def _save(self, state: State) -> None:
        text = msgspec.json.encode(state, order="deterministic")
        self._write(self.directory / _STATE, _sha256(text).encode() + b"\n" + text)

    def _write(self, file: Path, content: bytes) -> None:
        """Readers and a crash see the old file or the new one. Raises OSError."""
        fresh = file.with_name(file.name + ".new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(fresh, flags, 0o640), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(file)
            _sync(file.parent)
        except OSError:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone with the directory. Raises StoreError."""
        try:
            with self._locked():
                yield
        except StoreError:
            raise
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for milliseconds
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StoreError:
        why = (error.strerror or str(error)).lower()
        return StoreError(f"the state directory `{self.directory}` cannot be used: {why}")


def identified(kept: Kept, archive: bytes) -> Kept:
    """With the names of its files, and the digest of its archive."""
    return replace(kept, id=f"{kept.sequence}-{kept.digest[:_NAMED_DIGITS]}", sha256=_sha256(archive))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
