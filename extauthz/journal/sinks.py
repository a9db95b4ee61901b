"""Deliver the journal elsewhere: at least once, in order, beside the path.

A follower reads the segment files, never the writer's memory, and keeps a cursor file of its own. What it delivers
twice after a crash is recognised by (boot, seq), which is the record's `hash`.
"""

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from msgspec import DecodeError, Struct, ValidationError, json

from extauthz.journal.chain import parse_line
from extauthz.journal.options import SinkOptions
from extauthz.journal.record import LifecycleKind
from extauthz.journal.segments import read_opening, segment_numbers, segment_path

POLL_SECONDS = 0.1
MAX_RETRY_SECONDS = 30.0
# One read and one write; parsing nothing, so that no slice of Python takes long.
_BATCH_BYTES = 256 * 1024

Note = Callable[[LifecycleKind, dict[str, str]], None]


class Sink(Protocol):
    """Takes whole lines. Raises OSError; the same lines are then offered again, perhaps with more behind them."""

    def deliver(self, lines: bytes) -> None:
        """Take all of `lines`."""
        ...


class StreamSink:
    """Writes to an open descriptor such as stdout, which several workers may share. Goes on where a write was cut.

    A pipe takes up to PIPE_BUF bytes whole or not at all (pipe(7)), so that their lines do not mix; a line that is
    longer than that, 4 KiB on Linux, may be cut by another's.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sent = 0

    def deliver(self, lines: bytes) -> None:
        """Take all of `lines`."""
        while self._sent < len(lines):
            limit = self._sent + select.PIPE_BUF
            end = lines.rfind(b"\n", self._sent, limit) + 1 or lines.find(b"\n", limit) + 1 or len(lines)
            self._sent += os.write(self._descriptor, lines[self._sent : end])
        self._sent = 0


class FileSink:
    """Appends to a file, which may be renamed by a log rotation at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, lines: bytes) -> None:
        """Take all of `lines`, or take back what was written."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            start = os.fstat(descriptor).st_size
            sent = 0
            try:
                while sent < len(lines):
                    sent += os.write(descriptor, lines[sent:])
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, start)
                raise
        finally:
            os.close(descriptor)


def make_sink(options: SinkOptions) -> Sink:
    """The sink that the options name."""
    return FileSink(Path(options.path)) if options.type == "file" else StreamSink(1)


class Cursor(Struct, frozen=True):
    """How far a sink has come."""

    segment: int = 0  # 0: nowhere yet
    offset: int = 0
    position: int = 0  # records of the whole journal that lie before


class Follower:
    """Brings one sink up to the end of the journal, again and again, in a thread of its own."""

    def __init__(
        self,
        options: SinkOptions,
        directory: Path,
        tail: Callable[[], tuple[int, int]],
        note: Note,
        sink: Sink | None = None,
    ) -> None:
        """`tail` tells the open segment and its confirmed size; `note` records an event of the sink's life."""
        self.name = options.name
        self.delivered = self.lost = self.failures = 0  # records, records, attempts
        self._sink = sink or make_sink(options)
        self._directory, self._tail, self._note = directory, tail, note
        self._file = directory / "cursors" / f"{options.name}.json"
        self.cursor = _load_cursor(self._file)
        self._stop = threading.Event()
        self._deadline_passed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"journal-sink-{self.name}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Deliver what is there, for at most so long; the rest is delivered after the next start."""
        self._stop.set()
        self._thread.join(seconds)
        self._deadline_passed.set()

    def _run(self) -> None:
        retry = 0.0
        while not self._deadline_passed.is_set():
            try:
                moved = self.step()
            except OSError as error:
                self.failures += 1
                if not retry:
                    self._note("sink_failed", {"sink": self.name, "error": error.strerror or type(error).__name__})
                retry = min(max(2 * retry, POLL_SECONDS), MAX_RETRY_SECONDS)
                if self._stop.is_set():
                    return
                self._stop.wait(retry)
                continue
            if retry:
                retry = 0.0
                self._note("sink_recovered", {"sink": self.name})
            if not moved:
                if self._stop.is_set():
                    return
                self._stop.wait(POLL_SECONDS)

    def step(self) -> bool:
        """Deliver at most one batch; whether there was anything to do. Raises OSError."""
        open_segment, confirmed = self._tail()
        if not segment_path(self._directory, self.cursor.segment).exists():
            return self._skip_to(next((n for n in segment_numbers(self._directory) if n > self.cursor.segment), 0))
        with segment_path(self._directory, self.cursor.segment).open("rb") as file:
            file.seek(self.cursor.offset)
            is_open = self.cursor.segment == open_segment
            wanted = min(_BATCH_BYTES, confirmed - self.cursor.offset) if is_open else _BATCH_BYTES
            lines = file.read(max(0, wanted))
        lines = lines[: lines.rfind(b"\n") + 1]
        if not lines:
            return self._next_segment() if self.cursor.segment < open_segment else False
        self._sink.deliver(lines)
        count = lines.count(b"\n")
        self.delivered += count
        self._move(Cursor(self.cursor.segment, self.cursor.offset + len(lines), self.cursor.position + count))
        return True

    def _next_segment(self) -> bool:
        following = next((n for n in segment_numbers(self._directory) if n > self.cursor.segment), 0)
        return self._skip_to(following)

    def _skip_to(self, number: int) -> bool:
        """Go to the beginning of a segment, counting what was removed before it could be delivered."""
        if not number:
            return False
        with segment_path(self._directory, number).open("rb") as file:
            first = parse_line(file.readline().removesuffix(b"\n"))
        opening = read_opening(first) if first else None
        position = opening.position if opening else self.cursor.position
        missed = position - self.cursor.position
        if missed > 0 and self.cursor.segment:
            self.lost += missed
            self._note("sink_lost_records", {"sink": self.name, "records": str(missed)})
        self._move(Cursor(number, 0, position))
        return True

    def _move(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._file.parent.mkdir(mode=0o750, exist_ok=True)
        new = self._file.with_suffix(".new")
        with suppress(OSError):  # then the next start delivers twice, which is allowed
            new.write_bytes(json.encode(cursor))
            new.replace(self._file)


def _load_cursor(file: Path) -> Cursor:
    with suppress(OSError, DecodeError, ValidationError):
        return json.decode(file.read_bytes(), type=Cursor)
    return Cursor()
