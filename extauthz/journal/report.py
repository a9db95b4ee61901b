"""What a verification found, as values and as text."""

from typing import Literal

from msgspec import Struct

FindingKind = Literal[
    "unreadable",  # a line that is no record
    "edited",  # the bytes of a record do not have the record's hash
    "replaced",  # a record does not continue the one before it, though each is whole
    "gap",  # records are missing
    "reordered",  # a record stands where another belongs
    "missing_segment",
    "sealed_tail",  # whole lines behind the last record of a boot that a crash cannot explain
    "truncated",  # a checkpoint names records that are not there
    "checkpoint_mismatch",  # a checkpoint says something else than the records
    "bad_signature",
    "key_changed",  # signed by a key that was not given
    "unsigned",  # nobody's checkpoint speaks for so many, or such late, records as the verifier asks for
    "wrong_opening",  # a segment whose first record is not its own
    "missing_journal",  # of a worker
]


class Finding(Struct, frozen=True):
    """One break. `line` counts from 1 in the segment; 0 when the break is about the file as a whole."""

    kind: FindingKind
    segment: str
    line: int
    seq: int  # -1 when unknown
    message: str

    def __str__(self) -> str:
        """`segment-0000000001.ndjson:17: seq 16: edited: …`."""
        where = f"{self.segment}:{self.line}" if self.line else self.segment
        return f"{where}: {f'seq {self.seq}: ' if self.seq >= 0 else ''}{self.kind}: {self.message}"


Authorship = Literal[
    "given_key",  # the checkpoints were checked with keys that the verifier brought
    "own_key",  # with the `signing.pub` of the directory, which who rewrote the journal may have replaced
    "unknown",  # with none: anybody can have written all of it
]


class VerifyReport(Struct):
    """The result of reading a whole journal."""

    directory: str
    segments: int = 0
    records: int = 0
    boots: int = 0
    checkpoints: int = 0
    first_time: str = ""
    last_time: str = ""
    head: str = ""  # hash of the last record: kept elsewhere, it proves this state later
    signed: int = 0  # records covered by a valid checkpoint
    unsigned: int = 0  # records behind the last valid checkpoint
    signed_until: str = ""  # the latest time that a valid checkpoint names
    removed_through: int = 0  # last segment that retention removed, by a signed record
    authorship: Authorship = "unknown"
    keys: list[str] = []  # ids of the keys that signed
    findings: list[Finding] = []
    notes: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; who wrote it is another question, see `holds`."""
        return not self.findings

    @property
    def holds(self) -> bool:
        """Whether nothing is broken and a key vouches for it."""
        return self.ok and self.authorship != "unknown"


class Findings:
    """Adds findings to a report, at the place where the reading is."""

    def __init__(self, report: VerifyReport) -> None:
        self.report = report
        self.segment, self.line = "", 0

    def add(self, kind: FindingKind, seq: int, message: str, line: int = -1) -> None:
        """One break, in this line unless another is given (0: the file as a whole)."""
        self.report.findings.append(Finding(kind, self.segment, self.line if line < 0 else line, seq, message))


def text(report: VerifyReport) -> str:
    """For people: the verdict, what is broken, and what this can and cannot show."""
    lines = [str(finding) for finding in report.findings]
    lines.append(verdict(report))
    lines.append(
        f"{report.records} records of {report.boots} boots in {report.segments} segments, "
        f"{report.first_time or '-'} to {report.last_time or '-'}"
    )
    lines.append(f"{report.checkpoints} valid checkpoints by {', '.join(report.keys) or 'no key'}")
    lines += [f"note: {note}" for note in report.notes]
    lines.append(limits(report))
    return "\n".join(lines)


def verdict(report: VerifyReport) -> str:
    """What was verified, in one line."""
    if report.findings:
        return f"BROKEN: {len(report.findings)} findings, the first at {report.findings[0].segment}"
    if report.authorship == "unknown":
        return (
            "NOT PROVEN: every record carries its own hash and continues the one before, but only consistency was "
            "verified, not authorship: no public key was given or found, so anybody may have written all of it"
        )
    behind = f", which speak for all but the last {report.unsigned}" if report.unsigned else ""
    if report.authorship == "own_key":
        return (
            "consistent: every record continues the one before and fits the checkpoints of the key that lies in the "
            f"journal's own directory{behind}; who rewrote both goes unseen: give `--public-key` from elsewhere"
        )
    return f"intact: every record continues the one before and fits the checkpoints of the given keys{behind}"


def limits(report: VerifyReport) -> str:
    """What a cut end would and would not show."""
    tail = (
        f"the last {report.unsigned} records lie behind the last checkpoint, anybody who can write may have made them"
        if report.unsigned
        else "no record lies behind the last checkpoint"
    )
    return (
        f"limits: {tail}. A journal cut behind its last checkpoint cannot be told from one that ended there; cut "
        "before it, the copies in checkpoints.ndjson show it, and if those were cut too, only a copy kept elsewhere "
        f"(a sink, or `--checkpoints FILE`) shows it. Keep this head to prove today's state later: {report.head or '-'}"
    )
