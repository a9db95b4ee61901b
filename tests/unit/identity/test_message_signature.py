"""HTTP message signatures (SG-01 to SG-03): what a signature must cover, whose it must be, and when it was made."""

import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.identity import structured_fields
from extauthz.identity.algorithms import verify_signature
from extauthz.identity.base64url import decode
from extauthz.identity.jwk import read_shown_key
from extauthz.identity.message_signature import verify_message
from extauthz.identity.signature_base import signature_base
from extauthz.identity.structured_fields import InnerList, read_dictionary
from extauthz.identity.whole_body import wrong_digest
from extauthz.model.decision import Deny
from extauthz.model.subject import ANONYMOUS
from tests.fakes import a_request
from tests.unit.identity.signatures import (
    BODY,
    CALLER,
    COVERED,
    HOST,
    NOW,
    PATH,
    RULES,
    TOKEN,
    a_signed_request,
    digest_of,
    octets,
    origins,
    parameters,
    said,
    sign,
)

WITH_BODY = (*COVERED, "content-digest")

# --- RFC 9421 appendix B.2.4 and B.2.6, RFC 9530 appendix D: keys and signatures as printed there

ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}
P256 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA",
    "y": "Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0",
}
B26_INPUT = (
    'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
B26 = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
B24_BASE = """\
"@status": 200
"content-type": application/json
"content-digest": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:
"content-length": 23
"@signature-params": ("@status" "content-type" "content-digest" "content-length")\
;created=1618884473;keyid="test-key-ecc-p256\""""
B24 = "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw=="
SHA_512 = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
SHA_256 = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


def test_sg_02_the_signature_of_rfc_9421_appendix_b_2_6_verifies_over_our_base() -> None:
    headers = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ]
    request = a_request("POST", "/foo?param=Value&Pet=dog", host="example.com", headers=headers)
    members = read_dictionary(B26_INPUT)
    assert isinstance(members, dict)
    covered = members["sig-b26"]
    assert isinstance(covered, InnerList)
    base = signature_base(request, covered, origins("https://example.com"))
    public = read_shown_key(ED25519, "EdDSA")[0]
    assert verify_signature("EdDSA", public, base.encode(), b64decode(B26))


def test_sg_03_the_ecdsa_signature_of_rfc_9421_appendix_b_2_4_verifies() -> None:
    public = read_shown_key(P256, "ES256")[0]
    assert verify_signature("ES256", public, B24_BASE.encode(), b64decode(B24))


def test_sg_02_the_digests_that_the_rfcs_print_hold_and_are_refused_for_another_body() -> None:
    for digest in (SHA_256, SHA_512, f"{SHA_256}, {SHA_512}", f"md5=:AAAA:, {SHA_512}"):
        assert wrong_digest(digest, b'{"hello": "world"}') == ""
        assert wrong_digest(digest, b'{"hello": "world!"}') == "not the digest of this body"


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        (f"{SHA_256}, sha-512=:AAAA:", "not the digest of this body"),
        (f"sha-256=:AAAA:, {SHA_512}", "not the digest of this body"),
        (f"{SHA_256}, {SHA_256}", "a member named twice"),
        ("md5=:AAAA:", "neither `sha-256` nor `sha-512`"),
        (SHA_256.replace("sha-256", "SHA-256"), "a name is missing"),
        (SHA_256.replace(":", '"'), "a digest that is not bytes"),
        (f"{SHA_256};x", "a digest that is not bytes"),
        (f"sha-256=({SHA_256.partition('=')[2]})", "a digest that is not bytes"),
        ("sha-256", "a digest that is not bytes"),
        ("", "a name is missing"),
    ],
)
def test_sg_02_all_digests_that_are_known_must_hold(digest: str, why: str) -> None:
    assert wrong_digest(digest, b'{"hello": "world"}') == why


# --- SG-01: one signature, made for FAPI


@pytest.mark.parametrize("key", ["ec", "ed", "rsa", "ps256"])
def test_sg_01_a_signature_made_for_fapi_is_accepted_with_every_kind_of_key(key: str) -> None:
    assert said(a_signed_request(key=key)) == "accepted"


