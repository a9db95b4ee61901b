"""Copies of the checkpoints, outside of the segments: against them a cut end shows."""

import os
from contextlib import suppress
from pathlib import Path

from extauthz.journal.chain import Line, intact

CHECKPOINTS_FILE = "checkpoints.ndjson"
_TAIL = 1 << 16  # bytes at the end that hold the last checkpoint, which has about 900


def append_copy(directory: Path, line: bytes) -> None:
    """Append the line of a checkpoint, whole or not at all. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(directory / CHECKPOINTS_FILE, flags, 0o640)
    try:
        end = os.fstat(descriptor).st_size
        cut = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"  # by a crash: go on behind it
        rest = b"\n" + line if cut else line
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


def last_checkpoint(directory: Path) -> Line | None:
    """The last whole line of the checkpoints' copy; None when there is none or it cannot be read."""
    with suppress(OSError), (directory / CHECKPOINTS_FILE).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return next((found for line in reversed(file.read().split(b"\n")) if (found := intact(line))), None)
    return None
