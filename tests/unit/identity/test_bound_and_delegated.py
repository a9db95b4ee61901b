"""What a token is bound to, which session it is of and who acts with it: MTLS-03, MTLS-05, MTLS-10, JWT-13, JWT-21."""

import gc
from typing import Any

import pytest

from extauthz.identity.base64url import decode
from extauthz.identity.delegation import MAX_ACTORS
from extauthz.model.decision import Deny
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import BANK, ISS, an_issuer, claims, claims_to_subject, refusal, sign, verify

APPENDIX_A = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"  # of RFC 8705
SECTION_3_1 = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"  # of RFC 8705; its last character has unused bits set
FIGURE_8 = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"  # of RFC 9449


def subject(**changes: Any) -> Subject:
    found = verify(sign(claims(**changes)))
    assert isinstance(found, Subject), found
    return found


def chain(length: int) -> dict[str, Any]:
    """The `act` of a token that came through `length` services, `service-0` the last of them."""
    made: dict[str, Any] = {}
    for number in reversed(range(length)):
        made = {"sub": f"service-{number}", **({"act": made} if made else {})}
    return made


def test_mtls_03_the_thumbprint_of_the_certificate_is_read_from_a_good_token() -> None:
    bound = subject(cnf={"x5t#S256": APPENDIX_A})
    assert ((APPENDIX_A, ""), ("x5t#S256",)) == ((bound.x5t, bound.jkt), bound.confirmation)


def test_dp_16_the_thumbprint_of_the_key_is_read_from_a_good_token() -> None:
    bound = subject(cnf={"jkt": FIGURE_8})
    assert ((FIGURE_8, ""), ("jkt",)) == ((bound.jkt, bound.x5t), bound.confirmation)


def test_mtls_11_a_token_bound_twice_keeps_both_thumbprints() -> None:
    bound = subject(cnf={"jkt": FIGURE_8, "x5t#S256": APPENDIX_A})
    assert (FIGURE_8, APPENDIX_A) == (bound.jkt, bound.x5t)


@pytest.mark.parametrize("member", ["jkt", "x5t#S256"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        1,
        True,
        [APPENDIX_A],
        {},
        APPENDIX_A[:-1],
        APPENDIX_A + "A",
        APPENDIX_A + "=",
        APPENDIX_A[:-1] + "=",
        APPENDIX_A[:-1] + " ",
        APPENDIX_A[:-1] + "+",
        APPENDIX_A[:-1] + "/",
        APPENDIX_A[:-1] + "\n",
        APPENDIX_A[:-1] + "é",
        "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd",
    ],
)
def test_mtls_03_what_is_no_thumbprint_refuses_the_token(member: str, value: object) -> None:
    """Also beside a good one: nobody may choose which of two bindings counts."""
    assert "token_claim_invalid MTLS-03" == refusal(sign(claims(cnf={member: value})))
    other = "jkt" if member != "jkt" else "x5t#S256"
    assert "token_claim_invalid MTLS-03" == refusal(sign(claims(cnf={other: APPENDIX_A, member: value})))


def test_mtls_05_the_spelling_of_the_rfcs_own_example_is_the_same_thumbprint() -> None:
    """Its unused bits are dropped, so the Subject has one spelling of 32 bytes."""
    assert decode(SECTION_3_1) is None
    bound = subject(cnf={"x5t#S256": SECTION_3_1})
    assert SECTION_3_1[:-1] + "0" == bound.x5t
    assert 32 == len(decode(bound.x5t) or b"")


def test_mtls_10_a_confirmation_of_another_kind_is_kept_by_name_for_the_guard_to_refuse() -> None:
    bound = subject(cnf={"jwk": {"kty": "EC"}})
    assert (("jwk",), "", "") == (bound.confirmation, bound.jkt, bound.x5t)
    many = {f"member-{number}": 1 for number in range(9)}
    assert "token_claim_invalid MTLS-03" == refusal(sign(claims(cnf=many)))


def test_jwt_13_the_session_is_sid_or_what_the_document_names() -> None:
    assert "session-1" == subject(sid="session-1").session
    assert "" == subject().session
    issuer = an_issuer(claims={"session": ["login.id", "sid"]})
    for given in ({"login": {"id": "7"}, "sid": "8"}, {"sid": "7"}):
        found = claims_to_subject(issuer, claims(**given))
        assert isinstance(found, Subject)
        assert "7" == found.session


