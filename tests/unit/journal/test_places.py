"""The journals of several workers, verified as one: each must be there, and be its own."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from extauthz.cli.audit import command
from extauthz.journal import Journal, JournalIdentity, JournalOptions
from extauthz.journal.keys import load_public_key
from extauthz.journal.places import verify_all, worker_name
from tests.fakes import a_record

WORKERS = 3


def write(root: Path, worker: int | None, boot: str, records: range) -> None:
    """What a worker writes; None is a server without workers."""
    name = worker_name(worker) if worker is not None else ""
    options = JournalOptions(
        directory=str(root / name),
        signing_key_file="" if worker is None else str(root / "signing.key"),
        pseudonym_key_file="" if worker is None else str(root / "pseudonym.key"),
    )
    journal = Journal(options, JournalIdentity(instance=f"pod-0/{name}" if name else "pod-0", boot=boot))
    for number in records:
        journal.record(a_record(number))
    journal.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server that first served alone, then with three workers, one of which was started twice."""
    for boot, worker in enumerate((None, 0, 1, 2, 1)):
        write(tmp_path, worker, f"boot-{boot}", range(boot * 10, boot * 10 + 10))
    return tmp_path


def findings(root: Path, *checkpoints: Path) -> list[tuple[str, str]]:
    """Kind of finding and directory."""
    keys = [load_public_key(root / "signing.pub")]
    return [
        (finding.kind, Path(report.directory).name)
        for report in verify_all(root, keys, checkpoints)
        for finding in report.findings
    ]


def test_all_journals_of_a_server_verify_with_its_one_key(root: Path) -> None:
    keys = [load_public_key(root / "signing.pub")]
    reports = verify_all(root, keys)
    assert [root.name, "worker-0", "worker-1", "worker-2"] == [Path(report.directory).name for report in reports]
    assert all(report.holds for report in reports)
    assert [1, 1, 2, 1] == [report.boots for report in reports]
    said = CliRunner().invoke(
        command, ["verify", str(root), "--public-key", str(root / "signing.pub"), "--format", "json"]
    )
    assert (0, True) == (said.exit_code, json.loads(said.stdout)["ok"])
    assert 4 == len(json.loads(said.stdout)["journals"])


def test_a_changed_record_of_one_worker_breaks_the_whole(root: Path) -> None:
    segment = next((root / "worker-2").glob("segment-*.ndjson"))
    segment.write_bytes(segment.read_bytes().replace(b'"outcome":"allow"', b'"outcome":"deny_"', 1))
    assert {"worker-2"} == {where for _, where in findings(root)}
    said = CliRunner().invoke(command, ["verify", str(root)])
    assert 1 == said.exit_code
    assert f"{root / 'worker-2'}\n" in said.stdout


def test_a_missing_worker_s_journal_is_found_by_its_neighbours(root: Path) -> None:
    shutil.rmtree(root / "worker-1")
    assert [("missing_journal", "worker-1")] == findings(root)


def test_the_last_worker_s_missing_journal_is_found_by_what_was_kept_elsewhere(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"".join((root / worker_name(n) / "checkpoints.ndjson").read_bytes() for n in range(WORKERS)))
    assert [] == findings(root, kept)
    shutil.rmtree(root / "worker-2")
    assert [] == findings(root)
    assert [("missing_journal", "worker-2")] == findings(root, kept)


def test_one_worker_s_journal_does_not_pass_for_another_s(root: Path) -> None:
    """All sign with one key, so that a copy would verify by its signatures alone."""
    shutil.rmtree(root / "worker-1")
    shutil.copytree(root / "worker-0", root / "worker-1")
    assert [("wrong_opening", "worker-1")] == findings(root)


def test_a_cut_journal_is_found_by_the_copies_that_all_workers_wrote_into_one_file(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"".join((root / worker_name(n) / "checkpoints.ndjson").read_bytes() for n in range(WORKERS)))
    cut = root / "worker-1"
    max(cut.glob("segment-*.ndjson")).unlink()
    (cut / "checkpoints.ndjson").unlink()
    assert ("truncated", "worker-1") in findings(root, kept)
    assert {"worker-1"} == {where for _, where in findings(root, kept)}


def test_records_of_all_workers_are_shown_by_time(root: Path) -> None:
    said = CliRunner().invoke(command, ["show", str(root), "--outcome", "allow"])
    times = [json.loads(line)["time"] for line in said.stdout.splitlines()]
    assert 50 == len(times)
    assert sorted(times) == times
