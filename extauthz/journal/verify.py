"""Read a whole journal and check every link, every hash, every checkpoint and every file.

Rule 1: every record is looked at; a break does not end the walk, so that all breaks are named.
Rule 2: one cause, one finding: after a break the walk continues from what the broken record itself says.
Rule 3: links and hashes show consistency, which anybody can produce; who wrote the records the checkpoints show.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from mmap import mmap
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from extauthz.journal.bounds import DEFAULT_BOUNDS, Bounds
from extauthz.journal.chain import GENESIS, Line, intact, parse_line, true_hash
from extauthz.journal.checkpoint import key_id, raw_bytes
from extauthz.journal.copies import CHECKPOINTS_FILE
from extauthz.journal.keys import PUBLIC_KEY_FILE, load_public_key
from extauthz.journal.record import SealedTail, SegmentEvent
from extauthz.journal.report import Findings, VerifyReport
from extauthz.journal.segments import read_lifecycle, read_opening, segment_numbers, segment_path, view
from extauthz.journal.verify_checkpoints import Checkpoints, is_owned


def verify(
    directory: Path,
    public_keys: Sequence[Ed25519PublicKey] = (),
    checkpoints: Sequence[Path] = (),
    bounds: Bounds = DEFAULT_BOUNDS,
    owner: str | None = None,
    each: Callable[[Line], None] | None = None,
) -> VerifyReport:
    """Verify a journal. Raises OSError, JournalError.

    `public_keys`: who may have signed. Without any the journal's own `signing.pub` is used, which who rewrote the
    journal may have replaced; without that too nothing shows who wrote the records (`VerifyReport.authorship`).
    `checkpoints`: copies of checkpoint records that were kept elsewhere, e.g. by a sink.
    `owner`: the worker that must have written it, "" for none of them; None where there are no workers.
    `each` is told every record that has its own true hash, in order, while the walk goes on: what it makes of them
    counts for nothing before the report is known.
    """
    report = VerifyReport(str(directory))
    if public_keys:
        report.authorship = "given_key"
    elif (directory / PUBLIC_KEY_FILE).exists():
        public_keys, report.authorship = [load_public_key(directory / PUBLIC_KEY_FILE)], "own_key"
    walk = _Walk(directory, {key_id(raw_bytes(key)): key for key in public_keys}, bounds, report, owner, each)
    # Read before the walk: a server that runs meanwhile signs records that the walk no longer sees.
    files = (directory / CHECKPOINTS_FILE, *checkpoints)
    copies = [(file.name, file.read_bytes()) for file in files if file.exists()]
    walk.read_segments()
    for name, copy in copies:
        walk.compare_with_copies(name, copy)
    return report


class _Walk:
    """Where the walk is, and what it expects next."""

    def __init__(
        self,
        directory: Path,
        keys: dict[str, Ed25519PublicKey],
        bounds: Bounds,
        report: VerifyReport,
        owner: str | None,
        each: Callable[[Line], None] | None,
    ) -> None:
        self.report = report
        self._each = each
        self._directory = directory
        self._numbers = segment_numbers(directory)
        self._first_number = self._numbers[0] if self._numbers else 0
        self._at = Findings(report)
        self._at.segment = directory.name
        self._checkpoints = Checkpoints(keys, bounds, self._at, self._numbers, owner)
        self._owner = owner
        self._opening: SegmentEvent | None = None
        self._expected: int | None = None  # seq; None when any may come
        self._head = GENESIS.decode()
        self._started = False
        self._ends: dict[str, int] = {}  # boot: seq of its last record

    # --- files

    def read_segments(self) -> None:
        """Walk over all segments in order."""
        numbers = self._numbers
        self.report.segments = len(numbers)
        previous = None
        for number in numbers:
            self._at.segment, self._at.line = segment_path(self._directory, number).name, 0
            if previous is not None and number != previous + 1:
                self._miss(previous + 1, number - 1)
            with view(segment_path(self._directory, number)) as content:
                self._read_segment(number, content, self._seal_of(number, numbers))
            previous = number
        self._checkpoints.conclude(self._expected - 1 if self._expected is not None else -1)
        if self._first_number > 1 and self.report.removed_through < self._first_number - 1:
            self._at.segment = segment_path(self._directory, 1).name
            self._miss(self.report.removed_through + 1, self._first_number - 1)

    def _miss(self, first: int, last: int) -> None:
        names = f"segments {first} to {last} are" if last > first else f"segment {first} is"
        signed = "signed " if self._checkpoints.keys else ""
        message = f"{names} missing, and no {signed}record says that retention removed it"
        self._at.add("missing_segment", -1, message, line=0)

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
            self._look_inside(record, number)

    def _open(self, number: int, record: Line, opening: SegmentEvent | None) -> None:
        if opening is None or opening.number != number:
            what = f"it is that of segment {opening.number}" if opening else "it opens no segment"
            self._at.add("wrong_opening", record.seq, f"the first record is not the segment's own: {what}")
        if opening and not is_owned(opening.instance, self._owner):
            self._at.add("wrong_opening", record.seq, f"it is that of `{opening.instance}`")
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
        self._checkpoints.count(record)

    def _look_inside(self, record: Line, number: int) -> None:
        if self._each is not None:
            self._each(record)
        event = bytes(record.event)
        if event.startswith(b'{"checkpoint"'):
            self._checkpoints.check(record, event)
        elif event.startswith(b'{"lifecycle"'):
            found = read_lifecycle(record)
            if found and found.kind == "segments_removed" and found.detail.get("last", "").isdecimal():
                self._checkpoints.claim_removed(int(found.detail["last"]), number)

    # --- the end

    def compare_with_copies(self, name: str, copies: bytes) -> None:
        """Every checkpoint that was kept elsewhere must be in the journal, unless retention removed it."""
        self._checkpoints.compare_with_copies(name, copies, self._ends)
