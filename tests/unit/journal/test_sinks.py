"""Sinks get every record, in order, at least once, and never slow the path."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extauthz.journal import SinkOptions
from extauthz.journal.sinks import Follower, StreamSink
from tests.fakes import a_record
from tests.unit.journal.conftest import Journals

pytestmark = pytest.mark.timeout(60)


def a_file(path: Path) -> SinkOptions:
    return SinkOptions(name="archive", type="file", path=str(path))


def until(condition: Callable[[], bool]) -> bool:
    """Longer than the longest pause of a sink that failed (30 s), which a busy machine can reach."""
    for _ in range(800):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_file_gets_every_record_over_segments_and_restarts(journals: Journals, tmp_path: Path) -> None:
    target = tmp_path / "archive.ndjson"
    for boot in range(3):
        journal = journals.open(segment_bytes=6000, sinks=(a_file(target),))
        for number in range(20):
            journal.record(a_record(boot * 20 + number))
        journal.close()
        assert 0 == journal.status().sinks[0].lag
    assert journals.lines() == target.read_bytes().splitlines()


def test_what_stdout_gets_are_the_lines_of_the_journal(tmp_path: Path) -> None:
    program = """
        import sys
        from extauthz.journal import Journal, JournalIdentity, JournalOptions, SinkOptions
        from tests.fakes import a_record

        options = JournalOptions(directory=sys.argv[1], sinks=(SinkOptions(name="console", type="stdout"),))
        journal = Journal(options, JournalIdentity(instance="pod-0", boot="boot-1"))
        for number in range(1000):
            journal.record(a_record(number))
        journal.close()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True).stdout
    assert (tmp_path / "segment-0000000001.ndjson").read_bytes() == printed


