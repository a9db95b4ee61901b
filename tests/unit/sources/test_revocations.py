"""The run-time list: in force at once, on disk whole, never quietly empty."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from extauthz.guards import NEVER, Entry
from extauthz.model.subject import Subject
from extauthz.sources import (
    Change,
    EmergencyError,
    EmergencyFileError,
    Operator,
    RevocationsOptions,
    RuntimeEmergencies,
    UnknownEntryError,
)

WHO = Operator("operator-1", 1000, "INC-1")


class Listed:
    """A list, its file and what it said."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.file, self.now, self.changes = directory / "revoked", 1000.0, []
        self.options = RevocationsOptions(**{"file": str(self.file)} | options)
        self.copy = directory / "revoked.copy"
        self.list = self.fresh()

    def fresh(self) -> RuntimeEmergencies:
        return RuntimeEmergencies(self.options, lambda: self.now, self.changes.append, lambda: self.now)

    def restarted(self) -> "Listed":
        self.list.close()
        self.list = self.fresh()
        self.list.open()
        return self

    def revoke(self, value: str = "u1", until: int = NEVER) -> Change:
        return self.list.add(Entry(selector="client", value=value, until=until), WHO)

    def revoked(self, value: str = "u1") -> str:
        found = self.list.listed.denied.find(
            Subject(issuer="https://idp.test", id="x", client=value), "", self.list.moment(int(self.now))
        )
        return f"`{found.selector}` of {found.place}" if found else ""

    def said(self) -> list[tuple[str, str]]:
        return [(change.kind, change.entry.value) for change in self.changes]


@pytest.fixture
def listed(tmp_path: Path) -> Listed:
    found = Listed(tmp_path)
    assert not found.list.open(), "there is no file yet"
    return found


def test_an_entry_is_in_force_at_once_and_after_a_restart_and_names_itself(listed: Listed) -> None:
    entry = listed.revoke().entry
    for _ in range(2):
        assert f"`client` of run-time entry `{entry.id}`" == listed.revoked()
        assert [entry] == listed.list.entries()
        listed.restarted()


def test_a_restored_entry_stays_restored_after_a_restart(listed: Listed) -> None:
    change = listed.revoke()
    listed.revoke("u2")
    listed.list.end(change.entry.id, WHO)
    assert "" == listed.revoked() == listed.restarted().revoked()
    assert listed.revoked("u2")
    assert [("added", "u1"), ("added", "u2"), ("removed", "u1")] == listed.said()


def test_an_ended_entry_is_without_effect_and_forgotten_with_the_next_change(listed: Listed) -> None:
    listed.revoke(until=1010)
    listed.now = 1010.0
    assert ("", 0, []) == (listed.revoked(), listed.list.in_force(), listed.list.entries())
    listed.revoke("u2")
    assert [("added", "u1"), ("expired", "u1"), ("added", "u2")] == listed.said()
    listed.list.end(listed.list.entries()[0].id, WHO)
    listed.revoke("u3", until=1020)
    listed.now = 1020.0
    assert 0 == listed.restarted().list.in_force()
    assert b"u3" not in listed.file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[:-2],
        lambda text: text.replace(b"u1", b"u2"),
        lambda text: text + text.splitlines()[1] + b"\n",
        lambda text: text.splitlines()[0] + b"\n",
        lambda text: text.replace(b"emergencies 2", b"emergencies 3"),
        lambda text: b"\xff\xfe" + text,
        lambda text: b"[]\n",
    ],
)
def test_a_file_whose_copy_is_damaged_too_ends_the_start_and_is_left_as_it_is(listed: Listed, damage: Any) -> None:
    listed.revoke()
    broken = damage(listed.file.read_bytes())
    listed.file.write_bytes(broken)
    listed.copy.write_bytes(broken)
    with pytest.raises(EmergencyFileError, match=r"is damaged: .*; its copy `revoked.copy` too: .*: put a good copy"):
        listed.restarted()
    assert broken == listed.file.read_bytes()
    listed.copy.unlink()
    with pytest.raises(
        EmergencyFileError, match=r"is damaged: .*; its copy `revoked.copy` is missing: put a good copy"
    ):
        listed.restarted()


@pytest.mark.parametrize("damage", [lambda text: b"", lambda text: text.replace(b"u1", b"u2"), None])
def test_of_a_damaged_or_missing_file_the_copy_knows_what_is_denied(listed: Listed, damage: Any) -> None:
    entry = listed.revoke().entry
    listed.list.close()
    if damage is None:
        listed.file.unlink()
    else:
        listed.file.write_bytes(damage(listed.file.read_bytes()))
    listed.list = listed.fresh()
    found = listed.list.open()
    assert ("copy", 0, [entry]) == (found.origin, found.dropped, listed.list.entries())
    assert listed.revoked()
    assert listed.file.read_bytes() == listed.copy.read_bytes(), "both are whole again"