def test_sg_01_a_request_without_signature_is_told_so_unless_none_is_required() -> None:
    bare = a_request("GET", PATH, host=HOST, headers=[("authorization", TOKEN)])
    assert said(bare) == "signature_missing SG-01: no signature"
    assert said(bare, replace(RULES, required=False)) == "not signed"
    assert said(bare, replace(RULES, methods=frozenset({"POST"}))) == "not signed"
    assert said(bare, replace(RULES, methods=frozenset({"GET"}))) == "signature_missing SG-01: no signature"


def test_sg_01_a_signature_that_is_not_required_is_verified_all_the_same() -> None:
    request = a_signed_request(claimed={"authorization": "Bearer other"})
    optional = replace(RULES, required=False)
    assert said(request, optional) == "signature_invalid SG-03: the signature does not fit"
    assert said(a_signed_request(tag="cdn"), optional) == "not signed"


@pytest.mark.parametrize("tag", [None, "fapi-2-response", "FAPI-2-REQUEST"])
def test_sg_01_a_signature_made_for_something_else_is_none(tag: str | None) -> None:
    assert said(a_signed_request(tag=tag)) == "signature_invalid SG-01: no signature with the tag"


def test_sg_01_other_signatures_beside_ours_do_no_harm_and_two_of_ours_are_refused() -> None:
    (_, ours), (_, value) = [pair for pair in a_signed_request().headers.items() if pair[0].startswith("signature")][
        ::-1
    ]
    other = ours.replace("sig1", "proxy").replace("fapi-2-request", "cdn")
    headers = [("authorization", TOKEN), ("signature", f"{value}, proxy=:AAAA:")]

    def asked(told: str) -> str:
        return said(a_request("GET", PATH, host=HOST, headers=[*headers, ("signature-input", told)]))

    assert asked(f"{other}, {ours}") == "accepted"
    twice = ours.replace("sig1", "proxy")
    assert asked(f"{twice}, {ours}") == "signature_invalid SG-01: more than one signature with the tag"
    assert asked(f"{ours}, {ours}") == "signature_invalid SG-01: Signature-Input: a member named twice"
    assert asked(ours.replace("sig1", "sig2")) == "signature_invalid SG-01: no bytes under the label"


@pytest.mark.parametrize(
    ("told", "value", "why"),
    [
        ("", "sig1=:AAAA:", "Signature-Input: a name is missing"),
        ("sig1", "sig1=:AAAA:", "no signature with the tag"),
        (f"sig1=1{parameters()}", "sig1=:AAAA:", "no list of components"),
        (f"sig1=(){parameters()}", "", "Signature: a name is missing"),
        (f"sig1=(){parameters()}", "sig1=AAAA", "no bytes under the label"),
        (f"sig1=(){parameters()}", "sig1=:AAAA:;a=1", "no bytes under the label"),
        (f"sig1=(){parameters()}", "sig1=::", "a signature of no possible length"),
        (f"sig1=(){parameters()}", "sig1=:AAA:", "Signature: bytes that are not base64"),
        (f"sig1=(){parameters()}", "sig1=:AAB=:", "Signature: bytes that are not in their one spelling"),
        (f"sig1=(){parameters()}", "sig1=:AAAA:, sig1=:AAAA:", "Signature: a member named twice"),
        (f"sig1=(){parameters()};tag=x", "sig1=:AAAA:", "Signature-Input: a parameter named twice"),
        (f"sig1=(){parameters(other=1)}", "sig1=:AAAA:", "an unknown parameter"),
        ('sig1=("a""b")', "sig1=:AAAA:", "Signature-Input: no space between items"),
        ('sig1=("a"', "sig1=:AAAA:", "Signature-Input: no space between items"),
        ("sig1=(" + '"a" ' * 65 + ")", "sig1=:AAAA:", "Signature-Input: more than 64 items"),
        ("sig1=()" + "".join(f";a{n}" for n in range(17)), "sig1=:AAAA:", "Signature-Input: more than 16 parameters"),
        (", ".join(f"a{n}" for n in range(17)), "sig1=:AAAA:", "Signature-Input: more than 16 members"),
        ("a" * 8193, "sig1=:AAAA:", "Signature-Input: longer than 8 KiB"),
        ("sig1=();created=01", "sig1=:AAAA:", "Signature-Input: a number that is no integer in its one spelling"),
        ("sig1=();created=1.5", "sig1=:AAAA:", "Signature-Input: a number that is no integer in its one spelling"),
        ("sig1=();a=?1", "sig1=:AAAA:", "Signature-Input: a parameter that is true has no value"),
        ("sig1=(),", "sig1=:AAAA:", "Signature-Input: a name is missing"),
        ("Sig1=()", "sig1=:AAAA:", "Signature-Input: a name is missing"),
        ("sig1=() sig2=()", "sig1=:AAAA:", "Signature-Input: no comma between members"),
    ],
)
def test_sg_01_fields_without_one_reading_are_refused(told: str, value: str, why: str) -> None:
    headers = [("authorization", TOKEN), ("signature-input", told), ("signature", value)]
    assert said(a_request("GET", PATH, host=HOST, headers=headers)) == f"signature_invalid SG-01: {why}"


