"""Verification of JWT access tokens: checks JWT-01 to JWT-16 and KEY-03."""

import json
from typing import Any

import pytest

from extauthz.identity import NO_KEYS
from extauthz.identity.access_token import verify_access_token
from extauthz.identity.base64url import encode
from extauthz.model.decision import Deny, Undecided
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import (
    ALL_JWKS,
    AUD,
    BANK,
    BANK_KEYS,
    EC,
    ISS,
    NOW,
    OTHER_RSA,
    RSA,
    SIGNERS,
    accepting,
    an_issuer,
    claims,
    jwk,
    key_set,
    refusal,
    segment,
    sign,
    verify,
)

MALFORMED = "token_malformed JWT-01"
EVERY = an_issuer(algorithms=list(SIGNERS))


def json_claims(extra: str = "", **changes: Any) -> bytes:
    """Good claims as text, with `extra` members as they are written."""
    text = json.dumps(claims(**changes))
    return f"{text[:-1]}{', ' if extra else ''}{extra}}}".encode()


# --- JWT-01: form


def test_jwt_01_a_canonical_token_is_accepted() -> None:
    found = verify(sign(json_claims()))
    assert isinstance(found, Subject)
    assert ("alice", "mobile", ("officer",), ("accounts", "payments")) == (
        found.id,
        found.client,
        found.roles,
        found.scopes,
    )


def test_jwt_01_white_space_and_escapes_have_one_reading_and_are_accepted() -> None:
    assert "accepted" == refusal(sign(b"\n\t " + json_claims('"note": "\\u00e4 \\ud83d\\ude00"') + b" "))


@pytest.mark.parametrize(
    "payload",
    [
        json_claims('"sub": "admin"'),
        json_claims('"cnf": {"jkt": "a", "jkt": "b"}'),
        json_claims('"s\\u0075b": "admin"'),
        json_claims('"limit": NaN'),
        json_claims('"limit": Infinity'),
        json_claims('"limit": -Infinity'),
        json_claims('"limit": 1e999'),
        json_claims('"limit": 9223372036854775808'),
        json_claims('"limit": ' + "9" * 4400),
        json_claims('"limit": 01'),
        json_claims('"limit": 0x10'),
        json_claims('"note": "\\ud800"'),
        json_claims('"\\udfff": 1'),
        json_claims('"note": "a\\u0000b"'),
        json_claims('"deep": ' + "[" * 12 + "]" * 12),
        json_claims('"deep": ' + "[" * 2000 + "]" * 2000),
        json_claims('"deep": ' + '{"a":' * 12 + "1" + "}" * 12),
        b"\xef\xbb\xbf" + json_claims(),
        json_claims().decode().encode("utf-16"),
        json_claims('"note": "x"').replace(b"x", b"\xff"),
        json_claims('"note": "x"').replace(b"x", b"\n"),
        json_claims() + b"x",
        json_claims() + json_claims(),
        b"[]",
        b"null",
        b'"text"',
        b"{'sub': 1}",
        b"{",
    ],
)
def test_jwt_01_a_payload_that_is_not_json_with_one_reading_is_refused(payload: bytes) -> None:
    assert MALFORMED == refusal(sign(payload))


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"ES256","typ":"at+jwt","kid":"ec","alg":"none"}',
        b'{"alg":"ES256","typ":"at+jwt","kid":"ec","x":NaN}',
        b"[]",
        b'{"alg":"ES256","typ":"at+jwt","kid":"ec"}x',
        b'\xef\xbb\xbf{"alg":"ES256","typ":"at+jwt","kid":"ec"}',
    ],
)
def test_jwt_01_a_header_that_is_not_json_with_one_reading_is_refused(header: bytes) -> None:
    assert MALFORMED == refusal(sign(claims(), header=header))


