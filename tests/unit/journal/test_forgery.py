"""Who can write the directory but has no key cannot make a journal that passes for the server's."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from extauthz.cli.audit import command
from extauthz.journal import JournalError, VerifyReport, verify
from extauthz.journal.bounds import Bounds
from extauthz.journal.chain import GENESIS, parse_line, seal
from extauthz.journal.copies import CHECKPOINTS_FILE
from extauthz.journal.keys import load_public_key
from tests.fakes import a_record
from tests.unit.journal.conftest import Journals

pytestmark = pytest.mark.timeout(60)

Event = tuple[bytes, bytes]  # time, event


class Victim:
    """A journal of one boot in a few segments, and what its owner keeps elsewhere."""

    def __init__(self, journals: Journals, elsewhere: Path) -> None:
        elsewhere.mkdir()
        opened = journals.open(segment_bytes=20_000, checkpoint_seconds=3600)
        for number in range(60):
            opened.record(a_record(number))
            if number % 10 == 9:
                opened.checkpoint()
        opened.close()
        self.directory = journals.directory
        self.key = elsewhere / "signing.pub"
        self.copies = elsewhere / "sink.ndjson"
        shutil.copy(self.directory / "signing.pub", self.key)
        shutil.copy(self.directory / CHECKPOINTS_FILE, self.copies)
        (self.directory / "signing.key").unlink()

    @property
    def keys(self) -> list[Ed25519PublicKey]:
        return [load_public_key(self.key)]

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("segment-*.ndjson"))

    def events(self, segment: Path) -> Iterator[Event]:
        """What a thief writes in the place of the segment's records: decisions turned, checkpoints left out."""
        for line in segment.read_bytes().splitlines():
            record = parse_line(line)
            event = re.sub(rb'"checkpoint_(records|seconds)":\d+,', b"", bytes(record.event))
            if not event.startswith(b'{"checkpoint"'):
                yield record.time.encode(), event.replace(b'"outcome":"allow"', b'"outcome":"deny"')

    def verify(self, **options: object) -> VerifyReport:
        return verify(self.directory, self.keys, **options)

    def command(self, *options: str) -> Result:
        return CliRunner().invoke(command, ["verify", str(self.directory), *options])


@pytest.fixture
def victim(journals: Journals, tmp_path: Path) -> Victim:
    made = Victim(journals, tmp_path / "elsewhere")
    assert len(made.segments()) > 2
    assert made.verify(checkpoints=[made.copies]).ok
    return made


def forge(
    file: Path, events: list[Event], seq: int = 0, head: bytes = GENESIS, *, behind: bytes = b""
) -> tuple[int, bytes]:
    """Write records with true hashes; returns the next seq and the head."""
    lines = []
    for time, event in events:
        line, head = seal(seq, time, event, head)
        seq += 1
        lines.append(line)
    file.write_bytes(behind + b"".join(lines))
    return seq, head


def kinds(report: VerifyReport) -> set[str]:
    return {finding.kind for finding in report.findings}


def rewritten(victim: Victim) -> None:
    """Every record written anew with true hashes and without any checkpoint; the copies in the directory removed."""
    seq, head = 0, GENESIS
    for segment in victim.segments():
        seq, head = forge(segment, list(victim.events(segment)), seq, head)
    (victim.directory / CHECKPOINTS_FILE).unlink()


def test_a_journal_rewritten_whole_without_checkpoints_is_not_the_servers(victim: Victim) -> None:
    rewritten(victim)
    report = victim.verify()
    assert {"unsigned"} == kinds(report)
    assert "no checkpoint by a known key speaks for any of the" in str(report.findings[0])
    assert 1 == victim.command("--public-key", str(victim.key)).exit_code
    assert 1 == victim.command().exit_code


def test_without_any_key_only_consistency_is_verified_and_the_command_fails_and_says_so(victim: Victim) -> None:
    rewritten(victim)
    (victim.directory / "signing.pub").unlink()
    shown = victim.command()
    assert 1 == shown.exit_code
    assert "NOT PROVEN" in shown.output
    assert "only consistency was verified, not authorship" in shown.output
    assert "intact" not in shown.output
    machine = json.loads(victim.command("--format", "json").output)
    assert (False, "unknown") == (machine["ok"], machine["report"]["authorship"])


def test_the_journals_own_key_is_said_to_be_no_more_than_that(victim: Victim) -> None:
    own = victim.command()
    assert 0 == own.exit_code
    assert "the key that lies in the journal's own directory" in own.output
    assert "intact" not in own.output
    given = victim.command("--public-key", str(victim.key))
    assert 0 == given.exit_code
    assert "intact: every record continues the one before and fits the checkpoints of the given keys" in given.output


def test_a_retention_record_that_nobody_signed_excuses_no_missing_segment(victim: Victim) -> None:
    last = victim.segments()[-1]
    end = parse_line(last.read_bytes().splitlines()[-1])
    claim = (end.time.encode(), b'{"lifecycle":{"kind":"segments_removed","detail":{"first":"1","last":"1"}}}')
    forge(last, [claim], end.seq + 1, end.hash.encode(), behind=last.read_bytes())
    victim.segments()[0].unlink()
    report = victim.verify(checkpoints=[victim.copies])
    assert {"missing_segment", "truncated"} <= kinds(report)
    assert "segment 1 is missing, and no signed record says" in str(report.findings[0])
    assert 0 == report.removed_through