# --- SG-02: what is covered


@pytest.mark.parametrize("left_out", COVERED)
def test_sg_02_method_target_and_token_must_be_covered(left_out: str) -> None:
    request = a_signed_request([name for name in COVERED if name != left_out])
    assert said(request) == f"signature_invalid SG-02: `{left_out}` is not covered"


def test_sg_02_a_proof_must_be_covered_when_it_is_sent() -> None:
    proof = {"dpop": "eyJ.a.b"}
    assert said(a_signed_request(headers=proof)) == "signature_invalid SG-02: `dpop` is not covered"
    assert said(a_signed_request((*COVERED, "dpop"), headers=proof)) == "accepted"


def test_sg_02_a_body_is_covered_by_its_digest() -> None:
    assert said(a_signed_request(WITH_BODY, method="POST", body=BODY)) == "accepted"
    assert (
        said(a_signed_request(method="POST", body=BODY)) == "signature_invalid SG-02: `content-digest` is not covered"
    )
    assert said(a_signed_request((*WITH_BODY, "content-length"), method="POST", body=BODY)) == "accepted"
    bare = {"content-length": str(len(BODY))}
    without = replace(a_signed_request(method="POST", headers=bare), body=BODY)
    assert said(without) == "signature_invalid SG-02: `content-digest` is not covered"
    claimed = replace(
        a_signed_request(WITH_BODY, method="POST", headers=bare, claimed={"content-digest": "x"}), body=BODY
    )
    assert said(claimed) == "signature_invalid SG-02: a covered field that was not sent"
    empty = a_signed_request(method="POST", headers={"content-length": "0"})
    assert said(empty) == "accepted"


def test_sg_02_another_body_than_the_one_that_was_signed_is_refused() -> None:
    request = replace(a_signed_request(WITH_BODY, method="POST", body=BODY), body=BODY.replace(b"1", b"9"))
    assert said(request) == "signature_invalid SG-02: Content-Digest: not the digest of this body"
    none = {"content-digest": digest_of(BODY)}
    assert said(a_signed_request(WITH_BODY, headers=none)).endswith("Content-Digest: not the digest of this body")


def test_sg_02_a_body_that_envoy_did_not_send_whole_is_refused() -> None:
    signed = a_signed_request(WITH_BODY, method="POST", body=BODY)
    assert "`withRequestBody`" in said(replace(signed, body=None))
    assert "`maxRequestBytes`" in said(replace(signed, body=BODY, body_is_partial=True))
    assert "`content-length`" in said(replace(signed, body=BODY[:-1]))
    assert "`content-length`" in said(replace(signed, body=BODY + b" "))
    assert "`maxBodyBytes`" in said(signed, replace(RULES, max_body=len(BODY) - 1))
    assert "`content-length: 0`" in said(a_signed_request(method="POST"))
    assert "`withRequestBody`" in said(a_signed_request(headers={"transfer-encoding": "chunked"}))