def spelled_otherwise(token: str) -> list[str]:
    """The same token as lenient decoders would still read it."""
    head, body, signature = token.split(".")
    unused_bits = body[:-1] + chr(ord(body[-1]) + 1)
    return [
        f"{head}=.{body}.{signature}",
        f"{head}.{body}==.{signature}",
        f"{head}.{body}.{signature}==",
        f"{head}.{body}.{signature}\n",
        f" {token}",
        f"{head}.{body[:10]} {body[10:]}.{signature}",
        f"{head}.{body}.{signature.replace('-', '+').replace('_', '/')}+",
        f"{head}.{unused_bits}.{signature}",
        f"{head}..{signature}",
        f".{body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{token}.",
        f"{token}.{signature}",
        "",
        "..",
        head,
        "a.b.c",
        "ä.ä.ä",
        token + "A" * 9000,
    ]


def test_jwt_01_every_other_spelling_of_the_segments_is_refused() -> None:
    body = json_claims()
    body += b" " * ((1 - len(body)) % 3)  # so that the last character has unused bits
    for token in spelled_otherwise(sign(body)):
        assert MALFORMED == refusal(token), token


# --- JWT-02: algorithm


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_jwt_02_each_allowed_algorithm_verifies(algorithm: str) -> None:
    assert "accepted" == refusal(sign(claims(), algorithm=algorithm), EVERY)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "HS256", "HS512", "ES256K", "RS384", "PS384", "es256", "", "dir"]
)
def test_jwt_02_an_algorithm_off_the_issuers_list_is_refused(algorithm: str) -> None:
    assert "token_algorithm_refused JWT-02" == refusal(sign(claims(), header={"alg": algorithm}))


@pytest.mark.parametrize("algorithm", [..., None, 1, ["ES256"], {"ES256": 1}])
def test_jwt_02_an_algorithm_that_is_missing_or_no_text_is_refused(algorithm: object) -> None:
    assert "token_algorithm_refused JWT-02" == refusal(sign(claims(), header={"alg": algorithm}))


def test_jwt_02_the_public_key_as_hmac_secret_is_refused() -> None:
    """Algorithm confusion: the published key, in any encoding, signs nothing."""
    import hmac  # noqa: PLC0415 - the attacker's tool, not ours

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    secrets = [
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk(RSA, kid="rsa")).encode(),
    ]
    for secret in secrets:
        signed = f"{segment({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'rsa'})}.{segment(claims())}"
        token = f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"
        assert "token_algorithm_refused JWT-02" == refusal(token, EVERY)


# --- JWT-03: key


def test_jwt_03_the_key_is_chosen_by_its_id() -> None:
    found = verify(sign(claims(), algorithm="PS256"))
    assert isinstance(found, Subject)
    assert "rsa" == found.key_id


def test_jwt_03_an_unknown_key_id_is_refused_and_names_the_issuer_to_ask_again() -> None:
    found = verify(sign(claims(), header={"kid": "rotated"}))
    assert isinstance(found, Deny)
    assert ("token_key_unknown", "JWT-03", "bank") == (found.reason.code, found.check, found.issuer)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_jwt_03_a_key_of_another_kind_is_never_tried(algorithm: str) -> None:
    assert "token_key_unknown JWT-03" == refusal(sign(claims(), algorithm=algorithm, header={"kid": "rsa"}))


def test_jwt_03_a_key_of_another_curve_is_never_tried() -> None:
    token = sign(claims(), algorithm="ES256", header={"kid": "ec384"})
    assert "token_key_unknown JWT-03" == refusal(token, EVERY)


def test_jwt_03_a_key_bound_to_one_algorithm_is_not_used_with_another() -> None:
    keys = {"bank": key_set(BANK, jwk(RSA, kid="rsa", alg="PS256"))}
    assert "accepted" == refusal(sign(claims(), algorithm="PS256"), keys=keys)
    assert "token_key_unknown JWT-03" == refusal(sign(claims(), algorithm="RS256"), keys=keys)


def test_jwt_03_of_several_keys_with_one_id_the_one_that_fits_verifies() -> None:
    keys = {"bank": key_set(BANK, jwk(OTHER_RSA, kid="rsa"), jwk(EC, kid="rsa"), jwk(RSA, kid="rsa"))}
    assert "accepted" == refusal(sign(claims(), algorithm="PS256"), keys=keys)