def test_a_forged_segment_in_the_place_of_all_others_does_not_pass(victim: Victim) -> None:
    segments = victim.segments()
    events = [event for segment in segments for event in victim.events(segment)]
    following = len(segments) + 1
    opening = (events[0][0], events[0][1].replace(b'"number":1,', b'"number":%d,' % following))
    removed = b'{"lifecycle":{"kind":"segments_removed","detail":{"first":"1","last":"%d"}}}' % (following - 1)
    for segment in segments:
        segment.unlink()
    (victim.directory / CHECKPOINTS_FILE).unlink()
    forge(victim.directory / f"segment-{following:010d}.ndjson", [opening, (opening[0], removed), *events[1:]])
    report = victim.verify(checkpoints=[victim.copies])
    assert {"unsigned", "missing_segment", "truncated"} <= kinds(report)


def test_a_retention_record_speaks_for_segments_before_its_own_only(journals: Journals) -> None:
    opened = journals.open()
    opened.record(a_record(1))
    opened.event("segments_removed", {"first": "1", "last": "9"})
    opened.close()
    assert 0 == verify(journals.directory).removed_through


def test_a_tail_forged_behind_a_checkpoint_is_bounded_by_the_verifier(victim: Victim) -> None:
    """What the forged segment says about its own checkpoints does not matter."""
    first, *rest = victim.segments()
    for segment in rest:
        segment.unlink()
    lines = first.read_bytes().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines) if number > 2 and b'"event":{"checkpoint"' in line)
    kept = b"".join(lines[: cut + 1])
    end = parse_line(lines[cut].rstrip())
    copies = (victim.directory / CHECKPOINTS_FILE).read_bytes().splitlines(keepends=True)
    (victim.directory / CHECKPOINTS_FILE).write_bytes(b"".join(copies[:2]))
    event = b'{"decision":{"decision_id":"x","outcome":"allow","reason":"policy_allowed","status":200}}'

    def forged(count: int, time: bytes) -> None:
        forge(first, [(time, event)] * count, end.seq + 1, end.hash.encode(), behind=kept)

    now = end.time.encode()
    forged(15_001, now)
    assert {"unsigned"} == kinds(victim.verify())
    forged(4000, now)
    assert {"unsigned"} == kinds(victim.verify(bounds=Bounds(records=3999)))
    assert 1 == victim.command("--public-key", str(victim.key), "--max-unsigned", "3999").exit_code
    accepted = victim.command("--public-key", str(victim.key))
    assert 0 == accepted.exit_code
    assert "which speak for all but the last 4000" in accepted.output
    assert {"truncated"} == kinds(victim.verify(checkpoints=[victim.copies]))
    forged(3, b"2099-01-01T00:00:00.000000Z")
    assert {"unsigned"} == kinds(victim.verify())
    forged(3, b"in a while")
    assert {"unsigned"} == kinds(victim.verify())


def test_a_journal_that_a_running_server_did_not_sign_lately_is_found_when_asked(victim: Victim) -> None:
    """A server signs also when idle: what ends long ago was cut, or is no running server's."""
    asked = ["--public-key", str(victim.key), "--signed-since"]
    assert 0 == victim.command(*asked, "2000-01-01T00:00:00Z").exit_code
    late = victim.command(*asked, "2099-01-01T00:00:00Z")
    assert 1 == late.exit_code
    assert "before 2099-01-01T00:00:00" in late.output
    wrong = victim.command(*asked, "lately")
    assert 2 == wrong.exit_code
    assert "--signed-since" in wrong.output


def test_segments_are_removed_only_after_a_checkpoint_says_so(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill at any moment between leaves a journal that verifies, and so does a checkpoint that cannot be written."""
    opened = journals.open(segment_bytes=5000, checkpoint_seconds=3600)
    for number in range(40):
        opened.record(a_record(number))
    opened._options = type(opened._options)(directory=str(journals.directory), keep_segments=2)
    before = journals.segments()
    seen: list[VerifyReport] = []
    real: Callable[..., None] = Path.unlink

    def watched(path: Path, **options: bool) -> None:
        seen.append(verify(journals.directory))
        real(path, **options)
        seen.append(verify(journals.directory))

    def failing(*_: object) -> None:
        message = "the disk is full"
        raise JournalError(message)

    with monkeypatch.context() as patched:
        patched.setattr(opened._writer, "checkpoint", failing)
        opened.remove_old_segments()
    assert before == journals.segments()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", watched)
        opened.remove_old_segments()
    assert len(seen) >= 2 * (len(before) - 3)
    assert not [finding for report in seen for finding in report.findings]
    assert all(report.removed_through and not report.unsigned for report in seen)


def test_a_server_that_runs_meanwhile_is_not_taken_for_one_that_was_cut(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = journals.open()
    opened.record(a_record(1))
    walk = verify.__globals__["_Walk"]  # the module is hidden by its function's name
    real = walk.read_segments

    def slow(self: object) -> None:
        real(self)
        opened.record(a_record(2))
        opened.checkpoint()

    monkeypatch.setattr(walk, "read_segments", slow)
    assert verify(journals.directory).ok


def test_a_restart_signs_at_once_for_what_a_killed_process_left(journals: Journals) -> None:
    opened = journals.open(checkpoint_seconds=3600)
    opened.record(a_record(1))
    opened._writer.close()  # as after kill -9
    opened._lock.release()
    journals.opened.clear()
    assert 1 == verify(journals.directory).unsigned
    journals.open(checkpoint_seconds=3600)
    assert 0 == verify(journals.directory).unsigned
