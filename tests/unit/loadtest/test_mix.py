"""The mix of a bank's day."""

from collections import Counter
from pathlib import Path

import pytest

from extauthz.cli.demo_stack import Issuer
from extauthz.cli.demo_tokens import Minter
from extauthz.cli.token import keygen
from loadtest.mix import Mix


@pytest.fixture(scope="module")
def minter(tmp_path_factory: pytest.TempPathFactory) -> Minter:
    keys = tmp_path_factory.mktemp("keys")
    keygen.main(["--out", str(keys)], standalone_mode=False)
    return Minter(Issuer("http://127.0.0.1:9", keys))


def test_kinds_come_by_their_weights_and_say_what_must_come_of_them(minter: Minter) -> None:
    mix = Mix(minter, users=3)
    found = Counter((sample.name, sample.expected) for sample in (mix.draw() for _ in range(3000)))
    assert len(Mix.KINDS) == len(found)
    assert 0.30 == pytest.approx(found["manager reads loan", 200] / 3000, abs=0.05)
    assert {200, 400, 401, 403} == {status for _, status in found}


def test_forged_tokens_are_never_the_same_twice(minter: Minter) -> None:
    mix = Mix(minter, users=1)
    forged = [s.headers["authorization"] for s in (mix.draw() for _ in range(500)) if s.name == "forged token"]
    assert len(forged) > 5
    assert 0.9 < len(set(forged)) / len(forged)


def test_tokens_are_minted_once_for_several_processes(
    minter: Minter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Mix(minter, users=2).save(tmp_path / "tokens.json")
    other = Mix(minter, users=2)
    other.load(tmp_path / "tokens.json")
    monkeypatch.setattr(Minter, "mint", lambda *_: pytest.fail("minted again"))
    other.mint_all()
    assert {sample.name for sample in (other.draw() for _ in range(500))} >= {"manager reads loan", "expired token"}
