"""Threats to JSON Web Tokens, each with a token that was made for it."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from extauthz.bundle import read_bundle
from extauthz.identity import parse_jwks
from extauthz.model.ports import NoTokenCache
from tests.attacks.bank import BUNDLE
from tests.engine import load


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(bank, header: bytes, payload: bytes) -> str:
    """A token of the bank's own key over any bytes whatever."""
    message = f"{b64(header)}.{b64(payload)}".encode()
    r, s = decode_dss_signature(bank.key.sign(message, ec.ECDSA(hashes.SHA256())))
    return f"{message.decode()}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


HEADER = json.dumps({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}).encode()


def refused(bank, token: str) -> str:
    answer = bank.ask("/accounts", token=token)
    assert not answer.allowed
    return answer.reason


def test_the_hand_made_token_is_good_when_nothing_is_wrong_with_it(bank):
    assert bank.ask("/accounts", token=sign(bank, HEADER, json.dumps(bank.claims()).encode())).allowed


@pytest.mark.parametrize("alg", ["none", "nOnE", "None", ""])
def test_t41_alg_none_in_any_spelling(bank, alg):
    header = json.dumps({"alg": alg, "kid": "k1", "typ": "at+jwt"}).encode()
    payload = json.dumps(bank.claims()).encode()
    for signature in ("", "x", b64(b"0" * 64)):
        assert refused(bank, f"{b64(header)}.{b64(payload)}.{signature}").startswith(("token_", "credential_"))


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_t42_the_public_key_is_no_hmac_secret(bank, form):
    public = bank.key.public_key()
    secret = {
        "pem": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        "jwk": jwt.algorithms.ECAlgorithm.to_jwk(public).encode(),
    }[form]
    message = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'k1', 'typ': 'at+jwt'}).encode())}.{b64(json.dumps(bank.claims()).encode())}"
    token = f"{message}.{b64(hmac.digest(secret, message.encode(), 'sha256'))}"
    assert "token_algorithm_refused" == refused(bank, token)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES384", "EdDSA", "ES256K"])
def test_t43_t44_an_algorithm_that_does_not_fit_the_key_or_the_list(bank, alg):
    header = json.dumps({"alg": alg, "kid": "k1", "typ": "at+jwt"}).encode()
    assert refused(bank, sign(bank, header, json.dumps(bank.claims()).encode())).startswith("token_")


@pytest.mark.parametrize("kid", ["../../etc/passwd", "k1' OR '1'='1", "", "K1", "k1 ", 1, None, ["k1"], {"k": 1}])
def test_t45_a_kid_is_only_a_map_key(bank, kid):
    header = json.dumps({"alg": "ES256", "kid": kid, "typ": "at+jwt"}).encode()
    assert refused(bank, sign(bank, header, json.dumps(bank.claims()).encode())).startswith("token_")


