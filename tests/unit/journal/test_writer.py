"""What enters the journal stays in it, in order, whole, and continues what was there."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from extauthz.journal import Journal, JournalError, JournalIdentity, JournalOptions, verify
from extauthz.journal.segments import SegmentFile
from tests.fakes import a_record
from tests.unit.journal.conftest import Journals

pytestmark = pytest.mark.timeout(60)


def decisions(journals: Journals) -> list[str]:
    events = [json.loads(line)["event"] for line in journals.lines()]
    return [event["decision"]["decision_id"] for event in events if "decision" in event]


def test_a_journal_opens_with_a_record_of_its_own_and_ends_signed(journals: Journals) -> None:
    journal = journals.open()
    journal.record(a_record())
    journal.close()
    events = [json.loads(line)["event"] for line in journals.lines()]
    assert ["segment", "checkpoint", "decision", "lifecycle", "checkpoint"] == [next(iter(event)) for event in events]
    opening = events[0]["segment"]
    assert ("pod-0", "boot-1", "boot", "0.1.0") == (
        opening["instance"],
        opening["boot"],
        opening["began"],
        opening["version"],
    )
    report = verify(journals.directory)
    assert (True, 5, 0) == (report.ok, report.signed, report.unsigned)


def test_a_restart_continues_the_chain_and_names_the_boot_before(journals: Journals) -> None:
    for number in range(3):
        journal = journals.open()
        journal.record(a_record(number))
        journal.close()
    report = verify(journals.directory)
    assert (True, 3, 15) == (report.ok, report.boots, report.records)
    first = [json.loads(segment.read_bytes().splitlines()[0]) for segment in journals.segments()]
    assert [None, "boot-1", "boot-2"] == [line["event"]["segment"].get("previous_boot") for line in first]
    last = [json.loads(segment.read_bytes().splitlines()[-1])["hash"] for segment in journals.segments()]
    assert ["0" * 64, *last[:2]] == [line["prev"] for line in first]
    assert [0, 5, 10] == [line["event"]["segment"].get("position", 0) for line in first]


def test_two_processes_cannot_have_one_directory(journals: Journals) -> None:
    journals.open()
    with pytest.raises(JournalError, match=f"belongs to another running process .pid {os.getpid()}"):
        journals.open()


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    options = JournalOptions(directory=str(tmp_path / "file" / "journal"))
    with pytest.raises(JournalError, match=r"journal directory `.*/file/journal` cannot be used: Not a directory"):
        Journal(options, JournalIdentity(instance="i", boot="b"))


def test_a_closed_journal_refuses_records(journals: Journals) -> None:
    journal = journals.open()
    journal.close()
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.record(a_record())


def test_segments_rotate_and_stay_one_chain(journals: Journals) -> None:
    journal = journals.open(segment_bytes=8000)
    for number in range(50):
        journal.record(a_record(number))
    journal.close()
    assert len(journals.segments()) > 3
    assert [f"decision-{number}" for number in range(50)] == decisions(journals)
    assert verify(journals.directory).ok


def test_several_decisions_are_one_write_all_or_none(journals: Journals) -> None:
    journal = journals.open()
    journal.record_all([a_record(number) for number in range(5)])
    journal.close()
    assert [f"decision-{number}" for number in range(5)] == decisions(journals)
    assert verify(journals.directory).ok


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_threads_never_break_the_chain(journals: Journals, durability: str) -> None:
    journal = journals.open(durability=durability, segment_bytes=40_000, checkpoint_records=50)

    def write(thread: int) -> None:
        for number in range(100):
            journal.record(a_record(thread * 1000 + number))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = decisions(journals)
    assert {f"decision-{t * 1000 + n}" for t in range(4) for n in range(100)} == set(found)
    assert 400 == len(found)
    assert verify(journals.directory).ok


def test_waiting_threads_share_one_synchronisation(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group commit: while the disk is busy, more records come together than synchronisations are made."""
    calls = []
    real = SegmentFile.synchronise

    def slow_disk(file: SegmentFile) -> None:
        calls.append(1)
        threading.Event().wait(0.01)
        real(file)

    monkeypatch.setattr(SegmentFile, "synchronise", slow_disk)
    journal = journals.open(durability="disk")
    threads = [
        threading.Thread(target=lambda n=n: [journal.record(a_record(n * 100 + i)) for i in range(10)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert 80 == len(decisions(journals))
    assert len(calls) < 60


def test_a_failed_synchronisation_refuses_the_record_and_leaves_the_file(journals: Journals) -> None:
    """After a failed fsync Linux may report success for data that is gone, so the file is not trusted again."""
    journal = journals.open(durability="disk")
    journal.record(a_record(1))
    reader, writer = os.pipe()  # a pipe takes writes and cannot be synchronised
    os.dup2(writer, journal._writer._file.descriptor)
    with pytest.raises(JournalError, match=r"cannot synchronise journal `.*`: Invalid argument"):
        journal.record(a_record(2))
    journal.record(a_record(3))
    journal.close()
    os.close(reader)
    os.close(writer)
    assert ["decision-1", "decision-3"] == decisions(journals)
    assert "distrust" == json.loads(journals.segments()[1].read_bytes().splitlines()[0])["event"]["segment"]["began"]
    assert ["gap"] == [finding.kind for finding in verify(journals.directory).findings]


def a_record_that_waits_for_the_disk(journal: Journal) -> int:
    """Its position; the thread that wrote it has not come to wait yet."""
    writer = journal._writer
    with writer._lock:
        writer._append_all([(writer.now(), b'{"lifecycle":{"kind":"stopped"}}')])
        return writer.position


def test_who_waits_for_the_disk_is_confirmed_only_when_the_left_segment_was_synchronised(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that another program touched is left, and what lies in it is brought to the disk before."""
    journal = journals.open(durability="disk")
    synchronised: list[tuple[int, int]] = []
    real = SegmentFile.synchronise

    def watched(file: SegmentFile) -> None:
        real(file)
        synchronised.append((file.number, file.size))

    monkeypatch.setattr(SegmentFile, "synchronise", watched)
    position = a_record_that_waits_for_the_disk(journal)
    size = journals.segments()[0].stat().st_size
    with journals.segments()[0].open("ab") as file:
        file.write(b"junk")
    assert journal._writer.open_new_segment_if_disturbed()
    journal.record(a_record(2))
    journal._writer._await_disk(position)
    assert (1, size) == synchronised[0]


@pytest.mark.parametrize("harm", ["removed", "cut", "unwritable"])
def test_a_record_whose_segment_was_lost_is_never_confirmed(journals: Journals, harm: str) -> None:
    journal = journals.open(durability="disk")
    position = a_record_that_waits_for_the_disk(journal)
    segment = journals.segments()[0]
    if harm == "removed":
        segment.unlink()
    elif harm == "cut":
        os.truncate(segment, 100)
    else:
        reader, end = os.pipe()  # takes writes and cannot be synchronised
        os.dup2(end, journal._writer._file.descriptor)
        os.close(reader)
        os.close(end)
    assert journal._writer.open_new_segment_if_disturbed()
    journal.record(a_record(2))
    with pytest.raises(JournalError, match="cannot synchronise journal"):
        journal._writer._await_disk(position)
    assert b"decision-2" in journals.segments()[-1].read_bytes()


def test_a_segment_that_could_not_be_synchronised_is_not_believed_the_next_time(journals: Journals) -> None:
    journal = journals.open(durability="disk")
    position = a_record_that_waits_for_the_disk(journal)
    file = journal._writer._file
    kept = os.dup(file.descriptor)
    reader, end = os.pipe()
    os.dup2(end, file.descriptor)
    with pytest.raises(JournalError):
        journal._writer._await_disk(position)
    os.dup2(kept, file.descriptor)  # the disk is well again and has forgotten what it lost
    with pytest.raises(JournalError):
        journal._writer._await_disk(position)
    journal.record(a_record(2))
    with pytest.raises(JournalError):
        journal._writer._await_disk(position)
    for descriptor in (kept, reader, end):
        os.close(descriptor)
    opening = json.loads(journals.segments()[1].read_bytes().splitlines()[0])["event"]["segment"]
    assert "distrust" == opening["began"]


def test_a_new_segment_whose_opening_cannot_be_synchronised_is_made_again(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journals.open(durability="disk", segment_bytes=100)  # a new segment for every record
    real, failed, following = SegmentFile.synchronise, [], len(journals.segments()) + 1

    def fails_once(file: SegmentFile) -> None:
        if file.number == following and not failed:
            failed.append(file.size)
            raise OSError(5, os.strerror(5))
        real(file)

    monkeypatch.setattr(SegmentFile, "synchronise", fails_once)
    with pytest.raises(JournalError, match="cannot begin a new segment in journal"):
        journal.record(a_record(1))
    journal.record(a_record(2))
    journal.close()
    assert ["decision-2"] == decisions(journals)
    assert verify(journals.directory).ok


_FULL_DISK = """
    import resource, sys
    from extauthz.journal import Journal, JournalError, JournalIdentity, JournalOptions
    from tests.fakes import a_record

    journal = Journal(JournalOptions(directory=sys.argv[1]), JournalIdentity(instance="pod-0", boot="boot-1"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    refused = 0
    for number in range(40):
        try:
            journal.record(a_record(number))
            print(number, flush=True)
        except JournalError as error:
            refused += 1
            last = str(error)
    assert refused > 10, refused
    assert "File too large" in last, last
    assert journal.status().error == last
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal._writer.tail()[1], resource.RLIM_INFINITY))
    journal.event("bundle_activated", {"revision": "r2", "digest": "d2"})
    journal.answered_without_record(2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.record(a_record(99))
    assert not journal.status().error
    print(99, refused)
    journal.close()
"""


def test_a_full_disk_refuses_each_record_until_there_is_room_and_says_so_after(journals: Journals) -> None:
    """Writes end short at the limit: what was written of a record is taken back, so the chain stays whole."""
    program = [sys.executable, "-c", textwrap.dedent(_FULL_DISK), str(journals.directory)]
    ended = subprocess.run(program, check=False, capture_output=True, text=True)
    assert "" == ended.stderr
    *written, last = ended.stdout.splitlines()
    assert [f"decision-{number}" for number in [*written, "99"]] == decisions(journals)
    assert verify(journals.directory).ok
    noted = [json.loads(line)["event"] for line in journals.lines()]
    told = [event["lifecycle"] for event in noted if "lifecycle" in event]
    assert ["bundle_activated", "journal_restored", "stopped"] == [event["kind"] for event in told]
    assert {"refused": last.split()[1], "unrecorded": "2"} == told[1]["detail"]


def fill(journal: Journal, size: int) -> None:
    """Until the open segment has that many bytes."""
    number = 0
    while journal._writer.tail()[1] < size:
        journal.record_all([a_record(number + more) for more in range(200)])
        number += 200


def test_a_large_segment_is_left_beside_the_path_and_the_journal_stays_whole(journals: Journals) -> None:
    """Bringing 256 MiB to the disk takes long; meanwhile records are taken."""
    journal = journals.open(segment_bytes=16 << 20)
    number, _ = journal._writer.tail()
    fill(journal, 16 << 20)
    before = journal._writer.tail()
    assert number == before[0] or before[1] < 1 << 20  # its thread may have looked just now
    end = time.monotonic() + 30
    while journal._writer.tail()[0] == number and time.monotonic() < end:
        time.sleep(0.05)
    assert number + 1 == journal._writer.tail()[0]
    journal.record(a_record(1))
    assert verify(journals.directory).ok


def test_a_segment_that_nobody_leaves_in_time_is_left_by_who_fills_it(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extauthz.journal.journal.TICK_SECONDS", 3600.0)
    journal = journals.open(segment_bytes=16 << 20, checkpoint_records=10**9)
    fill(journal, 20 << 20)
    assert 1 == journal._writer.tail()[0]
    journal.record(a_record(1))
    assert 2 == journal._writer.tail()[0]


def test_a_checkpoint_names_the_bundle_in_force_also_after_an_order_that_failed(journals: Journals) -> None:
    journal = journals.open()
    journal.event("bundle_activated", {"revision": "r8", "digest": "d8"})
    journal.event("bundle_rolled_back", {"from": "r8", "from_digest": "d8", "to": "r7", "digest": "d7"})
    journal.event(
        "bundle_order_refused", {"from": "r8", "from_digest": "d8", "digest": "d7", "why": "the disk is full"}
    )
    journal.checkpoint()
    assert "d8" == json.loads(journals.lines()[-1])["event"]["checkpoint"]["bundle_digest"]


_KILLED = """
    import sys, threading, time
    from extauthz.journal import Journal, JournalIdentity, JournalOptions
    from tests.fakes import a_record

    options = JournalOptions(directory=sys.argv[1], durability=sys.argv[3], segment_bytes=60_000, checkpoint_records=40)
    journal = Journal(options, JournalIdentity(instance="pod-0", boot=f"boot-{sys.argv[2]}"))

    def write(thread):
        for number in range(1_000_000):
            name = f"{sys.argv[2]}-{thread}-{number}"
            journal.record(a_record(decision_id=name, time=time.time()))
            sys.stdout.write(name + chr(10))
            sys.stdout.flush()

    for thread in range(4):
        threading.Thread(target=write, args=(thread,)).start()
"""


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_kill_9_loses_nothing_that_was_answered(journals: Journals, durability: str) -> None:
    """Whatever was confirmed before the kill is in the journal, and the journal verifies up to the cut."""
    confirmed: list[str] = []
    for boot in range(4):
        program = [sys.executable, "-c", textwrap.dedent(_KILLED), str(journals.directory), str(boot), durability]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
            confirmed += [child.stdout.readline().strip() for _ in range(150 + 50 * boot)]
            child.kill()
            rest = child.stdout.read().splitlines(keepends=True)
        confirmed += [line.strip() for line in rest if line.endswith("\n")]
        report = verify(journals.directory)
        assert [] == report.findings
        assert boot + 1 == report.boots
    assert set(confirmed) <= set(decisions(journals))


def test_a_record_cut_by_a_crash_is_named_by_the_next_boot(journals: Journals) -> None:
    journal = journals.open()
    journal.record(a_record(1))
    journal.close()
    with journals.segments()[0].open("ab") as file:
        file.write(b'{"seq":4,"time":"2026-')
    before = verify(journals.directory)
    assert before.ok
    assert "ends with an unfinished record of 22 bytes" in before.notes[0]
    size = journals.segments()[0].stat().st_size

    journals.open().close()
    sealed = json.loads(journals.segments()[1].read_bytes().splitlines()[0])["event"]["segment"]["sealed"]
    assert (1, size - 22, 22) == (sealed["segment"], sealed["offset"], sealed["bytes"])
    after = verify(journals.directory)
    assert after.ok
    assert "named by the next boot" in after.notes[0]
    assert size == journals.segments()[0].stat().st_size  # evidence is never touched


def test_a_segment_that_was_begun_and_never_written_does_not_break_the_chain(journals: Journals) -> None:
    journals.open().close()
    (journals.directory / "segment-0000000002.ndjson").touch()
    assert verify(journals.directory).ok
    journals.open().close()
    assert 2 == len(journals.segments())
    assert verify(journals.directory).ok


def test_a_segment_that_another_program_cut_is_left_and_named(journals: Journals) -> None:
    journal = journals.open()
    journal.record(a_record(1))
    os.truncate(journals.segments()[0], 100)
    assert journal._writer.open_new_segment_if_disturbed()
    journal.record(a_record(2))
    journal.close()
    told = [json.loads(line)["event"].get("lifecycle") for line in journals.segments()[1].read_bytes().splitlines()]
    assert {"kind": "segment_disturbed", "detail": {"segment": "segment-0000000001.ndjson"}} in told
    assert not verify(journals.directory).ok


def test_checkpoints_come_by_count_and_when_idle(journals: Journals) -> None:
    journal = journals.open(checkpoint_records=10, checkpoint_seconds=1)
    for number in range(10):
        journal.record(a_record(number))
    deadline = threading.Event()
    for _ in range(100):
        if verify(journals.directory).checkpoints >= 3:
            break
        deadline.wait(0.1)
    journal.close()
    signed = [json.loads(line)["event"].get("checkpoint") for line in journals.lines()]
    found = [checkpoint for checkpoint in signed if checkpoint]
    assert 1 == found[0]["records"]  # at the start, before the first decision
    assert 12 == found[1]["records"]
    assert found[2]["records"] == found[1]["records"] + 1  # idle: nothing but the checkpoint itself
    assert verify(journals.directory).ok


def test_a_step_of_the_clock_is_noted(journals: Journals) -> None:
    offset = [0.0]
    journal = journals.open(clock=lambda: time.time() + offset[0])
    offset[0] = 3600.0
    journal._watch_clock()
    journal.close()
    told = [json.loads(line)["event"].get("lifecycle") or {} for line in journals.lines()]
    steps = [event["detail"]["seconds"] for event in told if event.get("kind") == "clock_stepped"]
    assert ["+3600.0"] == [step[:7] for step in steps[:1]]


def test_a_journal_shorter_than_its_last_checkpoint_is_noted_at_start(journals: Journals) -> None:
    journal = journals.open()
    journal.record(a_record(1))
    journal.close()
    segment = journals.segments()[0]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:2]))
    journals.open().close()
    told = [json.loads(line)["event"].get("lifecycle") or {} for line in journals.lines()]
    missing = [event["detail"] for event in told if event.get("kind") == "records_missing"]
    assert [{"stated": "5", "found": "2", "boot": "boot-1"}] == missing


def test_retention_removes_old_segments_and_says_so(journals: Journals) -> None:
    journal = journals.open(segment_bytes=5000, keep_segments=3)
    for number in range(60):
        journal.record(a_record(number))
    journal.remove_old_segments()
    journal.close()
    assert 3 <= len(journals.segments()) <= 4
    report = verify(journals.directory)
    assert [] == report.findings
    assert report.removed_through > 5


def test_a_kill_between_a_checkpoint_and_its_copy_leaves_the_journal_intact(journals: Journals) -> None:
    journal = journals.open()
    journal.checkpoint()
    before = (journals.directory / "checkpoints.ndjson").read_bytes()
    journal.checkpoint()
    journal._writer.close()
    journal._lock.release()
    (journals.directory / "checkpoints.ndjson").write_bytes(before)
    journals.opened.clear()
    journals.open().close()
    assert [] == verify(journals.directory).findings
