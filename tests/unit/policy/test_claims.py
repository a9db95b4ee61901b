"""Claims: only those that rules name are decoded, and what is read is what decoding all of them would give."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.policy.asked import Asked
from extauthz.policy.claims import ABSENT, ALL_CLAIMS, UNREADABLE, ClaimsReader
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW, rule, verdict

NAMES = ["limit", "https://bank.test/é", "a b", "", "c0", "msgspec", "\u2028"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def asked(raw: bytes, reader: ClaimsReader = ALL_CLAIMS) -> Asked:
    return Asked(a_request(), replace(ALICE, claims=raw), "", NOW, reader)


@settings(deadline=None)
@given(
    claims=st.dictionaries(st.sampled_from([*NAMES, "other"]), JSON, max_size=5),
    ascii_only=st.booleans(),
    known=st.lists(st.sampled_from(NAMES), max_size=7),
)
def test_a_claim_is_what_it_is_when_all_are_decoded(
    claims: dict[str, object], ascii_only: bool, known: list[str]
) -> None:
    raw = json.dumps(claims, ensure_ascii=ascii_only).encode()
    question, expected = asked(raw, ClaimsReader(known)), msgspec.json.decode(raw)
    for name in NAMES:
        found = question.claim(name)
        assert (found is ABSENT) is (name not in expected)
        if found is not ABSENT:
            assert (type(expected[name]), expected[name]) == (type(found), found)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b'"limit"', b"{", b'{"limit":1', b'{"limit":1}}', b'{"limit":\xff}', b"[" * 5_000]
)
def test_claims_that_are_no_object_are_unreadable(raw: bytes) -> None:
    for reader in (ALL_CLAIMS, ClaimsReader(["limit"])):
        assert asked(raw, reader).claim("limit") is UNREADABLE
        assert asked(raw, reader).claims is UNREADABLE


def test_many_names_are_read_from_all_claims() -> None:
    reader = ClaimsReader(f"c{number}" for number in range(1_000))
    question = asked(b'{"c7":7,"c999":null}', reader)
    assert [7, None, ABSENT] == [question.claim(name) for name in ("c7", "c999", "c1")]


@pytest.mark.parametrize(
    "body",
    [
        "{when: [{key: 'request.auth.claims[groups]', values: [staff]}]}",
        "{when: [{key: 'request.auth.claims[deep][list]', values: [staff]}]}",
        "{when: [{key: request.auth.audiences, values: [api]}]}",
        "{condition: \"'staff' in subject.claims.groups\"}",
        "{condition: \"subject.claims.deep.list == ['staff']\"}",
        "{condition: \"subject.claims.exists(name, name == 'aud') && subject.claims.groups.size() == 1\"}",
    ],
)
def test_rules_read_the_claims_that_they_name(body: str) -> None:
    claims = b'{"groups":["staff"],"aud":"api","deep":{"list":["staff"]},"more":1}'
    made = rule("allow", body)
    assert Reason.POLICY_ALLOWED is verdict(made, a_request(), replace(ALICE, claims=claims)).reason
    assert Reason.POLICY_ALLOWED is not verdict(made, a_request(), replace(ALICE, claims=b'{"more":1}')).reason
    assert Reason.POLICY_ALLOWED is not verdict(made, a_request(), replace(ALICE, claims=b"[]")).reason
