"""Whoever changes the journal is found, and where."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.cli.audit import command
from extauthz.journal import verify
from extauthz.journal.chain import intact, seal
from extauthz.journal.checkpoint import Checkpoint, Signer
from extauthz.journal.keys import load_public_key
from extauthz.journal.report import Finding
from tests.fakes import a_record
from tests.unit.journal.conftest import Journals

Lines = list[bytes]


@pytest.fixture
def journal(journals: Journals) -> Path:
    """Two boots of three segments each, decisions 0 to 29 and 30 to 59, a checkpoint at both ends of each boot."""
    for boot in range(2):
        opened = journals.open(segment_bytes=13_000)
        for number in range(30):
            opened.record(a_record(boot * 30 + number))
        opened.close()
    assert verify(journals.directory).ok
    return journals.directory


def segment(number: int) -> str:
    return f"segment-{number:010d}.ndjson"


def change(directory: Path, number: int, edit: Callable[[Lines], Lines]) -> None:
    file = directory / segment(number)
    lines = edit(file.read_bytes().splitlines())
    file.write_bytes(b"".join(line + b"\n" for line in lines))


def findings(directory: Path, **options: object) -> list[Finding]:
    return verify(directory, **options).findings


def where(found: list[Finding]) -> list[tuple[str, str, int, int]]:
    return [(finding.kind, finding.segment, finding.line, finding.seq) for finding in found]


def resealed(lines: Lines, start: int) -> Lines:
    """What somebody writes who knows how the chain is made: all hashes true again from a line on."""
    prev = lines[start].split(b'"prev":"')[1][:64]
    out = lines[:start]
    for line in lines[start:]:
        record = json.loads(line)
        body = line[line.index(b'"event":') + 8 : line.rindex(b',"prev":"')]
        made, prev = seal(record["seq"], record["time"].encode(), body, prev)
        out.append(made.removesuffix(b"\n"))
    return out


def test_an_edited_record_is_named_by_segment_line_and_seq(journal: Path) -> None:
    def edit(lines: Lines) -> Lines:
        lines[4] = lines[4].replace(b'"outcome":"allow"', b'"outcome":"deny!"')
        return lines

    change(journal, 1, edit)
    found = findings(journal)
    assert [("edited", segment(1), 5, 4)] == where(found)
    assert (
        f"{segment(1)}:5: seq 4: edited: the record was changed: its bytes do not have the hash that it states"
        == str(found[0])
    )


def test_every_edited_record_is_named_not_only_the_first(journal: Path) -> None:
    def edit(lines: Lines) -> Lines:
        return [
            line.replace(b"decision-", b"decisi0n-") if index in {2, 4, 5} else line for index, line in enumerate(lines)
        ]

    change(journal, 1, edit)
    change(journal, 5, edit)
    assert [
        ("edited", 1, 3),
        ("edited", 1, 5),
        ("edited", 1, 6),
        ("edited", 5, 3),
        ("edited", 5, 5),
        ("edited", 5, 6),
    ] == [(finding.kind, int(finding.segment[8:18]), finding.line) for finding in findings(journal)]


def test_a_single_changed_bit_anywhere_is_found(journal: Path) -> None:
    file = journal / segment(2)
    content = file.read_bytes()
    for place in range(0, len(content), 97):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert findings(journal), f"bit {place} was changed and not found"
    file.write_bytes(content)
    assert not findings(journal)


def test_an_edit_with_a_recomputed_hash_breaks_the_link(journal: Path) -> None:
    def edit(lines: Lines) -> Lines:
        forged = lines[4].replace(b'"outcome":"allow"', b'"outcome":"deny!"')
        return [*lines[:4], resealed([*lines[:4], forged], 4)[4], *lines[5:]]

    change(journal, 1, edit)
    found = findings(journal)
    assert [("replaced", segment(1), 6, 5)] == where(found)
    assert "seq 4 or its hash was replaced" in found[0].message


def test_a_chain_rewritten_to_the_end_of_its_segment_does_not_fit_the_next(journal: Path) -> None:
    def edit(lines: Lines) -> Lines:
        lines[4] = lines[4].replace(b'"outcome":"allow"', b'"outcome":"deny!"')
        return resealed(lines, 4)

    change(journal, 1, edit)
    assert ("replaced", segment(2), 1) == where(findings(journal))[0][:3]


def test_a_chain_rewritten_to_its_very_end_contradicts_its_signed_checkpoints(journal: Path) -> None:
    """True links alone prove nothing: what was signed decides."""
    numbers = range(4, 7)
    head: bytes | None = None
    for number in numbers:

        def edit(lines: Lines, number: int = number) -> Lines:
            nonlocal head
            if number == 4:
                lines[4] = lines[4].replace(b'"outcome":"allow"', b'"outcome":"deny!"')
                lines = resealed(lines, 4)
            else:
                lines[0] = lines[0].replace(lines[0].split(b'"prev":"')[1][:64], head)
                lines = resealed(lines, 0)
            head = json.loads(lines[-1])["hash"].encode()
            return lines

        change(journal, number, edit)
    found = findings(journal)
    assert {"checkpoint_mismatch"} == {finding.kind for finding in found}
    assert segment(6) == found[0].segment
    assert "it was signed for other records than those before it" == found[0].message


def test_a_checkpoint_forged_for_a_rewritten_chain_has_a_bad_signature(journal: Path) -> None:
    signer = Signer(Ed25519PrivateKey.generate())
    true_key = load_public_key(journal / "signing.pub")

    def edit(lines: Lines) -> Lines:
        record = json.loads(lines[-1])
        stated = record["event"]["checkpoint"]
        stated.pop("signature")
        stated["records"] = record["seq"]
        forged = signer.sign(Checkpoint(**stated))
        line, _ = seal(record["seq"], record["time"].encode(), forged, record["prev"].encode())
        return [*lines[:-1], line.removesuffix(b"\n")]

    change(journal, 6, edit)
    found = findings(journal, public_keys=[true_key])
    assert ("bad_signature", segment(6)) == (found[0].kind, found[0].segment)


def test_a_removed_record_is_a_gap(journal: Path) -> None:
    change(journal, 1, lambda lines: lines[:4] + lines[5:])
    found = findings(journal)
    assert [("gap", segment(1), 5, 5)] == where(found)
    assert "1 records are missing before it, from seq 4 on" == found[0].message


def test_reordered_records_are_found(journal: Path) -> None:
    change(journal, 1, lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]])
    kinds = [finding.kind for finding in findings(journal)]
    assert "reordered" in kinds
    assert (segment(1), 5) == (findings(journal)[0].segment, findings(journal)[0].line)


def test_a_doubled_record_is_found(journal: Path) -> None:
    change(journal, 1, lambda lines: [*lines[:4], lines[3], *lines[4:]])
    assert ("reordered", segment(1), 5, 3) == where(findings(journal))[0]


def test_a_line_that_is_no_record_is_found(journal: Path) -> None:
    change(journal, 1, lambda lines: [*lines[:4], b"garbage", *lines[4:]])
    assert ("unreadable", segment(1), 5) == where(findings(journal))[0][:3]


def test_a_missing_segment_is_named(journal: Path) -> None:
    (journal / segment(2)).unlink()
    found = findings(journal)
    assert ("missing_segment", segment(3), 0) == where(found)[0][:3]
    assert "segment 2 is missing, and no signed record says that retention removed it" == found[0].message


def test_a_missing_first_segment_is_named(journal: Path) -> None:
    (journal / segment(1)).unlink()
    assert "segment 1 is missing, and no signed record says that retention removed it" in [
        f.message for f in findings(journal)
    ]


def test_swapped_segments_are_found(journal: Path) -> None:
    shutil.move(journal / segment(2), journal / "aside")
    shutil.move(journal / segment(3), journal / segment(2))
    shutil.move(journal / "aside", journal / segment(3))
    found = findings(journal)
    assert ("wrong_opening", segment(2)) == (found[0].kind, found[0].segment)
    assert "the first record is not the segment's own: it is that of segment 3" == found[0].message


def test_a_cut_before_the_last_checkpoint_shows_against_its_copy(journal: Path) -> None:
    change(journal, 6, lambda lines: lines[:3])
    found = findings(journal)
    assert [("truncated", "checkpoints.ndjson")] == [(finding.kind, finding.segment) for finding in found]
    assert "boot boot-2 had " in found[0].message


def test_a_boot_cut_away_whole_shows_against_the_copy(journal: Path) -> None:
    for number in (4, 5, 6):
        (journal / segment(number)).unlink()
    assert ["truncated"] == [finding.kind for finding in findings(journal)]


def test_a_cut_with_the_copies_cut_too_shows_against_a_copy_kept_elsewhere(journal: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "sink.ndjson"
    elsewhere.write_bytes(b"".join((journal / segment(number)).read_bytes() for number in range(1, 7)))
    change(journal, 6, lambda lines: lines[:3])
    copies = (journal / "checkpoints.ndjson").read_bytes().splitlines(keepends=True)
    (journal / "checkpoints.ndjson").write_bytes(b"".join(copies[:-1]))
    assert not findings(journal)  # this is what the report's `limits` says
    assert ["truncated"] == [finding.kind for finding in findings(journal, checkpoints=[elsewhere])]


def test_a_cut_behind_the_last_checkpoint_cannot_be_seen_and_the_report_says_so(journals: Journals) -> None:
    opened = journals.open()
    opened.record(a_record(1))
    opened.checkpoint()
    opened.record(a_record(2))
    opened.record(a_record(3))
    opened._writer.close()  # as after kill -9
    change(journals.directory, 1, lambda lines: lines[:-1])
    result = CliRunner().invoke(command, ["verify", str(journals.directory)])
    assert 0 == result.exit_code
    assert "the last 1 records lie behind the last checkpoint" in result.output
    assert "cannot be told from one that ended there" in result.output


def test_an_edited_copy_of_a_checkpoint_is_found(journal: Path) -> None:
    file = journal / "checkpoints.ndjson"
    file.write_bytes(file.read_bytes().replace(b'"position":', b'"position":1', 1))
    assert ("bad_signature", "checkpoints.ndjson", 1) == where(findings(journal))[0][:3]


def test_a_journal_signed_by_another_key_is_found(journal: Path, tmp_path: Path, journals: Journals) -> None:
    mine = tmp_path / "mine.pub"
    shutil.copy(journal / "signing.pub", mine)
    (journal / "signing.key").unlink()
    journals.open().close()
    found = findings(journal, public_keys=[load_public_key(mine)])
    assert ["key_changed"] == [finding.kind for finding in found]
    assert segment(7) == found[0].segment
    both = [load_public_key(mine), load_public_key(journal / "signing.pub")]
    assert not findings(journal, public_keys=both)
    kept = [file for file in journal.glob("signing-*.pub") if file.read_bytes() == mine.read_bytes()]
    assert 1 == len(kept)  # a new key never overwrites the old public key


def test_a_journal_remade_with_another_key_does_not_pass_for_the_old_one(journal: Path, tmp_path: Path) -> None:
    other = Journals(tmp_path / "other")
    opened = other.open()
    opened.record(a_record(1))
    opened.close()
    found = findings(other.directory, public_keys=[load_public_key(journal / "signing.pub")])
    assert "key_changed" in {finding.kind for finding in found}


def test_an_empty_directory_proves_nothing_and_says_that_it_is_empty(journal: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = CliRunner().invoke(command, ["verify", str(empty)])
    assert 1 == result.exit_code
    assert "NOT PROVEN" in result.output
    assert "0 records of 0 boots in 0 segments" in result.output
    found = findings(empty, public_keys=[load_public_key(journal / "signing.pub")])
    assert ["unsigned"] == [finding.kind for finding in found]


def test_the_command_exits_with_1_and_names_what_is_broken_in_both_formats(journal: Path) -> None:
    change(journal, 1, lambda lines: lines[:4] + lines[5:])
    text = CliRunner().invoke(command, ["verify", str(journal)])
    assert 1 == text.exit_code
    assert f"{segment(1)}:5: seq 5: gap: 1 records are missing before it" in text.output
    machine = CliRunner().invoke(command, ["verify", str(journal), "--format", "json"])
    assert 1 == machine.exit_code
    read = json.loads(machine.output)
    assert read["ok"] is False
    assert "gap" == read["report"]["findings"][0]["kind"]


def test_the_command_exits_with_3_when_a_key_is_no_key(journal: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pub"
    bad.write_text("no key")
    result = CliRunner().invoke(command, ["verify", str(journal), "--public-key", str(bad)])
    assert 3 == result.exit_code
    assert "it must be an Ed25519 public key in PEM" in result.output


def test_show_finds_a_decision_by_its_id(journal: Path) -> None:
    result = CliRunner().invoke(command, ["show", str(journal), "--decision-id", "decision-31"])
    assert 1 == len(result.output.splitlines())
    assert intact(result.output.strip().encode())
    assert "decision-31" == json.loads(result.output)["event"]["decision"]["decision_id"]


def test_show_filters_by_tenant_reason_outcome_and_time(journal: Path) -> None:
    def shown(*options: str) -> int:
        return len(CliRunner().invoke(command, ["show", str(journal), *options]).output.splitlines())

    assert 60 == shown("--tenant", "acme", "--reason", "policy_allowed", "--outcome", "allow")
    assert 0 == shown("--tenant", "umbrella")
    assert 0 == shown("--reason", "token_expired")
    assert 60 == shown("--since", "2026-11-18T11:06:40Z")
    assert 0 == shown("--since", "2026-11-18T11:06:41Z")
    assert 72 == shown("--all")  # six openings, two stops, a checkpoint at each end of the two boots


def test_show_says_what_a_time_looks_like(journal: Path) -> None:
    result = CliRunner().invoke(command, ["show", str(journal), "--since", "yesterday"])
    assert 2 == result.exit_code
    assert "must be RFC 3339 such as 2026-11-23T10:00:00Z, or 90s, 15m, 2h, 7d" in result.output


def test_an_investigator_finds_a_subjects_records_by_its_pseudonym(journal: Path) -> None:
    asked = ["pseudonym", "--key", str(journal / "pseudonym.key"), "--tenant", "acme", "--period", "2026-11"]
    subject = ["--issuer", "https://login.bank.test", "6f0c2f5e-1b7a-4c7e-9a51-0d3f5f0f8c11"]
    name = CliRunner().invoke(command, [*asked, *subject]).output.strip()
    shown = CliRunner().invoke(command, ["show", str(journal), "--subject", name])
    assert 60 == len(shown.output.splitlines())


def test_an_advanced_key_no_longer_finds_earlier_subjects(journal: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.key"
    later.write_text(
        CliRunner().invoke(command, ["advance-key", str(journal / "pseudonym.key"), "--to", "2026-12"]).output
    )
    asked = ["pseudonym", "--key", str(later), "--period", "2026-11", "--address", "203.0.113.9"]
    result = CliRunner().invoke(command, asked)
    assert 3 == result.exit_code
    assert "the key of `2026-12` cannot yield the key of the earlier `2026-11`" in result.output


@pytest.mark.parametrize("name", ["verify", "show", "pseudonym", "advance-key"])
def test_help_has_examples(name: str) -> None:
    assert "Examples:" in CliRunner().invoke(command, [name, "--help"]).output