def test_jwt_03_a_token_without_key_id_is_tried_with_every_key_that_fits() -> None:
    assert "accepted" == refusal(sign(claims(), header={"kid": ...}))
    keys = {"bank": key_set(BANK, jwk(OTHER_RSA, kid="a"))}
    token = sign(claims(), algorithm="PS256", header={"kid": ...})
    assert "token_signature_invalid JWT-03" == refusal(token, keys=keys)


def test_jwt_03_more_candidates_than_anybody_needs_are_refused_unverified() -> None:
    jwks = [jwk(RSA, kid=f"k{number}") for number in range(5)]
    token = sign(claims(), algorithm="PS256", header={"kid": ...})
    assert "accepted" == refusal(token, keys={"bank": key_set(BANK, *jwks[:4])})
    assert "token_key_unknown JWT-03" == refusal(token, keys={"bank": key_set(BANK, *jwks)})


@pytest.mark.parametrize("key_id", [None, 1, "", ["ec"], "k" * 300])
def test_jwt_03_a_key_id_that_is_not_a_short_text_is_refused(key_id: object) -> None:
    assert "token_header_refused JWT-03" == refusal(sign(claims(), header={"kid": key_id}))


def test_jwt_03_a_signature_of_another_key_is_refused() -> None:
    token = sign(claims(), algorithm="PS256", key=OTHER_RSA)
    assert "token_signature_invalid JWT-03" == refusal(token)


def test_jwt_03_keys_of_one_issuer_do_not_verify_tokens_of_another() -> None:
    other = an_issuer("other", issuer="https://other.test")
    keys = {"bank": key_set(BANK, jwk(EC, kid="ec")), "other": key_set(other, jwk(RSA, kid="ec"))}
    token = sign(claims(iss="https://other.test"))
    found = verify_access_token(token, accepting(BANK, other), keys, NOW)
    assert isinstance(found, Deny)
    assert "token_key_unknown" == found.reason.code


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize("signature", [b"", b"\0", b"\0" * 64, b"\0" * 96, b"\0" * 132, b"\0" * 256, b"\xff" * 64])
def test_jwt_03_degenerate_signatures_are_refused(algorithm: str, signature: bytes) -> None:
    token = sign(claims(), algorithm=algorithm).rpartition(".")[0] + "." + encode(signature)
    assert refusal(token, EVERY) in {"token_signature_invalid JWT-03", MALFORMED}


# --- JWT-04: keys and addresses inside the token


@pytest.mark.parametrize("member", ["jwk", "x5c", "jku", "x5u"])
def test_jwt_04_a_key_that_the_token_brings_along_is_not_trusted(member: str) -> None:
    """The attacker signs with an own key and offers it in the header."""
    offered = {"jwk": jwk(OTHER_RSA), "x5c": ["MIIB"], "jku": "https://evil.test/", "x5u": "https://evil.test/"}
    forged = sign(claims(), algorithm="PS256", key=OTHER_RSA, header={member: offered[member]})
    assert "token_signature_invalid JWT-03" == refusal(forged)


@pytest.mark.parametrize("member", ["jwk", "x5c", "jku", "x5u", "x5t", "x5t#S256"])
def test_jwt_04_such_members_beside_a_good_signature_are_ignored(member: str) -> None:
    assert "accepted" == refusal(sign(claims(), header={member: "anything"}))


def test_jwt_04_a_key_id_is_a_key_of_a_map_and_nothing_else() -> None:
    for key_id in ("../../etc/passwd", "' OR 1=1 --", "https://evil.test/key", "ec\u0301"):
        assert "token_key_unknown JWT-03" == refusal(sign(claims(), header={"kid": key_id}))


# --- JWT-05: critical extensions


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"crit": []}, {"crit": None}, {"b64": False}, {"b64": True}, {"crit": ["b64"], "b64": False}],
)
def test_jwt_05_critical_extensions_are_refused(header: dict[str, Any]) -> None:
    assert "token_header_refused JWT-05" == refusal(sign(claims(), header=header))


def test_jwt_05_unknown_members_that_are_not_critical_are_ignored() -> None:
    assert "accepted" == refusal(sign(claims(), header={"origin": "test", "cty": "x"}))


