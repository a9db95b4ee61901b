"""Tokens for PolicyTests, really signed, with keys that exist in this process alone.

A case so goes through the whole verification: a wrong audience, kind or lifetime fails it as it would fail a request.
Rule: these keys get into the snapshot of a test, never into one that serves.
"""

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from msgspec import Struct

from extauthz.identity import SIGNED_TYPE, Issuer, KeySet, parse_jwks

_KEY_ID: Final = "policy-test"
_FILLER: Final = "policy-test"
_LIFETIME: Final = 300  # seconds
_TIMES: Final = frozenset({"iat", "nbf", "auth_time"})
_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: Final[dict[str, tuple[str, Callable[[], ec.EllipticCurve], int]]] = {
    "ES256": ("P-256", ec.SECP256R1, 32),
    "ES384": ("P-384", ec.SECP384R1, 48),
    "ES512": ("P-521", ec.SECP521R1, 66),
}
# The cheapest first: an RSA key takes a tenth of a second to make.
_PREFERENCE: Final = ("Ed25519", "EdDSA", *_CURVES, "RS256", "PS256", "RS384", "PS384", "RS512", "PS512")


class Signer(Struct, frozen=True):
    """A key: its public half, and how it signs."""

    jwk: Mapping[str, str]  # the public half
    sign: Callable[[bytes], bytes]


def mint(issuer: Issuer, claims: Mapping[str, Any], now: int) -> str:
    """A compact JWT with these claims, and with what the issuer's tokens must have where it is not given."""
    return _sign(issuer, issuer.types[0], complete_claims(issuer, claims, now))


def mint_answer(issuer: Issuer, members: Mapping[str, Any], now: int) -> bytes:
    """What the issuer says about a token, with what an answer must have where it is not given; signed if it signs."""
    said: dict[str, Any] = {"active": True, **members}
    if said["active"] is True:
        said = complete_claims(issuer, said, now)
    settings = issuer.introspection
    if settings is None or not settings.signed:
        return json.dumps(said).encode()
    iss = next(iter(issuer.spellings))
    outer = {"iss": iss, "aud": settings.audiences[0], "iat": now, "token_introspection": said}
    return _sign(issuer, SIGNED_TYPE, outer).encode()


def _sign(issuer: Issuer, kind: str, payload: Mapping[str, Any]) -> str:
    algorithm = _algorithm(issuer)
    header = {"alg": algorithm, "kid": _KEY_ID} | ({"typ": kind} if kind else {})
    signed = ".".join(_text(json.dumps(part).encode()) for part in (header, payload))
    return f"{signed}.{_text(named_signer(algorithm, _KEY_ID, issuer.min_rsa_bits).sign(signed.encode()))}"


def minting_keys(issuer: Issuer) -> KeySet:
    """The keys with which `mint` signs for this issuer."""
    algorithm = _algorithm(issuer)
    jwk = {**named_signer(algorithm, _KEY_ID, issuer.min_rsa_bits).jwk, "kid": _KEY_ID, "alg": algorithm, "use": "sig"}
    jwk["issuer"] = issuer.issuer  # a template wants it
    return parse_jwks(json.dumps({"keys": [jwk]}).encode(), issuer)[0]


def complete_claims(issuer: Issuer, claims: Mapping[str, Any], now: int) -> dict[str, Any]:
    """`claims` with what is missing; a claim that is null is left out."""
    filled: dict[str, Any] = dict(claims)
    if issuer.kind is not None and not any(_has(filled, path) for path in issuer.kind.paths):
        kind = issuer.kind
        _put(filled, kind.paths[0], kind.any_of[0] if kind.any_of else kind.prefix + _FILLER)
    iss, spelling = next(iter(issuer.spellings.items()))
    _put(filled, ("iss",), iss)
    if spelling.tenant and filled["iss"] == iss:
        _put(filled, issuer.claims.tenant, spelling.tenant)
    _put(filled, issuer.audience_path, issuer.audiences[0])
    _put(filled, ("iat",), now)
    _put(filled, ("exp",), now + min(_LIFETIME, issuer.max_lifetime))
    for path in (("sub",), *issuer.required, *(issuer.introspection.required if issuer.introspection else ())):
        _put(filled, path, now if path[-1] in _TIMES else _FILLER)
    return {name: value for name, value in filled.items() if value is not None}


def _has(claims: dict[str, Any], path: tuple[str, ...]) -> bool:
    found: Any = claims
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return False
        found = found[name]
    return True


def _put(claims: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set the claim unless it, or something in its way, was given."""
    for depth, name in enumerate(path):
        if depth == len(path) - 1:
            claims.setdefault(name, value)
            return
        below = claims.get(name, {})
        if not isinstance(below, dict):
            return
        copy = dict(below)
        claims[name] = copy
        claims = copy


def _algorithm(issuer: Issuer) -> str:
    return next(name for name in _PREFERENCE if name in issuer.algorithms)


@cache
def named_signer(algorithm: str, name: str, rsa_bits: int = 2048) -> Signer:
    """A key for any algorithm that lives as long as the process; another name, another key."""
    if algorithm in _CURVES:
        return ec_signer(algorithm)
    if algorithm in {"EdDSA", "Ed25519"}:
        key = ed25519.Ed25519PrivateKey.generate()
        return Signer({"kty": "OKP", "crv": "Ed25519", "x": _text(key.public_key().public_bytes_raw())}, key.sign)
    return _rsa(algorithm, _rsa_key(rsa_bits, name))


def ec_signer(algorithm: str) -> Signer:
    """A new key for ES256, ES384 or ES512."""
    name, curve, size = _CURVES[algorithm]
    key = ec.generate_private_key(curve())
    public = key.public_key().public_numbers()

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_HASHES[algorithm[2:]]())))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return Signer({"kty": "EC", "crv": name, "x": _integer(public.x, size), "y": _integer(public.y, size)}, sign)


@cache
def _rsa_key(bits: int, name: str) -> rsa.RSAPrivateKey:  # noqa: ARG001 - a key for each name
    return rsa.generate_private_key(65537, bits)


def _rsa(algorithm: str, key: rsa.RSAPrivateKey) -> Signer:
    digest = _HASHES[algorithm[2:]]()
    pad: padding.AsymmetricPadding = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        pad = padding.PSS(padding.MGF1(digest), digest.digest_size)
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": _integer(numbers.n, key.key_size // 8), "e": _integer(numbers.e, 3)}
    return Signer(jwk, lambda data: key.sign(data, pad, digest))


def _text(value: bytes) -> str:
    """RFC 7515 section 2: base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _integer(value: int, size: int) -> str:
    return _text(value.to_bytes(size, "big"))