@pytest.mark.parametrize(
    "claimed",
    [
        {"@method": "DELETE"},
        {"@target-uri": f"https://evil.test{PATH}"},
        {"@target-uri": f"https://{HOST}/payments/18?expand=all"},
        {"@target-uri": f"https://{HOST}/payments/17"},
        {"@target-uri": f"http://{HOST}{PATH}"},
        {"authorization": "Bearer other"},
    ],
)
def test_sg_02_a_signature_of_another_request_does_not_fit_this_one(claimed: Mapping[str, str]) -> None:
    assert said(a_signed_request(claimed=claimed)) == "signature_invalid SG-03: the signature does not fit"


def test_sg_02_more_may_be_covered_than_must_be() -> None:
    more = {
        "@authority": HOST,
        "@scheme": "https",
        "@path": "/payments/17",
        "@query": "?expand=all",
    }
    headers = {"x-fapi-interaction-id": "93bac548-d2de-4546-b106-880a5018460d"}
    covered = (*COVERED, *more, *headers)
    assert said(a_signed_request(covered, claimed=more, headers=headers)) == "accepted"
    for name in more:
        wrong = {**more, name: "other"}
        assert said(a_signed_request(covered, claimed=wrong, headers=headers)).endswith("the signature does not fit")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("@status", "an unknown derived component"),
        ("@request-target", "an unknown derived component"),
        ("@query-param", "an unknown derived component"),
        ("x-absent", "a covered field that was not sent"),
        ("Authorization", "a component that is not the name of a field"),
        ("authorization", "a component named twice"),
        ("x-text", "a covered field that is not plain text"),
        ("x-bang", "a covered field with `!`, which may stand for a byte outside of ASCII"),
    ],
)
def test_sg_02_components_that_cannot_be_derived_are_refused(name: str, why: str) -> None:
    line = {"x-text": 'a\n"@method": GET', "x-bang": "pay!"}
    request = a_signed_request((*COVERED, name), claimed={name: TOKEN}, headers=line)
    assert said(request) == f"signature_invalid SG-02: {why}"


@pytest.mark.parametrize(
    "component",
    [
        '"@method";req',
        '"authorization";sf',
        '"authorization";bs',
        '"authorization";tr',
        '"authorization";key="a"',
        '"@query-param";name="expand"',
        "authorization",
        "1",
        ":YQ==:",
        "?1",
    ],
)
def test_sg_02_components_with_parameters_or_without_quotes_are_refused(component: str) -> None:
    covered = " ".join(f'"{name}"' for name in COVERED)
    headers = [
        ("authorization", TOKEN),
        ("signature-input", f"sig1=({covered} {component}){parameters()}"),
        ("signature", "sig1=:AAAA:"),
    ]
    found = said(a_request("GET", PATH, host=HOST, headers=headers))
    assert found == "signature_invalid SG-02: a component that is not a plain name"


def test_sg_02_a_parameter_on_what_must_be_covered_does_not_cover_it() -> None:
    """Of a response, the method of its request: not the method of this one."""
    request = a_signed_request(('@method";req', "@target-uri", "authorization"), claimed={'@method";req': "GET"})
    assert said(request).startswith("signature_invalid SG-01: Signature-Input: ")
    headers = [
        ("authorization", TOKEN),
        ("signature-input", f'sig1=("@method";req "@target-uri" "authorization"){parameters()}'),
        ("signature", "sig1=:AAAA:"),
    ]
    found = said(a_request("GET", PATH, host=HOST, headers=headers))
    assert found == "signature_invalid SG-02: a component that is not a plain name"


@pytest.mark.parametrize("value", ["  {}", "{}  ", "\t{}\t"])
def test_sg_02_white_space_around_a_value_is_not_part_of_it(value: str) -> None:
    """RFC 9421 section 2.1: it is stripped before it is signed."""
    headers = {"x-note": value.format("a  b")}
    assert said(a_signed_request((*COVERED, "x-note"), headers=headers, claimed={"x-note": "a  b"})) == "accepted"
    inner = {"x-note": value.format("a b")}
    found = said(a_signed_request((*COVERED, "x-note"), headers=inner, claimed={"x-note": "a  b"}))
    assert found == "signature_invalid SG-03: the signature does not fit"