# --- JWT-06: type


@pytest.mark.parametrize("kind", ["at+jwt", "at+JWT", "AT+JWT", "application/at+jwt", "Application/AT+JWT"])
def test_jwt_06_the_access_token_type_is_accepted_in_any_case(kind: str) -> None:
    assert "accepted" == refusal(sign(claims(), header={"typ": kind}))


@pytest.mark.parametrize(
    "kind", [..., "JWT", "jwt", "dpop+jwt", "logout+jwt", "text/at+jwt", "at+jwt ", "at", "", 1, None]
)
def test_jwt_06_other_types_are_refused(kind: object) -> None:
    assert "token_type_refused JWT-06" == refusal(sign(claims(), header={"typ": kind}))


def test_jwt_06_an_issuer_may_accept_other_types_if_something_else_tells_access_tokens_apart() -> None:
    lenient = an_issuer(types=["JWT", "absent"], kind={"claim": "use", "anyOf": ["access"]})
    assert "accepted" == refusal(sign(claims(use="access"), header={"typ": "JWT"}), lenient)
    assert "accepted" == refusal(sign(claims(use="access"), header={"typ": ...}), lenient)
    assert "token_type_refused JWT-06" == refusal(sign(claims(use="access")), lenient)
    assert "token_kind_refused JWT-16" == refusal(sign(claims(use="refresh"), header={"typ": "JWT"}), lenient)


# --- JWT-07: issuer


@pytest.mark.parametrize(
    "iss",
    [..., None, "", 1, [ISS], {}, ISS + "/", ISS.upper(), ISS[:-1], ISS + ".evil.test", " " + ISS, "https://evil.test"],
)
def test_jwt_07_only_the_exact_issuer_is_accepted(iss: object) -> None:
    assert "token_issuer_refused JWT-07" == refusal(sign(claims(iss=iss)))


def test_jwt_07_each_of_a_profiles_issuers_is_accepted_with_its_own_keys() -> None:
    other = an_issuer("other", issuer="https://other.test")
    keys = {**BANK_KEYS, "other": key_set(other, jwk(RSA, kid="rsa"))}
    token = sign(claims(iss="https://other.test"), algorithm="PS256")
    found = verify_access_token(token, accepting(BANK, other), keys, NOW)
    assert isinstance(found, Subject)
    assert ("other", "https://other.test") == (found.issuer_name, found.issuer)


def test_jwt_07_the_issuer_is_decided_before_any_key_is_looked_at() -> None:
    """Without keys, a foreign token is still refused and ours is undecided."""
    assert "token_issuer_refused JWT-07" == refusal(sign(claims(iss="https://evil.test")), keys={})
    assert "keys_unavailable KEY-03" == refusal(sign(claims()), keys={})


# --- JWT-08: audience


@pytest.mark.parametrize("aud", [AUD, [AUD], ["other", AUD], [AUD, AUD]])
def test_jwt_08_a_token_for_this_service_is_accepted(aud: object) -> None:
    assert "accepted" == refusal(sign(claims(aud=aud)))


@pytest.mark.parametrize(
    "aud",
    [..., None, "", "other", AUD + "/", AUD.upper(), [], ["other"], [AUD, 1], [[AUD]], {AUD: 1}, 1, True, f"x {AUD}"],
)
def test_jwt_08_a_token_for_others_is_refused(aud: object) -> None:
    assert "token_audience_refused JWT-08" == refusal(sign(claims(aud=aud)))


def test_jwt_08_another_claim_may_take_the_audiences_place() -> None:
    cognito = an_issuer(audienceClaim="client_id", audiences=["mobile"])
    assert "accepted" == refusal(sign(claims(aud=...)), cognito)
    assert "token_audience_refused JWT-08" == refusal(sign(claims(aud="mobile", client_id="other")), cognito)


# --- JWT-09, JWT-10, JWT-11, JWT-13: times


@pytest.mark.parametrize("left", [300, 1, 0, -9])
def test_jwt_09_a_token_is_good_until_it_expires_plus_leeway(left: int) -> None:
    assert "accepted" == refusal(sign(claims(exp=NOW + left)))


