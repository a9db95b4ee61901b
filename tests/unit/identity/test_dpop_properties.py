"""Whatever is sent as a proof, the answer is explicit; and nothing but a proof passes."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.identity.base64url import encode
from extauthz.identity.dpop import Proof
from extauthz.model.decision import Deny
from tests.unit.identity.proofs import a_proof, good_claims, verify
from tests.unit.identity.tokens import EC, NOW, jwk

GOOD = a_proof()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_\-]{1,40}\.[A-Za-z0-9_\-]{1,40}\.[A-Za-z0-9_\-]{1,90}"))
def test_dp_05_any_text_is_refused_without_an_error(text: str) -> None:
    assert isinstance(verify(text), Deny)


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_dp_05_dp_09_a_proof_with_one_character_changed_is_refused(place: int, char: str) -> None:
    changed = GOOD[:place] + char + GOOD[place + 1 :]
    assert changed == GOOD or isinstance(verify(changed), Deny)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*good_claims(), "exp", "nbf", "nonce"]), JSON, min_size=1, max_size=3))
def test_dp_10_to_dp_15_signed_claims_of_any_shape_are_refused_unless_they_say_the_same(
    changes: dict[str, Any],
) -> None:
    """The sender signs whatever it likes."""
    claims = {**good_claims(), **changes}
    found = verify(a_proof(json.dumps(claims).encode()))
    if isinstance(found, Proof):
        same = ("htm", "htu", "ath")
        assert {name: claims[name] for name in same} == {name: good_claims()[name] for name in same}
        assert NOW - 70 <= claims["iat"] <= NOW + 10
        assert claims["jti"]


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "crit", "kid"]), JSON, min_size=1, max_size=3))
def test_dp_06_to_dp_08_signed_headers_of_any_shape_are_refused_unless_they_say_the_same(
    changes: dict[str, Any],
) -> None:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(EC), **changes}
    found = verify(a_proof(header=json.dumps(header).encode()))
    assert isinstance(found, Deny) or set(changes) == {"kid"}


@given(st.binary(max_size=80))
def test_dp_09_any_other_signature_is_refused(signature: bytes) -> None:
    signed, _, own = GOOD.rpartition(".")
    assert encode(signature) == own or isinstance(verify(f"{signed}.{encode(signature)}"), Deny)