def test_sg_03_the_key_chooses_the_algorithm_never_the_message() -> None:
    """An RSA key for one scheme verifies nothing made with another, whatever `alg` says."""
    made = a_signed_request(key="ps256", keyid="rsa")  # registered without `alg`: for rsa-pss-sha512 alone
    assert said(made) == "signature_invalid SG-03: the signature does not fit"
    assert (
        said(a_signed_request(key="ps256", alg="rsa-pss-sha512"))
        == "signature_invalid SG-03: no such key of this client"
    )
    assert said(a_signed_request(key="ec", keyid="ed")) == "signature_invalid SG-03: the signature does not fit"
    assert said(a_signed_request(key="ed", alg="ecdsa-p256-sha256")).endswith("no such key of this client")
    only = replace(RULES, algorithms=("rsa-pss-sha512",))
    assert said(a_signed_request(key="ps256"), only) == "signature_invalid SG-03: no such key of this client"


LONG = 64 * 1024
PATTERNS = {
    "a text without end": 'a=("' + "x" * LONG,
    "backslashes": 'a=("' + "\\" * LONG,
    "bytes without end": "a=:" + "A" * LONG,
    "padding": "a=:" + "A" * LONG + "===",
    "spaces in a list": "a=(" + " " * LONG,
    "tabs between members": "a" + "\t" * LONG,
    "spaces before a parameter": "a;" + " " * LONG,
    "a word": "a=" + "A" * LONG + '"',
    "digits": "a=" + "1" * LONG,
    "a name": "a" * LONG + '"',
}


