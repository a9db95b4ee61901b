"""Keys of issuers: checks JWT-14, KEY-04, and the published vectors of RFC 7515, 7638 and 8037."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import OKPAlgorithm

from extauthz.identity import JwksError, parse_jwks, thumbprint
from extauthz.identity.algorithms import verify_signature
from extauthz.identity.base64url import decode
from extauthz.identity.keys import MAX_KEYS
from tests.unit.identity.tokens import (
    BANK,
    EC,
    ED,
    OTHER_RSA,
    RSA,
    SIGNERS,
    an_issuer,
    claims,
    jwk,
    key_set,
    refusal,
    sign,
)

EVERY = an_issuer(algorithms=list(SIGNERS))

RFC7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o"
    "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQv"
    "RL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
# RFC 7515 appendix A.2 (RS256), A.3 (ES256), A.4 (ES512); RFC 8037 appendix A.4 (EdDSA): key, signed text, signature.
VECTORS = {
    "RS256": (
        {
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
            "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6"
            "65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuX"
            "poQ",
            "e": "AQAB",
        },
        f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}",
        (
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcA"
            "cQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHW"
            "EsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        ),
    ),
    "ES256": (
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    "ES512": (
        {
            "kty": "EC",
            "crv": "P-521",
            "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        },
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
        (
            "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3"
            "xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
        ),
    ),
    "EdDSA": (
        RFC8037_KEY,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
}


def left_out(*jwks: Any) -> list[str]:
    """Why each of the keys is not used; none of them may be."""
    keys, notes = parse_jwks(json.dumps({"keys": jwks}).encode(), EVERY)
    assert 0 == len(keys)
    return notes


def test_key_04_the_thumbprint_of_rfc_7638() -> None:
    assert "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" == thumbprint(RFC7638_KEY)


def test_key_04_the_thumbprint_of_rfc_8037() -> None:
    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" == thumbprint(RFC8037_KEY)


def test_key_04_only_the_required_members_count() -> None:
    assert thumbprint(RFC8037_KEY) == thumbprint({**RFC8037_KEY, "kid": "other", "use": "sig"})
    assert thumbprint(RFC8037_KEY) != thumbprint({**RFC8037_KEY, "x": RFC8037_KEY["x"][::-1]})
    keys = key_set(EVERY, {**RFC7638_KEY})
    assert "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" == keys.keys[0].thumbprint


def test_key_04_a_key_written_with_leading_zeros_has_the_thumbprint_of_its_number() -> None:
    """Some issuers write the sign byte of a modulus; RFC 7518 wants the shortest form."""
    modulus = base64.urlsafe_b64decode(RFC7638_KEY["n"] + "==")
    padded = base64.urlsafe_b64encode(b"\0" + modulus).decode().rstrip("=")
    assert (
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" == key_set(EVERY, {**RFC7638_KEY, "n": padded}).keys[0].thumbprint
    )


@pytest.mark.parametrize("algorithm", VECTORS)
def test_published_signatures_verify_and_changed_ones_do_not(algorithm: str) -> None:
    published, text, written = VECTORS[algorithm]
    (key,) = key_set(EVERY, {**published, "kid": "k"}).select("k", algorithm)
    signature = decode(written)
    assert signature is not None
    assert verify_signature(algorithm, key.public, text.encode(), signature)
    assert not verify_signature(algorithm, key.public, text.encode() + b"A", signature)
    assert not verify_signature(algorithm, key.public, text.encode(), signature[:-1] + bytes([signature[-1] ^ 1]))


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (
            f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "token_issuer_refused JWT-07",
        ),
        (f"eyJhbGciOiJub25lIn0.{PAYLOAD}.", "token_malformed JWT-01"),
        (f'{{"payload":"{PAYLOAD}","signatures":[]}}', "token_malformed JWT-01"),
        (f'{{"payload":"{PAYLOAD}","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AA"}}', "token_malformed JWT-01"),
    ],
    ids=["A.1 HS256", "A.5 unsecured", "A.6 JSON", "A.7 flattened"],
)
def test_jwt_01_jwt_02_the_other_forms_of_rfc_7515_appendix_a_are_no_token(token: str, told: str) -> None:
    assert told == refusal(token)


def test_jwt_02_the_secret_key_of_rfc_7515_appendix_a_1_signs_no_token_of_ours() -> None:
    secret = decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
    token = jwt.encode(claims(), secret, "HS256", {"typ": "at+jwt", "kid": "ec"})
    assert "token_algorithm_refused JWT-02" == refusal(token)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_jwt_14_rsa_keys_of_common_sizes_are_used(bits: int) -> None:
    key = RSA if bits == 2048 else rsa.generate_private_key(65537, bits)
    assert 1 == len(key_set(EVERY, jwk(key, kid="k")))


def test_jwt_14_weak_and_oversized_rsa_keys_are_left_out_and_named() -> None:
    weak = jwk(rsa.generate_private_key(65537, 1024), kid="weak")
    huge = {"kty": "RSA", "kid": "huge", "e": "AQAB", "n": "_" * 11000}
    assert [
        "keys[0] `weak`: an RSA key must have 2048 to 8192 bits",
        "keys[1] `huge`: an RSA key must have 2048 to 8192 bits",
    ] == left_out(weak, huge)
    assert "token_key_unknown JWT-03" == refusal(
        sign(claims(), algorithm="PS256", header={"kid": "weak"}), keys={"bank": key_set(BANK, jwk(EC, kid="ec"))}
    )


@pytest.mark.parametrize("exponent", ["AQ", "Aw", "AQAA", "AQAB" * 8])
def test_jwt_14_odd_rsa_exponents_are_left_out(exponent: str) -> None:
    assert ["keys[0] `k`: its RSA exponent or modulus is out of range"] == left_out(jwk(RSA, kid="k", e=exponent))


def test_jwt_14_symmetric_keys_are_left_out_and_named() -> None:
    found = left_out({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"})
    assert ["keys[0] `s`: a symmetric key has no place in a published set"] == found


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_jwt_14_a_key_that_shows_its_private_half_is_left_out_and_named(member: str) -> None:
    (note,) = left_out(jwk(RSA, kid="leaked", **{member: "AQAB"}))
    assert f"keys[0] `leaked`: it shows its private half (`{member}`): the issuer must replace it" == note


def test_jwt_14_an_ed25519_key_with_its_private_half_is_left_out() -> None:
    whole = OKPAlgorithm.to_jwk(ED, as_dict=True)
    assert "private half" in left_out({**whole, "kid": "k", "key_ops": ["verify"]})[0]


def test_jwt_14_curves_and_key_types_that_we_do_not_know_are_left_out() -> None:
    secp256k1 = {"kty": "EC", "crv": "secp256k1", "x": "A" * 43, "y": "A" * 43}
    x448 = OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True)
    x448.pop("key_ops", None)
    found = left_out(secp256k1, x448, {"kty": "AKP"}, {"kty": 1}, {}, "text", None)
    assert 7 == len(found)


@pytest.mark.parametrize(
    "changes",
    [{"x": "AAAA"}, {"x": "A" * 43}, {"y": ...}, {"x": 1}, {"x": "=" * 43}, {"crv": "P-384"}, {"crv": ...}, {"x": ""}],
)
def test_jwt_14_broken_ec_keys_are_left_out(changes: dict[str, Any]) -> None:
    broken = {name: value for name, value in {**jwk(EC, kid="k"), **changes}.items() if value is not ...}
    assert 1 == len(left_out(broken))


def test_jwt_14_a_good_key_beside_bad_ones_is_used() -> None:
    jwks = [{"kty": "oct", "k": "x"}, jwk(RSA, kid="good"), {"kty": "RSA"}]
    keys, notes = parse_jwks(json.dumps({"keys": jwks}).encode(), BANK)
    assert ["good"] == [key.id for key in keys.keys]
    assert 2 == len(notes)
    assert "accepted" == refusal(sign(claims(), algorithm="PS256", header={"kid": "good"}), keys={"bank": keys})


@pytest.mark.parametrize("members", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": []}, {"use": 1}])
def test_jwt_03_keys_for_other_purposes_are_left_out_without_a_word(members: dict[str, Any]) -> None:
    assert [] == left_out(jwk(RSA, kid="k", alg="RSA-OAEP", **members))


@pytest.mark.parametrize("members", [{"use": "sig"}, {"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"]}, {}])
def test_jwt_03_keys_for_signatures_are_used(members: dict[str, Any]) -> None:
    assert 1 == len(key_set(BANK, jwk(RSA, kid="k", **members)))


def test_jwt_02_a_key_for_an_algorithm_that_the_issuer_may_not_use_is_left_out_and_named() -> None:
    strict = an_issuer(algorithms=["PS256"])
    keys, notes = parse_jwks(json.dumps({"keys": [jwk(RSA, kid="k", alg="RS256")]}).encode(), strict)
    assert 0 == len(keys)
    assert ["keys[0] `k`: its `alg` is not among the issuer's `algorithms`"] == notes


def test_jwt_03_a_key_whose_algorithm_contradicts_its_type_is_left_out() -> None:
    assert "does not fit" in left_out(jwk(RSA, kid="k", alg="ES256"))[0]
    assert "does not fit" in left_out(jwk(EC, kid="k", alg="ES384"))[0]


def test_jwt_04_certificates_and_addresses_beside_a_key_are_ignored() -> None:
    assert 1 == len(key_set(BANK, jwk(RSA, kid="k", x5c=["garbage"], x5u="https://evil.test", x5t=1)))


def test_the_same_key_twice_is_one_key_and_another_key_under_the_same_id_is_kept() -> None:
    assert 1 == len(key_set(BANK, jwk(RSA, kid="k"), jwk(RSA, kid="k")))
    assert 2 == len(key_set(BANK, jwk(RSA, kid="k"), jwk(OTHER_RSA, kid="k")))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"keys":[],"keys":[]}',
        b'\xef\xbb\xbf{"keys":[]}',
        b'{"keys":[' + b"[" * 5000,
        json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(),
        b'{"keys":[],"x":"' + b"a" * 2**20 + b'"}',
    ],
)
def test_a_document_that_is_no_key_set_is_refused_as_a_whole(text: bytes) -> None:
    with pytest.raises(JwksError):
        parse_jwks(text, BANK)


def test_the_version_changes_with_keys_and_document_and_with_nothing_else() -> None:
    first = key_set(BANK, jwk(RSA, kid="a"), jwk(EC, kid="b"))
    assert first.version == key_set(BANK, jwk(EC, kid="b", use="sig"), jwk(RSA, kid="a")).version
    others = [
        key_set(BANK, jwk(RSA, kid="a")),
        key_set(BANK, jwk(RSA, kid="a"), jwk(EC, kid="c")),
        key_set(BANK, jwk(OTHER_RSA, kid="a"), jwk(EC, kid="b")),
        key_set(an_issuer(audiences=["other"]), jwk(RSA, kid="a"), jwk(EC, kid="b")),
    ]
    assert 5 == len({first.version, *(other.version for other in others)})


def test_every_supported_kind_of_key_is_read() -> None:
    curves = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]
    jwks = [jwk(ec.generate_private_key(curve)) for curve in curves]
    keys = key_set(EVERY, *jwks, jwk(ed25519.Ed25519PrivateKey.generate()), jwk(RSA))
    assert ["P-256", "P-384", "P-521", "Ed25519", ""] == [key.crv for key in keys.keys]