def test_a_damaged_copy_is_made_anew(listed: Listed) -> None:
    listed.revoke()
    listed.copy.write_bytes(b"damaged")
    listed.restarted()
    assert listed.file.read_bytes() == listed.copy.read_bytes()


def test_the_file_of_a_version_that_knew_revocations_alone_is_read(listed: Listed) -> None:
    line = b'{"id":"r-1","selector":"client","value":"u1","reason":"INC-1","operator":"op","uid":0,"created":1}\n'
    head = {"format": "extauthz revocations 1", "entries": 1, "sha256": hashlib.sha256(line).hexdigest()}
    listed.list.close()
    listed.copy.unlink()
    listed.file.write_bytes(json.dumps(head).encode() + b"\n" + line)
    assert "`client` of run-time entry `r-1`" == listed.restarted().revoked()
    assert b"extauthz emergencies 2" in listed.file.read_bytes()


def test_an_unreadable_file_or_directory_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "revoked").mkdir()
    with pytest.raises(EmergencyFileError, match="cannot be used: is a directory"):
        Listed(tmp_path).list.open()
    with pytest.raises(EmergencyFileError, match="cannot be used: no such file or directory"):
        Listed(tmp_path / "nowhere").list.open()


def test_two_servers_do_not_share_a_file(listed: Listed) -> None:
    other = Listed(listed.file.parent)
    with pytest.raises(EmergencyFileError, match="belongs to another running process"):
        other.list.open()
    listed.list.close()
    assert other.list.open()


def test_when_the_disk_fails_more_is_denied_rather_than_less(listed: Listed) -> None:
    """A revocation counts although it was not kept; a restoration that was not kept does not."""
    first = listed.revoke().entry
    (listed.file.parent / "revoked.copy.new").mkdir()
    change = listed.revoke("u2")
    assert "cannot be used: is a directory" in change.problem
    assert listed.revoked("u2")
    with pytest.raises(EmergencyFileError):
        listed.list.end(first.id, WHO)
    assert listed.revoked()
    (listed.file.parent / "revoked.copy.new").rmdir()
    assert "" == listed.revoke("u3").problem
    assert listed.restarted().revoked("u2"), "the next change that is kept keeps it too"


def test_a_full_list_says_so_and_makes_room_when_entries_end(tmp_path: Path) -> None:
    listed = Listed(tmp_path, max_entries=2)
    listed.list.open()
    listed.revoke("u1")
    listed.revoke("u2", until=1005)
    with pytest.raises(EmergencyError, match="the list is full: put it into the bundle"):
        listed.revoke("u3")
    listed.now = 1005.0
    listed.revoke("u3")


def test_without_a_file_nothing_can_be_revoked(tmp_path: Path) -> None:
    listed = Listed(tmp_path, file="")
    assert not listed.list.open()
    with pytest.raises(EmergencyError, match=r"`revocations\.file` is not set"):
        listed.revoke()


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Operator("", 0, "INC-1"), "operator: must be 1 to 100 printable characters"),
        (Operator("a", 0, "  "), "reason: must be 1 to 500 printable characters"),
        (Operator("a", 0, "x" * 501), "reason: must be 1 to 500 printable characters"),
        (Operator("a\n", 0, "INC-1"), "operator: must be 1 to 100 printable characters"),
    ],
)
def test_every_change_has_somebody_and_a_reason(listed: Listed, operator: Operator, message: str) -> None:
    with pytest.raises(EmergencyError, match=message):
        listed.list.add(Entry(selector="client", value="u1"), operator)
    with pytest.raises(EmergencyError, match=message):
        listed.list.end("r-1", operator)
    assert [] == listed.changes


def test_senseless_orders_change_nothing(listed: Listed) -> None:
    with pytest.raises(EmergencyError, match="until: must be in the future"):
        listed.revoke(until=1000)
    with pytest.raises(EmergencyError, match="issuer: missing"):
        listed.list.add(Entry(selector="subject", value="u1"), WHO)
    with pytest.raises(UnknownEntryError, match="no entry `r-1` is in force"):
        listed.list.end("r-1", WHO)
    assert [] == listed.changes


def test_changes_from_many_threads_are_all_kept(listed: Listed) -> None:
    threads = [threading.Thread(target=listed.revoke, args=(f"u{n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed.restarted()
    assert all(listed.revoked(f"u{n}") for n in range(20))


def test_the_file_is_for_its_owner_alone(listed: Listed) -> None:
    listed.revoke()
    assert 0o600 == listed.file.stat().st_mode & 0o777