@pytest.mark.parametrize("left", [-10, -11, -3600])
def test_jwt_09_an_expired_token_is_refused(left: int) -> None:
    assert "token_expired JWT-09" == refusal(sign(claims(exp=NOW + left, iat=NOW - 7200)))


def test_jwt_09_a_token_that_never_expires_is_refused() -> None:
    assert "token_claim_invalid JWT-12" == refusal(sign(claims(exp=...)))
    assert "token_claim_invalid JWT-12" == refusal(sign(claims(exp=None)))


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_jwt_10_ten_seconds_ahead_are_accepted(claim: str) -> None:
    assert "accepted" == refusal(sign(claims(**{claim: NOW + 10})))


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize("ahead", [11, 61, 3600])
def test_jwt_10_a_token_from_the_future_is_refused(claim: str, ahead: int) -> None:
    assert "token_not_yet_valid JWT-10" == refusal(sign(claims(**{claim: NOW + ahead}, exp=NOW + 7200)))


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize("value", [True, False, "9999999999", 1.5, 1e10, 9999999999.0, -1, 10**12, [], {}, [NOW]])
def test_jwt_11_a_time_must_be_a_whole_number_of_seconds(claim: str, value: object) -> None:
    assert "token_claim_invalid JWT-11" == refusal(sign(claims(**{claim: value})))


def test_jwt_11_whole_numbers_are_kept_as_they_are() -> None:
    found = verify(sign(claims(nbf=NOW - 5, auth_time=NOW - 60)))
    assert isinstance(found, Subject)
    assert (NOW + 300, NOW - 10, NOW - 5, NOW - 60) == (
        found.expires_at,
        found.issued_at,
        found.not_before,
        found.auth_time,
    )


@pytest.mark.parametrize("claim", ["sub", "client_id", "iat", "jti"])
def test_jwt_12_strict_tokens_lack_none_of_the_required_claims(claim: str) -> None:
    assert "token_claim_invalid JWT-12" == refusal(sign(claims(**{claim: ...})))


def test_jwt_12_requirements_follow_the_document() -> None:
    lenient = an_issuer(requireClaims=["realm_access.roles"])
    assert "accepted" == refusal(sign(claims(jti=..., realm_access={"roles": []})), lenient)
    assert "token_claim_invalid JWT-12" == refusal(sign(claims(jti=...)), lenient)


def test_jwt_13_the_window_in_which_a_revoked_token_stays_good_is_bounded() -> None:
    hour = an_issuer(maxLifetime="1h")
    assert "accepted" == refusal(sign(claims(iat=NOW, exp=NOW + 3600)), hour)
    assert "token_lifetime_too_long JWT-13" == refusal(sign(claims(iat=NOW, exp=NOW + 3601)), hour)
    assert "token_lifetime_too_long JWT-13" == refusal(sign(claims(iat=NOW, exp=NOW + 86401)))


def test_jwt_13_a_token_that_hides_when_it_was_issued_is_bounded_from_now() -> None:
    hour = an_issuer(maxLifetime="1h", requireClaims=[])
    assert "accepted" == refusal(sign(claims(iat=..., exp=NOW + 3600)), hour)
    assert "token_lifetime_too_long JWT-13" == refusal(sign(claims(iat=..., exp=NOW + 3601)), hour)


# --- JWT-15: encryption


def test_jwt_15_an_encrypted_token_is_refused() -> None:
    encrypted = f"{segment({'alg': 'RSA1_5', 'enc': 'A128CBC-HS256'})}.a.b.c.d"
    assert "token_encrypted JWT-15" == refusal(encrypted)
    assert "token_encrypted JWT-15" == refusal(f"{segment({'alg': 'dir', 'enc': 'A256GCM'})}..b.c.d")


@pytest.mark.parametrize("header", [{"enc": "A256GCM"}, {"zip": "DEF"}])
def test_jwt_15_the_header_of_an_encrypted_token_is_refused_on_a_signed_one(header: dict[str, str]) -> None:
    assert "token_encrypted JWT-15" == refusal(sign(claims(), header=header))