def test_a_sink_that_stands_still_never_slows_the_path(journals: Journals, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it for writing waits for a reader, for ever
    journal = journals.open(sinks=(a_file(pipe),))
    started = time.monotonic()
    for number in range(2000):
        journal.record(a_record(number))
    assert time.monotonic() - started < 5
    assert journal.status().sinks[0].lag >= 2000
    reader = os.open(pipe, os.O_RDONLY)
    closed = threading.Event()

    def drain() -> None:
        while not closed.is_set():
            if not os.read(reader, 1 << 20):
                time.sleep(0.005)  # between two deliveries nobody holds the other end

    try:
        assert until(lambda: bool(os.read(reader, 1 << 20)) and journal.status().sinks[0].lag < 2000)
    finally:
        threading.Thread(target=drain, daemon=True).start()
        journal.close()
        closed.set()


def test_a_sink_that_fails_is_noted_once_and_delivers_all_when_it_recovers(journals: Journals, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "archive.ndjson"
    journal = journals.open(sinks=(a_file(target),))
    for number in range(5):
        journal.record(a_record(number))
    assert until(lambda: journal.status().sinks[0].failures >= 2)
    target.parent.mkdir()
    assert until(lambda: journal.status().sinks[0].lag == 0)
    journal.close()
    told = [json.loads(line)["event"].get("lifecycle") for line in target.read_bytes().splitlines()]
    kinds = [event["kind"] for event in told if event]
    assert ["sink_failed", "sink_recovered"] == kinds[:2]
    delivered, written = target.read_bytes().splitlines(), journals.lines()
    assert delivered == written[: len(delivered)]
    assert len(delivered) >= len(written) - 1  # the last record of a run may be delivered by the next


def test_a_crash_between_delivery_and_cursor_delivers_twice_never_less(journals: Journals, tmp_path: Path) -> None:
    target = tmp_path / "archive.ndjson"
    journal = journals.open(sinks=(a_file(target),))
    journal.record(a_record(1))
    journal.close()
    (journals.directory / "cursors" / "archive.json").unlink()
    journals.open(sinks=(a_file(target),)).close()
    delivered = target.read_bytes().splitlines()
    written = journals.lines()
    assert set(written[:-2]) <= set(delivered) <= set(written)  # what a run says of its end may be for the next one
    assert len(journals.lines()) < len(delivered)


def test_a_file_that_log_rotation_renames_is_made_anew(journals: Journals, tmp_path: Path) -> None:
    target = tmp_path / "archive.ndjson"
    journal = journals.open(sinks=(a_file(target),))
    journal.record(a_record(1))
    assert until(lambda: journal.status().sinks[0].lag == 0)
    target.rename(tmp_path / "archive.1")
    journal.record(a_record(2))
    journal.close()
    assert journals.lines() == (tmp_path / "archive.1").read_bytes().splitlines() + target.read_bytes().splitlines()


def test_retention_waits_for_a_sink_up_to_its_bound_and_then_says_what_was_lost(
    journals: Journals, tmp_path: Path
) -> None:
    target = tmp_path / "missing" / "archive.ndjson"
    journal = journals.open(segment_bytes=5000, keep_segments=2, keep_for_sinks=3, sinks=(a_file(target),))
    for number in range(60):
        journal.record(a_record(number))
        if number == 15:
            journal.remove_old_segments()
            assert 4 == len(journals.segments())  # waits: within the bound nothing is removed
    journal.remove_old_segments()
    assert len(journals.segments()) in {5, 6}  # saying so can begin a segment of its own
    kept = len(journals.lines())
    target.parent.mkdir()
    assert until(lambda: journal.status().sinks[0].lag == 0)
    status = journal.status().sinks[0]
    assert status.lost > 30
    assert status.delivered >= kept
    journal.close()
    told = [json.loads(line)["event"].get("lifecycle") or {} for line in target.read_bytes().splitlines()]
    lost = [event["detail"] for event in told if event.get("kind") == "sink_lost_records"]
    assert {"archive"} == {detail["sink"] for detail in lost}
    assert status.lost == sum(int(detail["records"]) for detail in lost)  # told once, or as often as some were


def test_a_follower_reads_only_what_is_confirmed(journals: Journals, tmp_path: Path) -> None:
    """Bytes of a write that failed and is taken back later are never delivered."""
    journal = journals.open()
    journal.record(a_record(1))
    target = tmp_path / "archive.ndjson"
    tail = journal._writer.tail()
    with journals.segments()[0].open("ab") as file:
        file.write(b"torn\n")
    follower = Follower(a_file(target), journals.directory, lambda: tail, lambda *_: None)
    while follower.step():
        pass
    assert b"torn" not in target.read_bytes()
    assert 3 == len(target.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a", "type": "file"}, "`path` is needed by type `file` and by no other"),
        ({"name": "a", "type": "stdout", "path": "/x"}, "`path` is needed by type `file` and by no other"),
        ({"name": "journal", "type": "stdout"}, "the name stands for the journal itself"),
    ],
)
def test_options_of_a_sink_that_cannot_be_meant_are_refused(fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SinkOptions(**fields)


def test_the_lines_of_several_workers_on_one_pipe_do_not_mix(tmp_path: Path) -> None:
    """Each write is as long as a pipe takes whole, and ends with a line."""
    read, write = os.pipe()
    found: list[bytes] = []
    with os.fdopen(read, "rb") as stream:
        reader = threading.Thread(target=lambda: found.extend(stream))
        reader.start()
        lines = {letter: (letter * 700).encode() + b"\n" for letter in "abcd"}
        batches = [threading.Thread(target=StreamSink(write).deliver, args=(line * 400,)) for line in lines.values()]
        for batch in batches:
            batch.start()
        for batch in batches:
            batch.join()
        os.close(write)
        reader.join()
    assert 1600 == len(found)
    assert set(lines.values()) == set(found)


def test_a_line_longer_than_a_pipe_takes_whole_arrives_too(tmp_path: Path) -> None:
    target = tmp_path / "out"
    lines = b"short\n" + b"x" * 10_000 + b"\nshort\n"
    with target.open("wb") as file:
        StreamSink(file.fileno()).deliver(lines)
    assert lines == target.read_bytes()
