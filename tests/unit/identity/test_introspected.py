"""INT-01 to INT-07: what an issuer says about a token is read as strictly as a token."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity import Identified, identify
from extauthz.identity.introspected import MAX_ANSWER, Glance, glance
from extauthz.identity.issuer import Issuer
from extauthz.identity.keys import KeySet
from extauthz.model.decision import NOTHING_ASKED, Deny, IntrospectToken, Pending, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject
from tests.fakes import a_request
from tests.unit.identity.tokens import (
    ALL_JWKS,
    AUD,
    EC,
    ISS,
    NOW,
    accepting,
    an_issuer,
    claims,
    jwk,
    key_set,
    problems_of,
    sign,
)

ENDPOINT = "https://login.bank.test/introspect"
OPAQUE = "7Fjfp0ZBr1KtDRbnfVdmIw"
OTHER = an_issuer("other", issuer="https://other.test")


class DictCache:
    def __init__(self) -> None:
        self.kept: dict[bytes, Subject] = {}

    def get(self, key: bytes) -> Subject | None:
        return self.kept.get(key)

    def put(self, key: bytes, subject: Subject) -> None:
        self.kept[key] = subject


def asking(**introspection: Any) -> Issuer:
    return an_issuer(introspection={"endpoint": ENDPOINT, **introspection})


def answer(**changes: Any) -> bytes:
    """A good answer (RFC 7662 section 2.2); a change to `...` leaves the member out."""
    good = {
        "active": True,
        "iss": ISS,
        "aud": AUD,
        "sub": "alice",
        "client_id": "mobile",
        "scope": "accounts payments",
        "token_type": "Bearer",
        "exp": NOW + 300,
        "iat": NOW - 10,
    }
    return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not ...}).encode()


def ask(
    token: str,
    said: bytes | bool | None,
    *issuers: Issuer,
    keys: Mapping[str, KeySet] | None = None,
    cache: DictCache | None = None,
    now: int = NOW,
    scheme: str = "Bearer",
) -> Identified | Deny | Undecided | Pending:
    """Identify a caller whose issuer answers `said`; None: it has not been asked."""
    chosen = issuers or (asking(),)
    if keys is None:
        keys = {issuer.name: key_set(issuer) for issuer in chosen}
    known: dict[Any, bytes | bool] = dict(NOTHING_ASKED)
    if said is not None:
        known[IntrospectToken("bank", token)] = said
    request = a_request(headers=[("authorization", f"{scheme} {token}")])
    return identify(request, accepting(*chosen), keys, cache or DictCache(), now, known)


def outcome(found: Identified | Deny | Undecided | Pending) -> str:
    if isinstance(found, Identified):
        return found.subject.id
    if isinstance(found, Pending):
        return f"ask {found.question.issuer}" if isinstance(found.question, IntrospectToken) else "ask"
    return f"{found.reason.code} {found.check}"


def subject(found: Identified | Deny | Undecided | Pending) -> Subject:
    assert isinstance(found, Identified), found
    return found.subject


# --- who is asked (INT-01)


def test_int_01_an_opaque_token_is_a_question_to_the_profiles_issuer_and_503_without_an_answer() -> None:
    found = ask(OPAQUE, None, OTHER, asking())
    assert isinstance(found, Pending)
    assert IntrospectToken("bank", OPAQUE) == found.question
    assert isinstance(found.otherwise, Undecided)
    assert (Reason.INTROSPECTION_UNAVAILABLE, "bank") == (found.otherwise.reason, found.otherwise.issuer)
    assert 503 == found.otherwise.reason.status


@pytest.mark.parametrize("iss", [ISS, "https://other.test", "https://evil.test"])
def test_int_01_the_unverified_iss_of_a_jwt_never_chooses_who_is_asked(iss: str) -> None:
    token = sign(claims(iss=iss), key=EC, header={"kid": "forged"})
    assert "ask" not in outcome(ask(token, None, OTHER, asking()))


def test_int_01_a_profile_with_two_introspecting_issuers_is_refused() -> None:
    second = an_issuer("second", issuer="https://second.test", introspection={"endpoint": ENDPOINT})
    with pytest.raises(AssertionError, match=r"`bank` and `second` both introspect.*INT-01"):
        accepting(asking(), second)


@pytest.mark.parametrize("token", [OPAQUE, "a.b", "a.b.c", "bm90IGpzb24.x.y", "a.b.c.d", "x" * 8000, "..", "a=="])
def test_what_has_not_the_form_of_a_jwt_is_opaque(token: str) -> None:
    assert "ask bank" == outcome(ask(token, None))


@pytest.mark.parametrize("token", [OPAQUE, "a.b.c"])
def test_without_introspection_an_opaque_token_is_malformed(token: str) -> None:
    assert "token_malformed JWT-01" == outcome(ask(token, None, OTHER))


def test_jwts_of_an_issuer_with_both_are_verified_with_keys_alone() -> None:
    assert "alice" == outcome(ask(sign(claims()), None))
    assert "token_expired JWT-09" == outcome(ask(sign(claims(exp=NOW - 60)), None))


def test_int_01_the_endpoint_is_https() -> None:
    found = problems_of(introspection={"endpoint": "http://login.bank.test/introspect"})
    assert 1 == len(found)
    assert "introspect` must begin with `https://`" in found[0]


# --- active and nothing like it (INT-02, INT-03)


def test_int_02_an_active_token_is_its_caller() -> None:
    found = subject(ask(OPAQUE, answer()))
    assert (ISS, "alice", "bank", "mobile") == (found.issuer, found.id, found.issuer_name, found.client)
    assert (("accounts", "payments"), NOW + 300, "") == (found.scopes, found.expires_at, found.key_id)
    assert "Bearer" == json.loads(found.claims)["token_type"]


@pytest.mark.parametrize("active", ["true", "false", 1, "1", None, [True], {"active": True}, ...])
def test_int_02_only_the_boolean_true_is_active(active: Any) -> None:
    assert "token_inactive INT-02" == outcome(ask(OPAQUE, answer(active=active)))


def test_int_03_an_inactive_token_is_401_and_no_reason_is_invented() -> None:
    found = ask(OPAQUE, b'{"active": false}')
    assert "token_inactive INT-03" == outcome(found)
    assert isinstance(found, Deny)
    assert (401, "", "bank") == (found.reason.status, found.detail, found.issuer)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"null",
        b"[]",
        b"true",
        b"<html>",
        b'{"active": true, "active": false}',
        b'{"active": true',
        b'\xff{"active": true}',
        b'{"active": true, "exp": NaN}',
        b" " * (MAX_ANSWER + 1),
    ],
)
def test_int_02_what_is_no_answer_is_the_issuers_fault_503_and_never_401(said: bytes) -> None:
    assert "introspection_unavailable INT-02" == outcome(ask(OPAQUE, said))


def test_an_answer_of_the_wrong_kind_is_no_answer() -> None:
    assert "introspection_unavailable INT-02" == outcome(ask(OPAQUE, said=True))


# --- active is not enough (INT-04)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://other.test"}, "token_issuer_refused INT-04"),
        ({"iss": 7}, "token_issuer_refused INT-04"),
        ({"aud": "payments-api"}, "token_audience_refused JWT-08"),
        ({"aud": [AUD + "2"]}, "token_audience_refused JWT-08"),
        ({"aud": ...}, "token_claim_invalid INT-04"),
        ({"exp": ...}, "token_claim_invalid INT-04"),
        ({"exp": NOW - 60}, "token_expired JWT-09"),
        ({"exp": str(NOW + 60)}, "token_claim_invalid JWT-11"),
        ({"nbf": NOW + 60}, "token_not_yet_valid JWT-10"),
        ({"iat": NOW + 60}, "token_not_yet_valid JWT-10"),
        ({"scope": 7}, "token_claim_invalid JWT-17"),
        ({"client_id": ["a"]}, "token_claim_invalid JWT-12"),
        ({"sub": ...}, "token_claim_invalid JWT-12"),
        ({"sub": ""}, "token_claim_invalid JWT-12"),
        ({"token_type": "refresh_token"}, "token_kind_refused INT-04"),
        ({"token_use": "refresh_token"}, "token_kind_refused INT-04"),
        ({"token_type": ["Bearer"]}, "token_kind_refused INT-04"),
        ({"typ": "Refresh"}, "token_kind_refused JWT-16"),
        ({"at_hash": "x"}, "token_kind_refused JWT-16"),
    ],
)
def test_int_04_an_active_token_is_checked_all_the_same(changes: dict[str, Any], expected: str) -> None:
    assert expected == outcome(ask(OPAQUE, answer(**changes)))


@pytest.mark.parametrize(
    "changes", [{"iss": ...}, {"token_type": ...}, {"token_type": "bearer"}, {"aud": ["x", AUD]}, {"iat": ...}]
)
def test_int_04_what_rfc_7662_makes_optional_may_be_missing(changes: dict[str, Any]) -> None:
    assert "alice" == outcome(ask(OPAQUE, answer(**changes)))


def test_int_04_what_must_be_there_is_configured_but_a_wrong_audience_never_passes() -> None:
    lenient = an_issuer(introspection={"endpoint": ENDPOINT, "requireClaims": []})
    assert "alice" == outcome(ask(OPAQUE, answer(aud=...), lenient))
    assert "token_audience_refused JWT-08" == outcome(ask(OPAQUE, answer(aud="x"), lenient))
    assert "token_claim_invalid INT-04" == outcome(ask(OPAQUE, answer(exp=...), lenient))
    strict = an_issuer(introspection={"endpoint": ENDPOINT, "requireClaims": ["aud", "iss", "acr"]})
    assert "token_claim_invalid INT-04" == outcome(ask(OPAQUE, answer(), strict))


def test_int_04_a_preset_that_marks_access_tokens_marks_them_in_answers_too() -> None:
    issuer = an_issuer(issuer=f"{ISS}/realms/r", preset="keycloak", introspection={"endpoint": ENDPOINT})
    good = {"iss": f"{ISS}/realms/r", "typ": "Bearer", "realm_access": {"roles": ["teller"]}}
    assert ("teller",) == subject(ask(OPAQUE, answer(**good), issuer)).roles
    assert "token_kind_refused JWT-16" == outcome(ask(OPAQUE, answer(**{**good, "typ": "ID"}), issuer))


# --- the cache of answers that were read (INT-05)


def test_int_05_the_same_answer_is_read_once_and_still_checked_against_the_clock() -> None:
    cache, said = DictCache(), answer(exp=NOW + 5)
    assert [False, True] == [ask(OPAQUE, said, cache=cache).cached for _ in range(2)]  # type: ignore[union-attr]
    assert "token_expired JWT-09" == outcome(ask(OPAQUE, said, cache=cache, now=NOW + 60))


def test_int_05_what_was_read_before_is_worth_nothing_without_an_answer_now() -> None:
    cache = DictCache()
    assert "alice" == outcome(ask(OPAQUE, answer(), cache=cache))
    assert "ask bank" == outcome(ask(OPAQUE, None, cache=cache))
    assert "token_inactive INT-03" == outcome(ask(OPAQUE, b'{"active": false}', cache=cache))


def test_int_05_another_token_document_or_key_has_a_place_of_its_own() -> None:
    cache, said = DictCache(), answer()
    ask(OPAQUE, said, cache=cache)
    ask(OPAQUE + "x", said, cache=cache)
    ask(OPAQUE, said, asking(cacheSeconds=1), cache=cache)
    ask(OPAQUE, said, cache=cache, keys={"bank": key_set(asking(), ALL_JWKS[0])})
    assert 4 == len(cache.kept)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(), Glance(active=True, expires_at=NOW + 300)),
        (b'{"active": false}', Glance(active=False, expires_at=0)),
        (b'{"active": "true"}', Glance(active=False, expires_at=0)),
        (answer(exp="soon"), Glance(active=True, expires_at=0)),
        (b"<html>", "not JSON"),
    ],
)
def test_int_05_a_glance_says_how_long_an_answer_may_be_kept(said: bytes, expected: Glance | str) -> None:
    assert expected == glance(said, signed=False)


# --- bound tokens (INT-06)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"token_type": "DPoP", "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "alice"),
        ({"token_type": ..., "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "alice"),
        (
            {"token_type": "Bearer", "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
            "token_binding_unverified INT-06",
        ),
        ({"token_type": "DPoP"}, "token_binding_unverified INT-06"),
    ],
)
def test_int_06_token_type_and_cnf_agree_on_dpop(changes: dict[str, Any], expected: str) -> None:
    found = ask(OPAQUE, answer(**changes), scheme="DPoP")
    assert expected == outcome(found)
    if isinstance(found, Identified):
        assert changes["cnf"]["jkt"] == found.subject.jkt


def test_int_06_a_certificate_binding_is_read_from_the_top_level() -> None:
    x5t = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
    assert x5t == subject(ask(OPAQUE, answer(cnf={"x5t#S256": x5t}))).x5t
    assert "token_binding_unverified" in outcome(ask(OPAQUE, answer(cnf={})))


# --- signed answers (INT-07)


SIGNED = asking(signedResponses=True)


def signed(
    inner: Mapping[str, Any] | None = None, header: Mapping[str, Any] | None = None, key: Any = None, **changes: Any
) -> bytes:
    outer = {
        "iss": ISS,
        "aud": AUD,
        "iat": NOW - 1,
        "token_introspection": json.loads(answer()) if inner is None else inner,
        **changes,
    }
    payload = {name: value for name, value in outer.items() if value is not ...}
    return sign(payload, header={"typ": "token-introspection+jwt", **(header or {})}, key=key).encode()


def test_int_07_a_signed_answer_is_its_inner_object() -> None:
    found = subject(ask(OPAQUE, signed(), SIGNED))
    assert ("alice", NOW + 300) == (found.id, found.expires_at)
    assert "alice" == json.loads(found.claims)["sub"]
    assert "token_introspection" not in json.loads(found.claims)


def test_int_07_the_outer_claims_say_nothing_about_the_token() -> None:
    assert "token_inactive INT-02" == outcome(ask(OPAQUE, signed({}, active=True, sub="alice", exp=NOW + 9), SIGNED))
    assert "token_inactive INT-03" == outcome(ask(OPAQUE, signed({"active": False}), SIGNED))


@pytest.mark.parametrize(
    "said",
    [
        answer(),
        b'{"active": true}',
        signed(header={"typ": "JWT"}),
        signed(header={"typ": "at+jwt"}),
        signed(header={"typ": ...}),
        signed(header={"alg": "none"}),
        signed(header={"alg": "HS256"}),
        signed(header={"crit": ["exp"]}),
        signed(iss="https://other.test"),
        signed(iss=...),
        signed(aud="another-api"),
        signed(aud=["another-api"]),
        signed(aud=...),
        signed(iat=NOW - 120),
        signed(iat=NOW + 60),
        signed(iat=...),
        signed(iat=str(NOW)),
        signed(token_introspection=...),
        signed(token_introspection="x"),
        signed(token_introspection=[json.loads(answer())]),
        signed()[:-3] + b"AAA",
        b"\xff.\xff.\xff",
    ],
)
def test_int_07_whatever_is_not_exactly_signed_for_us_of_late_is_503(said: bytes) -> None:
    found = ask(OPAQUE, said, SIGNED)
    assert "introspection_unavailable INT-07" == outcome(found)


def test_int_07_a_token_of_the_issuer_is_no_answer() -> None:
    assert "introspection_unavailable INT-07" == outcome(ask(OPAQUE, sign(claims()).encode(), SIGNED))


def test_int_07_a_key_that_is_not_loaded_yet_is_503_with_a_hint_for_the_key_source() -> None:
    found = ask(OPAQUE, signed(), SIGNED, keys={"bank": key_set(SIGNED, jwk(EC, kid="older"))})
    assert isinstance(found, Undecided)
    assert (Reason.KEYS_UNAVAILABLE, "INT-07", "bank") == (found.reason, found.check, found.issuer)
    assert "keys_unavailable KEY-03" == outcome(ask(OPAQUE, signed(), SIGNED, keys={}))


def test_int_07_what_answers_call_us_can_be_configured() -> None:
    named = asking(signedResponses=True, responseAudiences=["rs-client"])
    assert "alice" == outcome(ask(OPAQUE, signed(aud=["x", "rs-client"]), named))
    assert "introspection_unavailable INT-07" == outcome(ask(OPAQUE, signed(), named))


def test_int_07_a_glance_at_a_signed_answer_reads_the_inner_object() -> None:
    assert Glance(active=True, expires_at=NOW + 300) == glance(signed(), signed=True)
    assert isinstance(glance(answer(), signed=True), str)
    assert "no member `token_introspection`" == glance(signed(token_introspection=...), signed=True)


# --- JWTs that are asked about too


BOTH = asking(jwt=True)


def test_a_jwt_may_be_asked_about_after_its_signature_held() -> None:
    token = sign(claims())
    assert "ask bank" == outcome(ask(token, None, BOTH))
    assert "alice" == outcome(ask(token, answer(), BOTH))
    assert "token_inactive INT-03" == outcome(ask(token, b'{"active": false}', BOTH))
    assert "introspection_unavailable INT-02" == outcome(ask(token, b"<html>", BOTH))


def test_a_jwt_that_fails_by_its_keys_is_not_asked_about() -> None:
    assert "token_signature_invalid JWT-03" == outcome(ask(sign(claims())[:-4] + "AAAA", None, BOTH))
    assert "token_expired JWT-09" == outcome(ask(sign(claims(exp=NOW - 60)), None, BOTH))


def test_a_jwt_keeps_its_own_claims_and_the_answer_must_be_about_it() -> None:
    token = sign(claims())
    assert ("officer",) == subject(ask(token, answer(roles=["director"]), BOTH)).roles
    for change in ({"sub": "mallory"}, {"client_id": "other"}, {"jti": "t-2"}):
        assert "token_claim_invalid INT-04" == outcome(ask(token, answer(**change), BOTH))
    assert "token_issuer_refused INT-04" == outcome(ask(token, answer(iss="https://other.test"), BOTH))


def test_a_jwt_of_another_issuer_in_the_profile_is_not_asked_about() -> None:
    assert "alice" == outcome(ask(sign(claims(iss="https://other.test")), None, OTHER, BOTH))


def test_a_jwt_that_was_confirmed_is_confirmed_at_once_by_the_same_answer() -> None:
    cache, token = DictCache(), sign(claims())
    for _ in range(2):
        assert "alice" == outcome(ask(token, answer(), BOTH, cache=cache))
    assert 2 == len(cache.kept)
    assert "token_inactive INT-03" == outcome(ask(token, b'{"active": false}', BOTH, cache=cache))


# --- issuers without keys of ours


ONLY = asking(only=True)


def test_only_an_issuer_that_reads_all_its_tokens_needs_no_keys() -> None:
    assert (False, False) == (ONLY.has_keys, ONLY.has_remote_keys)
    assert asking(only=True, signedResponses=True).has_remote_keys
    assert "ask bank" == outcome(ask(sign(claims()), None, ONLY, keys={}))
    assert "alice" == outcome(ask(sign(claims()), answer(), ONLY, keys={}))
    assert "ask bank" == outcome(ask("eyJhbGciOiJkaXIifQ..a.b.c", None, ONLY, keys={}))


def test_only_does_not_take_the_tokens_of_others() -> None:
    keys = {"other": key_set(OTHER)}
    assert "alice" == outcome(ask(sign(claims(iss="https://other.test")), None, OTHER, ONLY, keys=keys))
    found = outcome(ask(sign(claims(iss="https://evil.test")), None, OTHER, ONLY, keys=keys))
    assert "token_issuer_refused JWT-07" == found


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"introspection": {"endpoint": ENDPOINT, "only": True}, "jwks": {"file": "k.json"}}, "spec.jwks"),
        ({"introspection": {"endpoint": ENDPOINT, "only": True, "jwt": True}}, "spec.introspection.jwt"),
        (
            {"introspection": {"endpoint": ENDPOINT, "responseAudiences": ["x"]}},
            "spec.introspection.responseAudiences",
        ),
        ({"introspection": {"endpoint": "not a url"}}, "spec.introspection.endpoint"),
    ],
)
def test_contradictions_in_the_document_are_errors(fields: dict[str, Any], place: str) -> None:
    assert [place] == [text.partition(":")[0] for text in problems_of(**fields)]


# --- whatever the issuer says


@given(st.binary(max_size=300))
def test_any_answer_ends_in_a_decision(said: bytes) -> None:
    assert not isinstance(ask(OPAQUE, said), Identified | Pending)
    assert not isinstance(ask(OPAQUE, said, SIGNED), Identified | Pending)
    assert isinstance(glance(said, signed=True), str | Glance)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*json.loads(answer())]), JSON)
def test_any_value_of_any_member_ends_in_a_decision(name: str, value: Any) -> None:
    found = ask(OPAQUE, answer(**{name: value}))
    assert not isinstance(found, Pending)
    if isinstance(found, Identified) and name == "active":
        assert value is True
