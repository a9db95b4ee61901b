"""Read a whole journal and check every link, every hash, every checkpoint and every file.

Rule 1: every record is looked at; a break does not end the walk, so that all breaks are named.
Rule 2: one cause, one finding: after a break the walk continues from what the broken record itself says.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from mmap import mmap
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from extauthz.journal.chain import GENESIS, Line, intact, parse_line, true_hash
from extauthz.journal.checkpoint import key_id, raw_bytes
from extauthz.journal.copies import CHECKPOINTS_FILE
from extauthz.journal.keys import PUBLIC_KEY_FILE, load_public_key
from extauthz.journal.record import SealedTail, SegmentEvent
from extauthz.journal.report import Findings, VerifyReport
from extauthz.journal.segments import read_lifecycle, read_opening, segment_numbers, segment_path, view
from extauthz.journal.verify_checkpoints import Checkpoints


def verify(
    directory: Path,
    public_keys: Sequence[Ed25519PublicKey] = (),
    checkpoints: Sequence[Path] = (),
) -> VerifyReport:
    """Verify a journal. Without keys the one in `signing.pub` is trusted. Raises OSError, JournalError.

    `checkpoints`: copies of checkpoint records that were kept elsewhere, e.g. by a sink.
    """
    if not public_keys and (directory / PUBLIC_KEY_FILE).exists():
        public_keys = [load_public_key(directory / PUBLIC_KEY_FILE)]
    walk = _Walk(directory, {key_id(raw_bytes(key)): key for key in public_keys})
    walk.read_segments()
    for copy in (directory / CHECKPOINTS_FILE, *checkpoints):
        if copy.exists():
            walk.compare_with_copies(copy)
    return walk.conclude()


class _Walk:
    """Where the walk is, and what it expects next."""

    def __init__(self, directory: Path, keys: dict[str, Ed25519PublicKey]) -> None:
        self.report = VerifyReport(str(directory))
        self._directory = directory
        self._at = Findings(self.report)
        self._checkpoints = Checkpoints(keys, self._at)
        self._opening: SegmentEvent | None = None
        self._expected: int | None = None  # seq; None when any may come
        self._head = GENESIS.decode()
        self._started = False
        self._position = 0
        self._ends: dict[str, int] = {}  # boot: seq of its last record
        self._first_number = 0

    # --- files

    def read_segments(self) -> None:
        """Walk over all segments in order."""
        numbers = segment_numbers(self._directory)
        self.report.segments = len(numbers)
        self._first_number = numbers[0] if numbers else 0
        previous = None
        for number in numbers:
            self._at.segment, self._at.line = segment_path(self._directory, number).name, 0
            if previous is not None and number != previous + 1:
                self._miss(previous + 1, number - 1)
            with view(segment_path(self._directory, number)) as content:
                self._read_segment(number, content, self._seal_of(number, numbers))
            previous = number
        if self._first_number > 1 and self.report.removed_through < self._first_number - 1:
            self._at.segment = segment_path(self._directory, 1).name
            self._miss(self.report.removed_through + 1, self._first_number - 1)

    def _miss(self, first: int, last: int) -> None:
        names = f"segments {first} to {last} are" if last > first else f"segment {first} is"
        self._at.add("missing_segment", -1, f"{names} missing, and no record says that retention removed it", line=0)

    def _seal_of(self, number: int, numbers: list[int]) -> SealedTail | None:
        """What a later boot recorded about the end of this segment."""
        for later in (n for n in numbers if n > number):
            with segment_path(self._directory, later).open("rb") as file:
                first = intact(file.readline().removesuffix(b"\n"))
            opening = read_opening(first) if first else None
            if opening:
                return opening.sealed if opening.sealed and opening.sealed.segment == number else None
        return None

    def _read_segment(self, number: int, content: bytes | mmap, sealed: SealedTail | None) -> None:
        end = len(content)
        if sealed and sealed.offset <= len(content):
            end = sealed.offset
            self._check_seal(content[end:], sealed)
        for line in self._lines(content, end):
            self._at.line += 1
            self._read_line(number, line)
        if not content:
            self.report.notes.append(
                f"{self._at.segment} is empty: the disk was full, or the server stopped, as it began"
            )

    def _lines(self, content: bytes | mmap, end: int) -> Iterator[bytes]:
        start = 0
        while (stop := content.find(b"\n", start, end)) >= 0:
            yield content[start:stop]
            start = stop + 1
        if start < end:
            self.report.notes.append(
                f"{self._at.segment} ends with an unfinished record of {end - start} bytes: a write that is under way, "
                "or was cut by a crash; the next start of the server names it in a record"
            )

    def _check_seal(self, tail: bytes, sealed: SealedTail) -> None:
        if len(tail) != sealed.bytes or sha256(tail).hexdigest() != sealed.sha256:
            self._at.add("edited", -1, "what lies behind its last record is not what the next boot found there", line=0)
        elif b"\n" in tail:
            self._at.add("sealed_tail", -1, f"{sealed.bytes} bytes behind its last record are no records", line=0)
        else:
            note = f"{self._at.segment} ends with an unfinished record of {sealed.bytes} bytes, named by the next boot"
            self.report.notes.append(note)

    # --- records

    def _read_line(self, number: int, text: bytes) -> None:
        record = parse_line(text)
        if record is None:
            self._at.add("unreadable", self._expected if self._expected is not None else -1, "the line is not a record")
            self._expected = None
            return
        own = true_hash(text) == record.hash
        opening = read_opening(record) if self._at.line == 1 or record.seq == 0 else None
        if self._at.line == 1:
            self._open(number, record, opening)
        if not own:
            self._at.add("edited", record.seq, "the record was changed: its bytes do not have the hash that it states")
        self._check_place(record, opening)
        self._count(record, opening)
        if own:
            self._look_inside(record)

    def _open(self, number: int, record: Line, opening: SegmentEvent | None) -> None:
        if opening is None or opening.number != number:
            what = f"it is that of segment {opening.number}" if opening else "it opens no segment"
            self._at.add("wrong_opening", record.seq, f"the first record is not the segment's own: {what}")
        if opening:
            self._opening = opening
            self._checkpoints.meet_key(opening.key_id, record.seq)

    def _check_place(self, record: Line, opening: SegmentEvent | None) -> None:
        """Whether this record follows the one before."""
        new_boot = record.seq == 0 and opening is not None and opening.began == "boot"
        if not self._started:
            self._started = True
            if record.prev == GENESIS.decode() and record.seq == 0:
                return
            self._position = opening.position if opening else 0
            if self._first_number == 1:
                self._at.add("gap", record.seq, "the journal does not begin with its first record")
            return
        if self._expected is None:
            return  # the line before could not be read; which record follows it is unknown
        if new_boot:
            if record.prev != self._head:
                self._at.add("gap", record.seq, "the boot does not continue the record before: records are missing")
        elif record.seq > self._expected:
            missing = record.seq - self._expected
            self._at.add("gap", record.seq, f"{missing} records are missing before it, from seq {self._expected} on")
        elif record.seq < self._expected:
            self._at.add("reordered", record.seq, f"it stands where seq {self._expected} belongs")
        elif record.prev != self._head:
            message = f"it does not continue the record before: seq {record.seq - 1} or its hash was replaced"
            self._at.add("replaced", record.seq, message)

    def _count(self, record: Line, opening: SegmentEvent | None) -> None:
        report = self.report
        report.records += 1
        report.first_time = min(report.first_time or record.time, record.time)
        report.last_time = max(report.last_time, record.time)
        report.head = self._head = record.hash
        self._expected = record.seq + 1
        if opening and record.seq == 0:
            report.boots += 1
        if self._opening:
            self._ends[self._opening.boot] = max(record.seq, self._ends.get(self._opening.boot, -1))
        self._checkpoints.count(record.seq, self._opening.checkpoint_records if self._opening else 0)

    def _look_inside(self, record: Line) -> None:
        event = bytes(record.event)
        if event.startswith(b'{"checkpoint"'):
            self._checkpoints.check(record, event)
        elif event.startswith(b'{"lifecycle"'):
            found = read_lifecycle(record)
            if found and found.kind == "segments_removed" and found.detail.get("last", "").isdecimal():
                self.report.removed_through = max(self.report.removed_through, int(found.detail["last"]))

    # --- the end

    def compare_with_copies(self, file: Path) -> None:
        """Every checkpoint that was kept elsewhere must be in the journal, unless retention removed it."""
        self._checkpoints.compare_with_copies(file, self._ends, self._first_number)

    def conclude(self) -> VerifyReport:
        """The report, with what remains to be said."""
        self.report.unsigned = self._checkpoints.since
        if not self._checkpoints.keys:
            self.report.notes.append("no public key was given or found: signatures were not checked")
        return self.report
