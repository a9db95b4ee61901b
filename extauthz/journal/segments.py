"""The directory of a journal: its lock, its segment files and what a crash left in them."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path

from msgspec import DecodeError, Struct, ValidationError, field
from msgspec.json import Decoder

from extauthz.journal.chain import GENESIS, Line, intact
from extauthz.journal.errors import JournalError
from extauthz.journal.record import LifecycleEvent, SealedTail, SegmentEvent

_SEGMENT = re.compile(r"segment-(\d{10})\.ndjson")


class _Opening(Struct):
    segment: SegmentEvent


class _Lifecycle(Struct):
    lifecycle: LifecycleEvent


_opening = Decoder(_Opening)
_lifecycle = Decoder(_Lifecycle)


def segment_path(directory: Path, number: int) -> Path:
    """Where the segment of this number lies."""
    return directory / f"segment-{number:010d}.ndjson"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of all segments present, rising."""
    return sorted(int(match[1]) for entry in directory.iterdir() if (match := _SEGMENT.fullmatch(entry.name)))


def read_opening(line: Line) -> SegmentEvent | None:
    """What the first record of a segment says; None when it is another kind of record."""
    try:
        return _opening.decode(line.event).segment
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None


def read_lifecycle(line: Line) -> LifecycleEvent | None:
    """What an event of the server's life says; None when it is another kind of record."""
    try:
        return _lifecycle.decode(line.event).lifecycle
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None


@contextmanager
def view(file: Path) -> Iterator[bytes | mmap]:
    """The bytes of a segment, mapped, so that a big one needs no memory of ours."""
    with file.open("rb") as opened:
        if not os.fstat(opened.fileno()).st_size:
            yield b""
            return
        with mmap(opened.fileno(), 0, access=ACCESS_READ) as mapped:
            yield mapped


class DirectoryLock:
    """Holds a directory for one process. The kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Raise JournalError when another process holds the directory, or it cannot be used."""
        try:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            msg = f"journal directory `{directory}` cannot be used: {error.strerror}"
            raise JournalError(msg) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 64).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            msg = f"journal directory `{directory}` belongs to another running process ({holder})"
            raise JournalError(msg) from error
        with suppress(OSError):  # the disk may be full; the name of the holder is a courtesy
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"pid {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the directory."""
        os.close(self._descriptor)


class SegmentFile:
    """One segment, open for appending. Its caller holds the lock."""

    def __init__(self, directory: Path, number: int) -> None:
        """Make the file, which must not exist or be empty. Raises OSError."""
        self.number = number
        self.path = segment_path(directory, number)
        self.size = 0  # bytes of whole records; what lies behind was never confirmed
        self._torn = self._unsynchronised = False
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        if os.fstat(self.descriptor).st_size:
            os.close(self.descriptor)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))

    def append(self, data: bytes) -> None:
        """Append all of `data` or nothing. Raises OSError; a partial write is taken back, at the latest next time."""
        self.take_back()
        try:
            sent = os.write(self.descriptor, data)
            while sent < len(data):  # a short write; going on tells why, e.g. that the disk is full
                sent += os.write(self.descriptor, data[sent:])
        except OSError:
            self._torn = True
            with suppress(OSError):
                self.take_back()
            raise
        self.size += len(data)

    def is_undisturbed(self) -> bool:
        """Whether the file is still the one that was opened, and ends where the last record ended."""
        if self._torn:
            return True
        with suppress(OSError):
            here, there = os.fstat(self.descriptor), self.path.stat()
            return here.st_ino == there.st_ino and here.st_size == self.size
        return False

    def is_whole(self) -> bool:
        """Whether all that was appended is still in the file of that name. Raises OSError, e.g. when it is gone."""
        here, there = os.fstat(self.descriptor), self.path.stat()
        return here.st_ino == there.st_ino and here.st_size >= self.size

    def synchronise(self) -> None:
        """Bring the data to the disk. Raises OSError, and always again after the first time.

        Linux forgets what it could not write: the next fdatasync of the file would succeed and prove nothing.
        """
        if self._unsynchronised:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        try:
            os.fdatasync(self.descriptor)
        except OSError:
            self._unsynchronised = True
            raise

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    def take_back(self) -> None:
        """Cut what a failed write left behind the last whole record, if anything. Raises OSError."""
        if self._torn:
            os.ftruncate(self.descriptor, self.size)
            self._torn = False


class Ending(Struct, frozen=True):
    """How a journal ended: what the next boot continues from."""

    next_segment: int = 1
    head: bytes = GENESIS
    position: int = 0  # records so far
    boot: str = ""
    sealed: SealedTail | None = field(default=None)


def read_ending(directory: Path) -> Ending:
    """Find the last whole record; what lies behind it is named, never touched. Raises OSError, JournalError."""
    tail: SealedTail | None = None
    numbers = segment_numbers(directory)
    following = numbers[-1] + 1 if numbers else 1
    for number in reversed(numbers):
        with view(segment_path(directory, number)) as content:
            if not content and number + 1 == following:  # made, but nothing was written: use the number again
                following = number
                continue
            found = _last_record(content)
            if found is None:
                tail = tail or _tail(number, content, 0)
                continue
            first, last, end, opening = found
            if end < len(content):
                tail = _tail(number, content, end)
        position = opening.position + last.seq - first.seq + 1
        return Ending(following, last.hash.encode(), position, opening.boot, tail)
    return Ending(next_segment=following, sealed=tail)


def _tail(number: int, content: bytes | mmap, offset: int) -> SealedTail:
    tail = content[offset:]
    return SealedTail(number, offset, len(tail), sha256(tail).hexdigest())


def _last_record(content: bytes | mmap) -> tuple[Line, Line, int, SegmentEvent] | None:
    """First and last intact record, where the last ends, and the segment's opening; None when there is none."""
    first_end = content.find(b"\n")
    first = intact(content[:first_end]) if first_end > 0 else None
    opening = read_opening(first) if first else None
    if first is None or opening is None:
        return None
    end = content.rfind(b"\n") + 1
    while end > 0:
        start = content.rfind(b"\n", 0, end - 1) + 1
        if record := intact(content[start : end - 1]):
            return first, record, end, opening
        end = start
    return None


def synchronise_directory(directory: Path) -> None:
    """Bring the names of new files to the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
