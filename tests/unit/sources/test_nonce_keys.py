"""The keys of nonces: one file for all replicas."""

from pathlib import Path

import pytest

from extauthz.sources.nonce_keys import DpopOptions, NonceKeyError, load_nonce_keys

KEY, OLD = "k" * 44, "o" * 44


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