@pytest.mark.parametrize("name", PATTERNS)
def test_sg_01_reading_takes_time_in_proportion_to_the_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the longest text that is read at all; what takes 2 ms would take a minute if it were quadratic."""
    monkeypatch.setattr(structured_fields, "MAX_TEXT", 2 * LONG)
    began = time.process_time()
    assert isinstance(read_dictionary(PATTERNS[name]), str)
    assert time.process_time() - began < 2


def test_sg_02_the_target_is_at_the_public_origin_with_its_prefix() -> None:
    rules = replace(RULES, origins=origins("https://open.bank.test/psd2"))
    inside = a_signed_request(claimed={"@target-uri": f"https://open.bank.test/psd2{PATH}"})
    assert said(inside, rules) == "accepted"
    assert said(a_signed_request(), rules).endswith("the signature does not fit")


def test_sg_02_without_a_known_public_url_nothing_is_accepted() -> None:
    unknown = replace(RULES, origins=replace(origins(), else_host=False))
    assert "`publicOrigin`" in said(a_signed_request(), unknown)


def test_sg_02_lines_that_envoy_shows_twice_are_refused() -> None:
    covered = (*COVERED, "x-a")
    lines = {"@method": "GET", "@target-uri": f"https://{HOST}{PATH}", "authorization": TOKEN, "x-a": "1, 2"}
    headers = [("authorization", TOKEN), ("x-a", "1"), ("x-a", "2"), *sign(lines, covered)]
    found = said(a_request("GET", PATH, host=HOST, headers=headers))
    assert found == "signature_invalid SG-02: a covered field that was sent more than once"


# --- SG-03: made just now, with a key of this client


@pytest.mark.parametrize(("age", "good"), [(0, True), (60, True), (61, False), (-10, True), (-11, False)])
def test_sg_03_a_signature_is_a_minute_old_at_most_and_hardly_ahead(age: int, good: bool) -> None:
    found = said(a_signed_request(created=NOW - age))
    assert found == ("accepted" if good else "signature_invalid SG-03: too old or too new")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"created": None}, "no `created`"),
        ({"created": str(NOW)}, "no `created`"),
        ({"expires": NOW}, "its own `expires` does not hold"),
        ({"expires": "never"}, "its own `expires` does not hold"),
        ({"keyid": None}, "no `keyid`"),
        ({"keyid": ""}, "no `keyid`"),
        ({"keyid": "unknown"}, "no such key of this client"),
        ({"alg": "hmac-sha256"}, "not one of the accepted algorithms"),
        ({"alg": "rsa-v1_5-sha256"}, "not one of the accepted algorithms"),
        ({"alg": "PS256"}, "not one of the accepted algorithms"),
        ({"alg": "ed25519"}, "no such key of this client"),
    ],
)
def test_sg_03_parameters_that_do_not_hold_are_refused(changes: dict[str, Any], why: str) -> None:
    assert said(a_signed_request(**changes)) == f"signature_invalid SG-03: {why}"


def test_sg_03_parameters_that_hold_are_accepted() -> None:
    assert said(a_signed_request(alg="ecdsa-p256-sha256", expires=NOW + 1, nonce="n")) == "accepted"


def test_sg_03_the_key_is_one_that_is_registered_for_this_client() -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert said(a_signed_request(signer=stranger)) == "signature_invalid SG-03: the signature does not fit"
    nobody = "signature_invalid SG-03: no key is registered for the client"
    assert said(a_signed_request(), subject=replace(CALLER, client="tpp-2")) == nobody
    assert said(a_signed_request(), subject=ANONYMOUS) == nobody
    assert said(a_signed_request(), replace(RULES, keys={"": RULES.keys[CALLER.client]}), ANONYMOUS) == nobody
    others = replace(RULES, keys={"tpp-2": RULES.keys["tpp-1"]})
    assert said(a_signed_request(), others) == nobody


def test_sg_03_algorithms_that_the_profile_does_not_name_are_refused() -> None:
    rules = replace(RULES, algorithms=("ed25519",))
    assert said(a_signed_request(), rules) == "signature_invalid SG-03: no such key of this client"
    assert said(a_signed_request(key="ed"), rules) == "accepted"


# --- whatever is sent


_TEXTS = st.text(max_size=200) | st.text('sig1=()";:,?*@ab01+/ \t\\', max_size=200)


@given(told=_TEXTS, value=_TEXTS, digest=_TEXTS, path=st.text(max_size=20), body=st.none() | st.binary(max_size=50))
def test_sg_01_whatever_the_headers_and_the_body_the_answer_is_a_refusal(
    told: str, value: str, digest: str, path: str, body: bytes | None
) -> None:
    headers = [("authorization", TOKEN), ("signature-input", told), ("signature", value), ("content-digest", digest)]
    request = a_request("POST", PATH, host=HOST, headers=headers)
    request = replace(request, body=body, raw_path=path, query=path)
    assert isinstance(verify_message(request, CALLER, RULES, NOW), Deny)


@given(where=st.integers(0, 400), text=st.text(max_size=3))
def test_sg_03_no_change_to_what_was_signed_goes_unnoticed(where: int, text: str) -> None:
    signed = a_signed_request()
    lines = dict(signed.headers.items())
    told = lines["signature-input"]
    changed = told[: where % len(told)] + text + told[where % len(told) + len(text) :]
    read, before = read_dictionary(changed), read_dictionary(told)
    assert isinstance(before, dict)
    headers = {**lines, "signature-input": changed}
    found = said(a_request("GET", PATH, host=HOST, headers=headers.items()))
    same = isinstance(read, dict) and [(k, v.text) for k, v in read.items()] == [(k, v.text) for k, v in before.items()]
    assert (found == "accepted") == same


def test_sg_01_every_value_is_written_as_it_was_read() -> None:
    text = '("a";b;c=?0 "\\"\\\\");d=-5;e=tok/en;f=:AQ==:;g="x"'
    members = read_dictionary(f"  s={text},\tt ")
    assert isinstance(members, dict)
    assert members["s"].text == text
    assert members["s"].parameters["f"] == decode("AQ")
    assert octets(b"\1") == ":AQ==:"
    assert read_dictionary('s=( "a"  "b" ); c=1') == read_dictionary('s=("a" "b");c=1')
