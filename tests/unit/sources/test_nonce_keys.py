"""The keys of nonces: one file for all replicas."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from extauthz.identity import NonceKeys
from extauthz.sources.nonce_keys import DpopOptions, NonceKeyError, NonceKeySource, load_nonce_keys

KEY, OLD, NEW = "k" * 44, "o" * 44, "n" * 44


def load(file: Path) -> tuple[bytes, ...]:
    return load_nonce_keys(DpopOptions(nonce_key_file=str(file))).keys


def test_dp_19_replicas_with_one_file_have_one_key(tmp_path: Path) -> None:
    file = tmp_path / "nonce.key"
    file.write_text(f"{KEY}\n{OLD}\n")
    assert (KEY.encode(), OLD.encode()) == load(file)
    one, two = (load_nonce_keys(DpopOptions(nonce_key_file=str(file))) for _ in range(2))
    assert one.issue(1_800_000_000, 120) == two.issue(1_800_000_000, 120)


def test_dp_19_without_a_file_every_process_has_a_key_of_its_own() -> None:
    one, two = load_nonce_keys(DpopOptions()), load_nonce_keys(DpopOptions())
    assert one.issue(1_800_000_000, 120)
    assert one.issue(1_800_000_000, 120) != two.issue(1_800_000_000, 120)


@pytest.mark.parametrize("content", ["", "short", f"{KEY}\nshort", "\n".join([KEY] * 5)])
def test_a_file_that_holds_no_key_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "nonce.key"
    file.write_text(content)
    with pytest.raises(
        NonceKeyError, match=r"`dpop.nonceKeyFile`: it must hold 1 to 4 lines of 32 characters"
    ) as error:
        load(file)
    assert KEY not in str(error.value)


def test_a_file_that_is_not_there_is_named_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(NonceKeyError, match=r"`dpop.nonceKeyFile`: the file cannot be read: no such file"):
        load(tmp_path / "nothing")


# --- a file that changes


class Watched:
    """A file, what is read of it, and what is said."""

    def __init__(self, file: Path) -> None:
        self.file, self.told = file, list[NonceKeys]()
        self.write(KEY)
        self.source = NonceKeySource(DpopOptions(nonce_key_file=str(file)), self.told.append, poll_seconds=0.01)

    def write(self, *lines: str) -> None:
        """As Kubernetes does it: another file under the same name."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text("\n".join(lines))
        fresh.rename(self.file)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path / "nonce.key")
    yield found
    found.source.stop()


def test_dp_19_a_key_is_replaced_without_a_challenge_in_three_steps(watched: Watched) -> None:
    """Between two steps every replica recognises what the other makes."""
    now, keys = 1_800_000_000, [watched.source.first]
    for lines in ((KEY, NEW), (NEW, KEY), (NEW,)):
        watched.write(*lines)
        watched.source.refresh()
        keys.append(watched.told[-1])
    assert [(KEY,), (KEY, NEW), (NEW, KEY), (NEW,)] == [tuple(k.decode() for k in found.keys) for found in keys]
    for old, new in pairwise(keys):
        assert old.expiry(new.issue(now, 120), now, 120, 10)
        assert new.expiry(old.issue(now, 120), now, 120, 10) or new.keys == (NEW.encode(),)


def test_dp_19_a_bad_file_keeps_the_keys_and_is_logged_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    for content in ("short", "short", "other"):
        watched.write(content)
        watched.source.refresh()
        watched.source.refresh()
    watched.file.unlink()
    watched.source.refresh()
    watched.source.refresh()
    assert [] == watched.told
    first, second = [record.getMessage() for record in caplog.records]
    assert first.endswith("old stay in force: `dpop.nonceKeyFile`: it must hold 1 to 4 lines of 32 characters or more")
    assert second.endswith("the file cannot be read: no such file or directory")
    watched.write(KEY)
    watched.source.refresh()
    assert [] == watched.told
    watched.write(NEW, KEY)
    watched.source.refresh()
    assert [(NEW.encode(), KEY.encode())] == [keys.keys for keys in watched.told]
    assert KEY not in caplog.text
    assert NEW not in caplog.text


def test_dp_19_the_watch_tells_of_new_keys_by_itself_and_ends(watched: Watched) -> None:
    watched.source.start()
    watched.write(NEW)
    end = time.monotonic() + 10
    while not watched.told and time.monotonic() < end:
        time.sleep(0.01)
    watched.source.stop()
    assert [(NEW.encode(),)] == [keys.keys for keys in watched.told]


def test_without_a_file_nothing_is_watched() -> None:
    source = NonceKeySource(DpopOptions(), [].append)
    source.start()
    source.stop()
    assert source.first.keys