@pytest.mark.parametrize("sid", [1, True, [], ["s"], {}, "", "s\n"])
def test_jwt_13_a_session_that_is_no_text_refuses_the_token(sid: object) -> None:
    """Or a token would escape the revocation of its session."""
    assert "token_claim_invalid JWT-12" == refusal(sign(claims(sid=sid)))


def test_jwt_13_presets_know_where_their_provider_names_the_session() -> None:
    for preset, claim, issuer in (
        ("keycloak", "sid", "https://login.bank.test/realms/bank"),
        ("keycloak", "session_state", "https://login.bank.test/realms/bank"),
        ("cognito", "origin_jti", "https://cognito-idp.eu-west-1.amazonaws.com/pool"),
    ):
        found = claims_to_subject(an_issuer(preset=preset, issuer=issuer), claims(**{claim: "s-1"}))
        assert isinstance(found, Subject)
        assert "s-1" == found.session


def test_jwt_21_actors_are_listed_from_the_current_one_back() -> None:
    assert ("service-0", "service-1", "service-2") == subject(act=chain(3)).actors
    assert "alice" == subject(act=chain(3)).id
    assert () == subject().actors


@pytest.mark.parametrize(
    ("act", "actor"),
    [
        ({"sub": "payments"}, "payments"),
        ({"client_id": "payments"}, "payments"),
        ({"sub": "payments", "client_id": "other"}, "payments"),
        ({"sub": "payments", "iss": ISS}, "payments"),
        ({"sub": "payments", "iss": "https://other.test"}, "https://other.test/payments"),
        ({"sub": "payments", "scope": "x", "extra": [1]}, "payments"),
    ],
)
def test_jwt_21_an_actor_is_named_within_its_issuer(act: object, actor: str) -> None:
    assert (actor,) == subject(act=act).actors


@pytest.mark.parametrize(
    "act",
    [
        None,
        "",
        "payments",
        1,
        True,
        [],
        [{"sub": "payments"}],
        {},
        {"sub": None},
        {"sub": ""},
        {"sub": 1},
        {"sub": ["payments"]},
        {"sub": "pay\nments"},
        {"sub": "", "client_id": "payments"},
        {"sub": None, "client_id": "payments"},
        {"client_id": 1},
        {"sub": "payments", "iss": 1},
        {"sub": "payments", "iss": ""},
        {"sub": "payments", "act": None},
        {"sub": "payments", "act": {}},
        {"sub": "payments", "act": "portal"},
        {"sub": "payments", "act": {"sub": "portal", "act": []}},
    ],
)
def test_jwt_21_actors_of_another_shape_refuse_the_token(act: object) -> None:
    """A policy that forbids acting on behalf must not be escaped by a chain that cannot be read."""
    assert "token_claim_invalid JWT-21" == refusal(sign(claims(act=act)))


def test_jwt_21_a_chain_of_actors_has_an_end() -> None:
    assert MAX_ACTORS == len(subject(act=chain(MAX_ACTORS)).actors)
    too_long = refusal(sign(claims(act=chain(MAX_ACTORS + 1))))
    assert "token_claim_invalid JWT-21" == too_long
    assert "token_malformed JWT-01" == refusal(sign(claims(act=chain(20))))


def test_policy_tests_read_bindings_sessions_and_actors_as_verification_does() -> None:
    given = claims(cnf={"jkt": FIGURE_8, "x5t#S256": SECTION_3_1}, sid="s", act=chain(2))
    built, verified = claims_to_subject(BANK, given), verify(sign(given))
    assert isinstance(built, Subject)
    assert isinstance(verified, Subject)
    for field in ("confirmation", "jkt", "x5t", "session", "actors"):
        assert getattr(built, field) == getattr(verified, field)
    assert isinstance(claims_to_subject(BANK, claims(act=chain(20))), Deny)


def test_a_subject_with_bindings_and_actors_is_never_tracked_by_the_garbage_collector() -> None:
    found = subject(cnf={"jkt": FIGURE_8, "x5t#S256": APPENDIX_A}, sid="s", act=chain(8))
    assert not gc.is_tracked(found)
    gc.collect()
    assert not any(gc.is_tracked(getattr(found, field)) for field in Subject.__struct_fields__)
