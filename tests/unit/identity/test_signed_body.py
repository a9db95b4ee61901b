"""Signed bodies (SG-04): for this endpoint, from this client's organisation, made just now, used once."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.identity.base64url import encode
from extauthz.identity.signature_rules import Audience
from extauthz.identity.signed_body import ONCE_FOR, verify_body
from extauthz.model.decision import Deny, FirstUse
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.request import Peer
from extauthz.model.subject import ANONYMOUS
from tests.fakes import a_request
from tests.unit.identity.signatures import (
    BODIES,
    CALLER,
    CLIENT,
    NOW,
    ORGANISATION,
    URL,
    a_jws,
    a_jws_over,
    a_payment,
    good_claims,
    judged,
    origins,
)
from tests.unit.identity.tokens import OTHER_RSA, RSA, jwk

GOOD_HEADER = b'{"alg":"PS256","kid":"ps256","typ":"JWT"}'


def used(**claims: Any) -> FirstUse:
    found = judged(a_payment(a_jws(claims)))
    assert isinstance(found, FirstUse)
    return found


def test_sg_04_a_signed_payment_is_accepted_as_a_use_of_its_jti_for_a_day() -> None:
    use = used()
    assert NOW + ONCE_FOR < use.expires <= NOW + ONCE_FOR + 2 * 3600
    assert judged(a_payment(a_jws(), media_type="application/jwt; charset=utf-8")) == use


def test_sg_04_methods_without_a_signed_body_are_left_alone() -> None:
    assert judged(a_payment(None, method="GET", media_type="text/plain")) is None


def test_sg_04_a_use_is_told_by_issuer_client_and_jti_alone() -> None:
    assert used(data={"other": 1}, iat=NOW - 1).key == used().key
    assert used(jti="another").key != used().key
    rules = replace(BODIES, keys={"b": BODIES.keys[CLIENT]}, organisations={"b": ORGANISATION})
    namesake = judged(a_payment(a_jws()), subject=replace(CALLER, issuer="https://login.other.test"))
    for other in (judged(a_payment(a_jws()), rules, replace(CALLER, client="b")), namesake):
        assert isinstance(other, FirstUse)
        assert other.key != used().key


def test_sg_04_a_gateway_and_a_sidecar_may_each_count_a_use_of_their_own() -> None:
    rules = replace(BODIES, per_proxy=True)
    asked = [
        replace(a_payment(a_jws()), destination=Peer(principal=f"spiffe://cluster.local/ns/bank/sa/{name}"))
        for name in ("gateway", "sidecar", "gateway")
    ]
    gateway, sidecar, again = (judged(request, rules) for request in asked)
    assert gateway == again
    assert gateway != sidecar
    assert {judged(request) for request in asked} == {judged(a_payment(a_jws()))}


def test_sg_04_no_two_uses_run_into_each_other() -> None:
    keys = dict.fromkeys(("a", "ab"), BODIES.keys[CLIENT])
    rules = replace(BODIES, keys=keys, organisations=dict.fromkeys(keys, ORGANISATION))
    one = judged(a_payment(a_jws({"jti": "bc"})), rules, replace(CALLER, client="a"))
    two = judged(a_payment(a_jws({"jti": "c"})), rules, replace(CALLER, client="ab"))
    assert isinstance(one, FirstUse)
    assert isinstance(two, FirstUse)
    assert one.key != two.key


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "other"}, "`iss` is not the client's organisation"),
        ({"iss": None}, "`iss` is not the client's organisation"),
        ({"iss": [ORGANISATION]}, "`iss` is not the client's organisation"),
        ({"aud": None}, "made for another endpoint"),
        ({"aud": f"{URL}/17"}, "made for another endpoint"),
        ({"aud": "https://evil.test/payments"}, "made for another endpoint"),
        ({"aud": f"{URL}?a=b"}, "made for another endpoint"),
        ({"aud": [URL, "https://evil.test"]}, "made for another endpoint"),
        ({"aud": []}, "made for another endpoint"),
        ({"iat": None}, "no `iat`, or too old or too new"),
        ({"iat": str(NOW)}, "no `iat`, or too old or too new"),
        ({"iat": True}, "no `iat`, or too old or too new"),
        ({"iat": float(NOW)}, "no `iat`, or too old or too new"),
        ({"iat": NOW - 61}, "no `iat`, or too old or too new"),
        ({"iat": NOW + 61}, "no `iat`, or too old or too new"),
        ({"exp": NOW}, "its own `exp` or `nbf` does not hold"),
        ({"exp": "x"}, "its own `exp` or `nbf` does not hold"),
        ({"nbf": NOW + 61}, "its own `exp` or `nbf` does not hold"),
        ({"jti": None}, "no `jti` of at most 256 characters"),
        ({"jti": ""}, "no `jti` of at most 256 characters"),
        ({"jti": 5}, "no `jti` of at most 256 characters"),
        ({"jti": "x" * 257}, "no `jti` of at most 256 characters"),
    ],
)
def test_sg_04_claims_that_do_not_hold_are_refused(claims: dict[str, Any], why: str) -> None:
    assert judged(a_payment(a_jws(claims))) == why


@pytest.mark.parametrize("claims", [{"iat": NOW - 60}, {"iat": NOW + 60}, {"aud": [URL]}, {"exp": NOW + 1, "nbf": NOW}])
def test_sg_04_claims_that_hold_are_accepted(claims: dict[str, Any]) -> None:
    assert isinstance(judged(a_payment(a_jws(claims))), FirstUse)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"algorithm": "RS256"}, "not one of the accepted algorithms"),
        ({"algorithm": "PS512", "kid": "rsa"}, "not one of the accepted algorithms"),
        ({"alg": "none"}, "not one of the accepted algorithms"),
        ({"alg": None}, "not one of the accepted algorithms"),
        ({"kid": None}, "no `kid`"),
        ({"kid": "x" * 257}, "no `kid`"),
        ({"kid": "unknown"}, "no such key of this client"),
        ({"kid": "ec"}, "no such key of this client"),
        ({"typ": "at+jwt"}, "not of the type `JWT`"),
        ({"typ": "dpop+jwt"}, "not of the type `JWT`"),
        ({"typ": 1}, "not of the type `JWT`"),
        ({"crit": ["exp"]}, "a header with `crit`"),
        ({"crit": []}, "a header with `crit`"),
        ({"b64": False}, "a header with `b64`"),
        ({"b64": True}, "a header with `b64`"),
        ({"jwk": {"kty": "RSA"}}, "a header with `jwk`"),
        ({"jku": "https://evil.test/keys"}, "a header with `jku`"),
        ({"x5u": "https://evil.test/chain"}, "a header with `x5u`"),
        ({"x5c": ["MII"]}, "a header with `x5c`"),
        ({"typ": "x" * 2048}, "a header of more than 2048 bytes"),
        ({"signer": OTHER_RSA}, "the signature does not fit"),
    ],
)
def test_sg_04_headers_and_keys_that_do_not_fit_are_refused(header: dict[str, Any], why: str) -> None:
    assert judged(a_payment(a_jws(**header))) == why


def test_sg_04_the_public_key_is_no_secret_to_sign_with() -> None:
    """Algorithm confusion: whoever knows the registered key makes an HMAC with it."""
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (public, json.dumps(jwk(RSA)).encode()):
        made = a_jws(algorithm="HS256", signer=secret)
        assert judged(a_payment(made)) == "not one of the accepted algorithms"
        disguised = a_jws_over(GOOD_HEADER, json.dumps(good_claims()).encode(), algorithm="HS256", signer=secret)
        assert judged(a_payment(disguised)) == "the signature does not fit"


def test_sg_04_a_document_within_a_document_is_none() -> None:
    assert judged(a_payment(a_jws_over(GOOD_HEADER, a_jws()))) == "not JSON"
    assert judged(a_payment(a_jws_over(GOOD_HEADER, b'"' + a_jws() + b'"'))) == "not a JSON object"
    assert judged(a_payment(b".".join([a_jws(), b"e30", b"e30"]))) == "not three segments"
    assert judged(a_payment(json.dumps({"payload": "e30", "signatures": []}).encode())) == "not three segments"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"iat"', b'"iat": 1, "iat"', "a member name used twice"),
        (b'"data": {}', b'"data": {"a": 1, "a": 2}', "a member name used twice"),
        (b'"data": {}', b'"data": NaN', "a number that JSON does not have"),
        (b'"data": {}', b'"data": ' + b"[" * 50 + b"]" * 50, "nested too deeply"),
        (b'"data": {}', b'"data": "\\ud800"', "half of a surrogate pair"),
        (b'"data": {}', b'"data": "\xff"', "not UTF-8"),
    ],
)
def test_sg_04_a_signed_document_without_one_reading_is_refused(old: bytes, new: bytes, why: str) -> None:
    payload = json.dumps(good_claims()).encode()
    assert isinstance(judged(a_payment(a_jws_over(GOOD_HEADER, payload))), FirstUse)
    assert old in payload
    assert judged(a_payment(a_jws_over(GOOD_HEADER, payload.replace(old, new)))) == why


def test_sg_04_nothing_is_read_of_a_payload_whose_signature_does_not_hold() -> None:
    """Not even a client of the bank can have us read what nobody signed."""
    odd = a_jws_over(GOOD_HEADER, b"{" * 40_000)
    assert judged(a_payment(odd)) == "not JSON"
    assert judged(a_payment(odd[:-4] + b"AAAA")) == "the signature does not fit"


def test_sg_04_only_registered_clients_sign() -> None:
    nobody = "no key is registered for the client"
    assert judged(a_payment(a_jws()), subject=ANONYMOUS) == nobody
    everybody = replace(BODIES, keys={"": BODIES.keys[CLIENT]}, organisations={"": ORGANISATION})
    assert judged(a_payment(a_jws()), everybody, ANONYMOUS) == nobody
    assert judged(a_payment(a_jws()), subject=replace(CALLER, client="tpp-2")) == nobody
    unknown = replace(BODIES, organisations={})
    assert judged(a_payment(a_jws()), unknown) == "`iss` is not the client's organisation"


def test_sg_04_a_body_that_is_not_here_in_whole_is_refused() -> None:
    assert "`withRequestBody`" in str(judged(a_payment(None)))
    assert "`withRequestBody`" in str(judged(a_payment(None, **{"content-length": "900"})))
    assert "`maxRequestBytes`" in str(judged(replace(a_payment(a_jws()), body_is_partial=True)))
    assert "`maxBodyBytes`" in str(judged(a_payment(a_jws()), replace(BODIES, max_body=10)))
    assert judged(a_payment(b"", **{"content-length": "0"})) == "not three segments"


@pytest.mark.parametrize("media_type", ["application/json", "", "application/jwt+json", "application/jwt, text/plain"])
def test_sg_04_other_media_types_are_refused(media_type: str) -> None:
    assert judged(a_payment(a_jws(), media_type=media_type)) == "not of the media type"


def test_sg_04_two_media_types_are_none() -> None:
    """Joined, the second would hide behind a parameter of the first."""
    headers = [("content-type", "application/jwt;a=b"), ("content-type", "text/html")]
    request = replace(a_request("POST", "/payments", host="api.bank.test", headers=headers), body=a_jws())
    assert judged(request) == "not of the media type"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"aud": "x"}', "not three segments"),
        ("é.a.b".encode(), "not a compact JWS"),
        (a_jws() + b"\n", "a segment that is not canonical base64url"),
        (a_jws() + b"=", "a segment that is not canonical base64url"),
        (b".".join([encode(b'{"alg":"PS256","alg":"PS256"}').encode(), b"e30", b"AA"]), "a member name used twice"),
    ],
)
def test_sg_04_what_has_no_single_reading_is_refused(body: bytes, why: str) -> None:
    assert judged(a_payment(body)) == why


def test_sg_04_the_audience_may_be_written_as_patterns() -> None:
    pattern = parse_pattern("/open/*/payments/**")
    assert isinstance(pattern, PathPattern)
    rules = replace(BODIES, audience=(Audience("https://open.bank.test", pattern),), origins=origins())

    def asked(audience: str) -> bool:
        return isinstance(judged(a_payment(a_jws({"aud": audience})), rules), FirstUse)

    assert asked("https://open.bank.test/open/v4/payments/pix")
    assert not asked("https://open.bank.test/open/payments")
    assert not asked("https://open.bank.test/open/v4/payments/../../x")
    assert not asked("https://evil.test/open/v4/payments")
    assert not asked(URL)


@given(body=st.binary(max_size=300) | st.from_regex(rb"[\w-]{1,80}\.[\w-]{1,80}\.[\w-]{1,80}", fullmatch=True))
def test_sg_04_whatever_the_body_the_answer_is_a_refusal(body: bytes) -> None:
    assert isinstance(verify_body(a_payment(body), CALLER, BODIES, NOW), Deny)