def test_t46_keys_that_come_with_the_token_are_not_trusted(bank):
    """jwk, jku, x5u and x5c of an attacker's own key pair, with and without our kid."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(stranger.public_key()))
    for extra in ({"jwk": own}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/c"}, {"x5c": ["AAAA"]}):
        for kid in ("k1", "evil"):
            token = bank.token(headers={"kid": kid, **extra}, key=stranger)
            assert refused(bank, token).startswith("token_")


@pytest.mark.parametrize(
    "extra", [{"crit": ["x"], "x": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": False}, {"b64": True}]
)
def test_t47_critical_extensions_are_refused(bank, extra):
    header = json.dumps({"alg": "ES256", "kid": "k1", "typ": "at+jwt"} | extra).encode()
    assert "token_header_refused" == refused(bank, sign(bank, header, json.dumps(bank.claims()).encode()))


@pytest.mark.parametrize(
    "member", [b'"sub":"a","sub":"b"', b'"exp":1,"exp":9999999999', b'"tenant_id":"acme","tenant_id":"globex"']
)
def test_t48_duplicate_claims_are_refused(bank, member):
    payload = json.dumps(bank.claims()).encode()
    assert "token_malformed" == refused(bank, sign(bank, HEADER, payload[:-1] + b"," + member + b"}"))


def test_t48_duplicate_header_members_are_refused(bank):
    header = b'{"alg":"none","alg":"ES256","kid":"k1","typ":"at+jwt"}'
    assert "token_malformed" == refused(bank, sign(bank, header, json.dumps(bank.claims()).encode()))


@pytest.mark.parametrize(
    "value",
    [
        b'"9999999999"',
        b"9999999999.5",
        b"1e400",
        b"NaN",
        b"Infinity",
        b"true",
        b"[1]",
        b"9" * 400,
        b"-1",
        b"null",
        b"{}",
    ],
)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_t49_times_are_whole_numbers_in_a_sane_range(bank, claim, value):
    claims = bank.claims()
    claims.pop(claim, None)
    payload = json.dumps(claims).encode()[:-1] + f', "{claim}": '.encode() + value + b"}"
    assert refused(bank, sign(bank, HEADER, payload)).startswith("token_")


def test_t50_expired_and_future_tokens_with_a_bounded_leeway(bank):
    now = int(time.time())
    assert "token_expired" == refused(bank, bank.token(exp=now - 61))
    assert "token_not_yet_valid" == refused(bank, bank.token(nbf=now + 120))
    assert "token_not_yet_valid" == refused(bank, bank.token(iat=now + 120, exp=now + 400))
    assert bank.ask("/accounts", token=bank.token(nbf=now)).allowed


def test_t50_the_clock_is_ours_not_the_one_in_the_request(bank):
    def yesterday(check):
        check.attributes.request.time.seconds = 1

    token = bank.token(exp=int(time.time()) - 3600)
    assert "token_expired" == bank.ask("/accounts", token=token, change=yesterday).reason


@pytest.mark.parametrize(
    "aud", [None, "other", "bank2", "ban", "", ["other"], [], {"bank": 1}, 7, ["bank", 7], "bank other"]
)
def test_t51_the_audience_is_ours_exactly(bank, aud):
    assert refused(bank, bank.token(aud=aud)).startswith("token_")
    assert bank.ask("/accounts", token=bank.token(aud=["other", "bank"])).allowed


@pytest.mark.parametrize(
    "iss",
    [
        None,
        "https://idp.bank.test/realms/bank/",
        "https://idp.bank.test/realms",
        "https://IDP.bank.test/realms/bank",
        "",
        5,
        ["https://idp.bank.test/realms/bank"],
    ],
)
def test_t51_the_issuer_is_ours_exactly_and_an_unknown_one_is_not_anonymous(bank, iss):
    payload = {k: v for k, v in bank.claims().items() if k != "iss"} | ({} if iss is None else {"iss": iss})
    token = sign(bank, HEADER, json.dumps(payload).encode())
    assert refused(bank, token).startswith("token_")


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "JWT", "id_token", 1, None])
def test_t52_another_kind_of_token_is_no_access_token(bank, typ):
    header = json.dumps({"alg": "ES256", "kid": "k1", "typ": typ}).encode()
    assert refused(bank, sign(bank, header, json.dumps(bank.claims()).encode())).startswith("token_")
    assert bank.ask("/accounts", token=bank.token(headers={"typ": "application/at+JWT"})).allowed


@pytest.mark.parametrize(
    "extra", [{"at_hash": "x"}, {"token_use": "id"}, {"events": {}}, {"htm": "GET", "htu": "https://x"}]
)
def test_t52_claims_that_only_other_kinds_carry(bank, extra):
    assert "token_kind_refused" == refused(bank, bank.token(**extra))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"\\ud800"}',
        b'{"sub":"a\\u0000b"}',
        b'\xef\xbb\xbf{"sub":"a"}',
        '{"sub":"a"}'.encode("utf-16"),
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b"null",
        b"",
        b"{",
    ],
)
def test_t53_strings_that_break_others_are_refused_without_an_exception(bank, payload):
    whole = json.dumps(bank.claims()).encode()
    mixed = (
        whole[:-1].replace(b'"sub": "user-1", ', b"") + b"," + payload[1:] if payload.startswith(b'{"sub"') else payload
    )
    assert refused(bank, sign(bank, HEADER, mixed)).startswith(("token_", "credential_"))


def test_t54_large_and_deep_tokens_are_refused_before_any_work(bank):
    large = bank.token(padding="x" * 10_000)
    assert refused(bank, large) in {"credential_malformed", "token_malformed"}
    deep = json.dumps(bank.claims())[:-1] + ',"x":' + "[" * 500 + "]" * 500 + "}"
    assert "token_malformed" == refused(bank, sign(bank, HEADER, deep.encode()))


def test_t55_a_token_has_one_spelling(bank):
    """Padding, other alphabets, white space, set unused bits: each is another string for the same bytes, and refused."""
    head, body, signature = bank.token().split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twisted = signature[:-1] + last[(last.index(signature[-1]) & ~15) | (last.index(signature[-1]) ^ 1) & 15]
    for token in (f"{head}=.{body}.{signature}", f"{head}.{body}==.{signature}", f"{head}.{body}.{signature}==",
                  f"{head}.{body}.{twisted}", f"{head}.{body}.{signature}.", f".{head}.{body}.{signature}"):  # fmt: skip
        assert refused(bank, token).startswith(("token_", "credential_"))


def test_t57_a_token_of_one_tenant_on_another_tenants_resources(bank):
    token = bank.token(tenant_id="acme")
    assert bank.ask("/tenants/acme/accounts", token=token).allowed
    assert "tenant_mismatch" == bank.ask("/tenants/globex/accounts", token=token).reason
    assert "tenant_mismatch" == bank.ask("/accounts", token=token, headers={"x-tenant-id": "globex"}).reason
    assert "tenant_conflict" == bank.ask("/tenants/acme/x", token=token, headers={"x-tenant-id": "globex"}).reason
    for tenant in ("nobody", "ACME", "", [], ["acme", "globex"], ["globex"], 5, None):
        assert not bank.ask("/tenants/acme/accounts", token=bank.token(tenant_id=tenant)).allowed


def test_t58_encrypted_nested_and_sender_constrained_tokens_are_refused(bank):
    assert "token_encrypted" == refused(bank, "a.b.c.d.e")
    nested = sign(
        bank, json.dumps({"alg": "ES256", "kid": "k1", "typ": "at+jwt", "cty": "JWT"}).encode(), bank.token().encode()
    )
    assert refused(bank, nested).startswith("token_")
    for cnf in ({"jkt": "x" * 43}, {"x5t#S256": "y" * 43}, {}, "x", ["jkt"]):
        assert refused(bank, bank.token(cnf=cnf)).startswith(("token_", "certificate_missing"))


def test_t44_small_rsa_keys_do_not_enter_a_key_set(bank):
    small = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    issuer = read_bundle(load(BUNDLE), NoTokenCache()).issuers[0]
    keys, dropped = parse_jwks(json.dumps({"keys": [small | {"kid": "s"}]}).encode(), issuer)
    assert (0, 1) == (len(keys), len(dropped))


def test_t43_signature_bytes_of_another_token(bank):
    one, two = bank.token(), bank.token(sub="user-2")
    assert "token_signature_invalid" == refused(bank, ".".join([*two.split(".")[:2], one.split(".")[2]]))
    assert hashlib.sha256(one.encode()).digest() != hashlib.sha256(two.encode()).digest()
