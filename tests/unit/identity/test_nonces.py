"""Nonces that replicas share without talking to each other."""

import re

import pytest

from extauthz.identity import NONCE_HEADER, NonceKeys
from extauthz.identity.dpop import Proof
from extauthz.model.decision import Deny
from tests.unit.identity.proofs import KEYS, a_proof, rules, said, verify
from tests.unit.identity.tokens import NOW

REQUIRED = rules(nonce="required", nonceLifetime="100s")
OPTIONAL = rules(nonce="optional", nonceLifetime="100s")
START = NOW - NOW % 100  # of a stretch


def nonce(now: int = START, keys: NonceKeys = KEYS) -> str:
    return keys.issue(now, 100)


def test_dp_19_a_nonce_cannot_be_guessed_and_goes_into_a_header() -> None:
    """RFC 9449 section 8.1: NQCHAR; two keys, two nonces; one stretch, one nonce."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", nonce())
    assert nonce() == nonce(START + 99)
    assert 4 == len({nonce(), nonce(START + 100), nonce(START - 1), nonce(keys=NonceKeys((b"b" * 32,)))})


def test_dp_19_a_nonce_of_another_lifetime_is_another_nonce() -> None:
    """Profiles with different lifetimes do not accept each other's."""
    assert KEYS.issue(START, 100) != KEYS.issue(START, 200)


def test_dp_19_replicas_with_one_key_accept_each_other_s_nonces() -> None:
    one, two = NonceKeys((b"k" * 32,)), NonceKeys((b"k" * 32,))
    assert two.expiry(one.issue(NOW, 100), NOW, 100, 10) is not None
    assert NonceKeys((b"x" * 32,)).expiry(one.issue(NOW, 100), NOW, 100, 10) is None


def test_dp_19_a_nonce_lives_in_its_own_stretch_and_the_next() -> None:
    alive = [age for age in range(-20, 260) if KEYS.expiry(nonce(), START + age, 100, 10) is not None]
    assert (-10, 199) == (alive[0], alive[-1])  # a replica may be ahead by the skew
    assert START + 200 == KEYS.expiry(nonce(), START + 150, 100, 10)


def test_dp_19_a_replaced_key_is_accepted_while_it_is_listed() -> None:
    old, new = b"o" * 32, b"n" * 32
    both = NonceKeys((new, old))
    assert both.expiry(NonceKeys((old,)).issue(NOW, 100), NOW, 100, 10) is not None
    assert both.issue(NOW, 100) == NonceKeys((new,)).issue(NOW, 100)


def challenge(proof: str, **options: object) -> str:
    """The nonce of a challenge."""
    found = verify(proof, REQUIRED, **options)  # type: ignore[arg-type]
    assert isinstance(found, Deny)
    assert ("proof_nonce_required", "DP-19") == (found.reason.code, found.check)
    ((name, value),) = found.client_headers
    assert NONCE_HEADER == name
    return value


def test_dp_19_a_proof_without_nonce_is_told_which_to_use_and_then_accepted() -> None:
    offered = challenge(a_proof(), now=START)
    assert "accepted" == said(a_proof({"nonce": offered}), REQUIRED, now=START)


@pytest.mark.parametrize(
    "stale", ["", "x", "ä", nonce(START - 200), nonce(START + 100), nonce(keys=NonceKeys((b"b" * 32,)))]
)
def test_dp_19_a_nonce_that_is_not_ours_or_old_is_answered_with_a_fresh_one(stale: str) -> None:
    assert nonce() == challenge(a_proof({"nonce": stale}), now=START + 50)


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
def test_dp_19_a_nonce_that_is_no_text_is_none(value: object) -> None:
    proof = a_proof({"nonce": value})
    assert "proof_nonce_required DP-19" == said(proof, REQUIRED)


def test_dp_19_a_bad_proof_gets_no_nonce() -> None:
    """What is wrong with it comes first: another nonce would not mend it."""
    assert "proof_invalid DP-11" == said(a_proof({"htm": "POST"}), REQUIRED)


def test_dp_19_without_a_key_nobody_can_tell() -> None:
    assert "keys_unavailable DP-19" == said(a_proof(), REQUIRED, nonces=NonceKeys())


def test_dp_19_a_profile_without_nonces_ignores_them() -> None:
    assert "accepted" == said(a_proof({"nonce": "x"}))


def test_dp_20_a_fresh_nonce_is_ready_when_the_one_in_use_ends_soon() -> None:
    used = {"nonce": nonce()}
    early, late = verify(a_proof(used), REQUIRED, now=START + 99), verify(a_proof(used), REQUIRED, now=START + 100)
    assert isinstance(early, Proof)
    assert isinstance(late, Proof)
    assert ("", nonce(START + 100)) == (early.fresh_nonce, late.fresh_nonce)


@pytest.mark.parametrize("found", [REQUIRED, OPTIONAL])
@pytest.mark.parametrize("age", [-3600, -71, 11, 3600])
def test_dp_21_a_nonce_stands_in_for_a_clock_that_is_wrong(found: object, age: int) -> None:
    """RFC 9449 section 4.3 item 11."""
    assert "accepted" == said(a_proof({"iat": START + age, "nonce": nonce()}), found, now=START)  # type: ignore[arg-type]


def test_dp_21_an_optional_nonce_is_offered_to_a_clock_that_is_wrong_and_to_nobody_else() -> None:
    assert "accepted" == said(a_proof(), OPTIONAL)
    assert "proof_nonce_required DP-19" == said(a_proof({"iat": NOW - 3600}), OPTIONAL)
    assert "proof_nonce_required DP-19" == said(a_proof({"nonce": "stale"}), OPTIONAL)


def test_dp_17_a_proof_with_a_nonce_is_remembered_until_the_nonce_ends_everywhere() -> None:
    for age in (-3600, 0, 3600):
        found = verify(a_proof({"iat": START + age, "nonce": nonce()}), REQUIRED, now=START)
        assert isinstance(found, Proof)
        assert START + 200 + 10 == found.use.expires
