"""Key files: made once, private, and never guessed around when they are wrong."""

import stat
from pathlib import Path

import msgspec
import pytest

from extauthz.journal import JournalError, JournalOptions
from tests.unit.journal.conftest import Journals


def test_keys_are_made_private_and_the_public_half_is_exported(journals: Journals) -> None:
    journals.open().close()
    modes = {
        name: stat.S_IMODE((journals.directory / name).stat().st_mode)
        for name in ("signing.key", "pseudonym.key", "signing.pub")
    }
    assert {"signing.key": 0o600, "pseudonym.key": 0o600, "signing.pub": 0o644} == modes
    assert b"BEGIN PUBLIC KEY" in (journals.directory / "signing.pub").read_bytes()


def test_keys_are_kept_over_restarts(journals: Journals) -> None:
    journals.open().close()
    before = {file.name: file.read_bytes() for file in journals.directory.glob("*.key")}
    journals.open().close()
    assert before == {file.name: file.read_bytes() for file in journals.directory.glob("*.key")}


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("signing_key_file", b"no key", "must be an unencrypted Ed25519 key in PEM"),
        ("signing_key_file", None, "signing key `.*` cannot be read: No such file or directory"),
        ("pseudonym_key_file", b"short", "at least 32 bytes, found 5"),
        ("pseudonym_key_file", None, "pseudonym key `.*` cannot be read: No such file or directory"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_one_clear_error_and_lets_the_directory_go(
    journals: Journals, tmp_path: Path, option: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(JournalError, match=words):
        journals.open(**{option: str(file)})
    assert [] == journals.segments()
    journals.open().close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"segmentBytes": 1}', "segmentBytes"),
        ('{"durability": "maybe"}', "durability"),
        ('{"checkpointSeconds": 0}', "checkpointSeconds"),
        ('{"directory": ""}', "directory"),
        ('{"sinks": [{"name": "a", "type": "stdout"}, {"name": "a", "type": "stdout"}]}', "defined more than once"),
        ('{"sinks": [{"name": "a b", "type": "stdout"}]}', "name"),
        ('{"unknown": 1}', "unknown"),
    ],
)
def test_options_are_checked_with_their_names(text: str, words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.json.decode(text, type=JournalOptions)