def test_jwt_15_a_signed_token_is_what_is_accepted() -> None:
    assert "accepted" == refusal(sign(claims()))


# --- JWT-16: other kinds of tokens


@pytest.mark.parametrize(
    "marks",
    [
        {"at_hash": "x"},
        {"c_hash": "x"},
        {"events": {}},
        {"htm": "GET"},
        {"htu": "https://x"},
        {"token_use": "id"},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": "Offline"},
        {"typ": "Logout"},
        {"at_hash": None},
    ],
)
def test_jwt_16_other_tokens_of_the_same_issuer_are_no_access_tokens(marks: dict[str, object]) -> None:
    assert "token_kind_refused JWT-16" == refusal(sign(claims(**marks)))


@pytest.mark.parametrize("marks", [{"nonce": "x"}, {"typ": "Bearer"}, {"token_use": "access"}, {"sid": "x"}])
def test_jwt_16_claims_that_access_tokens_may_have_are_not_decisive(marks: dict[str, object]) -> None:
    assert "accepted" == refusal(sign(claims(**marks)))


# --- KEY-03: no keys


def test_key_03_without_keys_nothing_is_decided() -> None:
    found = verify(sign(claims()), keys={"bank": NO_KEYS})
    assert isinstance(found, Undecided)
    assert ("keys_unavailable", "bank") == (found.reason.code, found.issuer)


def test_key_03_keys_read_for_another_version_of_the_document_are_no_keys() -> None:
    """A name that points to another issuer now must not be served with the former one's keys."""
    before = an_issuer(issuer="https://former.test")
    assert "keys_unavailable KEY-03" == refusal(sign(claims()), keys={"bank": key_set(before, *ALL_JWKS)})


def test_or_01_the_first_failure_wins_in_the_stated_order() -> None:
    """One token with every defect; mending them one by one shows the order."""
    bad = claims(iss="https://evil.test", aud="other", exp=NOW - 999, iat=NOW - 2000, sub=..., roles="x")
    header: dict[str, Any] = {"alg": "HS256", "typ": "JWT", "kid": "nobody"}
    assert "token_issuer_refused JWT-07" == refusal(sign(bad, header=header))
    bad["iss"] = ISS
    assert "token_algorithm_refused JWT-02" == refusal(sign(bad, header=header))
    header["alg"] = "ES256"
    assert "token_key_unknown JWT-03" == refusal(sign(bad, header=header))
    header["kid"] = "ec"
    assert "token_signature_invalid JWT-03" == refusal(sign(bad, header=header)[:-4] + "AAAA")
    assert "token_type_refused JWT-06" == refusal(sign(bad, header=header))
    header["typ"] = "at+jwt"
    assert "token_audience_refused JWT-08" == refusal(sign(bad, header=header))
    bad["aud"] = AUD
    assert "token_claim_invalid JWT-12" == refusal(sign(bad, header=header))
    bad["sub"] = "alice"
    assert "roles_invalid JWT-19" == refusal(sign(bad, header=header))
    bad["roles"] = ["x"]
    assert "token_expired JWT-09" == refusal(sign(bad, header=header))
    bad["exp"] = NOW + 1
    assert "accepted" == refusal(sign(bad, header=header))


def test_details_never_quote_a_claim_or_header_value() -> None:
    """Whatever is wrong, the words in journal and explain are ours."""
    marked = "zz-secret-zz"
    tokens = [
        sign(claims(iss=marked)),
        sign(claims(aud=marked)),
        sign(claims(exp=marked)),
        sign(claims(sub=[marked])),
        sign(claims(roles=marked)),
        sign(claims(cnf=marked)),
        sign(claims(scope={marked: marked})),
        sign(claims(), header={"kid": marked}),
        sign(claims(), header={"typ": marked}),
        sign(claims(), header={"alg": marked}),
        sign(json_claims(f'"{marked}": 1, "{marked}": 2')),
    ]
    for token in tokens:
        found = verify(token)
        assert isinstance(found, Deny)
        assert marked not in found.detail
