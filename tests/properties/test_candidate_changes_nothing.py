"""Whatever the candidate is, also one that fails, and however it is called: every answer is the same bytes as without it."""

import itertools
import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.bundle import BundleError
from tests.unit.beside.bench import (
    ISSUER,
    PROFILES,
    READERS,
    Bench,
    a_check,
    bound_token,
    bundle,
    fixed_ids,
    proof,
    token,
)
from tests.unit.policy.generated import SPECS

BOUND = bound_token()
GOOD, OTHER, EXPIRED = token(), token(sub="bob", roles=["clerk"]), token(exp=1_799_999_000, iat=1_799_998_000)
FORGED = GOOD[:-8] + "AAAAAAAA"
PROOFS = [proof(BOUND, f"p-{number}") for number in range(3)]
# Every kind of Check; the same proof comes more than once.
CHECKS = [
    *(a_check("/accounts/1", "proven.test", f"DPoP {BOUND}", ("dpop", made)) for made in PROOFS),
    *(a_check(path, "api.test", f"Bearer {each}") for path in ("/accounts/1", "/x") for each in (GOOD, OTHER)),
    a_check("/accounts/1", "api.test", f"Bearer {EXPIRED}"),
    a_check("/accounts/1", "api.test", f"Bearer {FORGED}"),
    a_check("/accounts/1", "api.test"),
    *(a_check(path, "open.test", method=method) for path in ("/accounts/1", "/x/c1") for method in ("GET", "POST")),
    a_check("/accounts/1", "nowhere.test"),
    a_check("/accounts/%2e%2e/x", "open.test"),
    b"\xff\xff",
]
ISSUERS = [
    ISSUER,
    ISSUER.replace("audiences: [bank]", "audiences: [shop]"),
    ISSUER.replace("roles: [roles]", "roles: [groups]"),
]
PROFILE_SETS = [
    PROFILES,
    PROFILES.replace("{mode: required, issuers: [bank]}", "{mode: none}").replace(
        "  senderConstraint: {accept: [dpop], dpop: {nonce: optional}}\n", ""
    ),
    PROFILES.replace("nonce: optional", "nonce: required"),
    PROFILES.replace("hosts: [open.test]", "hosts: [elsewhere.test]"),
]


class Failing:
    """A part of a snapshot that fails, at random or always."""

    def __init__(self, real: Any, error: BaseException, rarely: bool, seed: int) -> None:
        self._real, self._error, self._rarely, self._random = real, error, rarely, random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name in _MADE_OF:
            return found
        if callable(found):
            return lambda *arguments: found(*arguments) if self._works() else self._fail()
        return found if self._works() else self._fail()

    def _works(self) -> bool:
        return self._rarely and self._random.random() < 0.5

    def _fail(self) -> None:
        raise self._error


_MADE_OF = {"profiles", "policies", "kinds", "literals"}  # what a snapshot looks at when it is made


@st.composite
def candidates(draw: Any) -> Any:
    """The files of a bundle, and how it fails if it does."""
    policies = draw(st.lists(SPECS, max_size=3))
    documents = [
        {"apiVersion": "extauthz.io/v1", "kind": "AccessPolicy", "metadata": {"name": f"p{number}"}, "spec": spec}
        for number, spec in enumerate(policies)
    ]
    text = yaml.safe_dump_all(documents) + ("---" + READERS if draw(st.booleans()) else "")
    files = bundle(text, draw(st.sampled_from(ISSUERS)), draw(st.sampled_from(PROFILE_SETS)))
    error = draw(
        st.sampled_from(
            [None, None, KeyError("x"), RecursionError(), MemoryError(), UnicodeDecodeError("u", b"", 0, 1, "")]
        )
    )
    broken = (
        draw(st.sampled_from(["profiles", "policies", "keys", "emergencies"])),
        error,
        draw(st.booleans()),
        draw(st.integers()),
    )
    return files, broken if error else None


@settings(max_examples=40, deadline=None)
@given(
    candidate=candidates(),
    picks=st.lists(st.lists(st.sampled_from(CHECKS), min_size=1, max_size=6), min_size=1, max_size=8),
)
def test_answers_records_and_all_that_decides_are_the_same_with_and_without(
    candidate: Any, picks: list[list[bytes]]
) -> None:
    files, broken = candidate
    with pytest.MonkeyPatch.context() as monkeypatch, TemporaryDirectory() as work:
        begin = fixed_ids(monkeypatch)
        seen = []
        for number, with_one in enumerate((False, True)):
            begin()
            directory = Path(work) / str(number)
            if with_one:  # people have the same names in both journals
                directory.mkdir()
                shutil.copy(Path(work) / "0" / "pseudonym.key", directory)
            try:
                bench = Bench(directory, bundle(), files if with_one else None)
            except BundleError:  # no candidate either
                return
            if with_one and broken is not None:
                part, *how = broken
                world = bench.held.latest
                assert world is not None
                bench.held.latest = replace(world, **{part: Failing(getattr(world, part), *how)})
            answers = list(itertools.chain.from_iterable(map(bench.ask_all, picks)))
            replays = (len(bench.replay), bench.replay.status().replayed)
            bench.journal.close()
            seen.append((answers, bench.decisions(), replays, len(bench.tokens)))
            if with_one and broken is None:
                found = bench.found
                assert 0 == found.errors
                assert found.compared + sum(found.skipped.values()) <= len(answers)
        assert seen[0] == seen[1]
