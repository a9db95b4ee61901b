"""One public key as a JWK (RFC 7517, RFC 7518 section 6, RFC 8037): only what is strong enough and fit for signatures.

Rule: a certificate or an address inside a key (`x5c`, `x5u`) is never read.
"""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from extauthz.identity import base64url
from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.issuer import MAX_RSA_BITS, MIN_RSA_BITS

# 65537 is what everybody uses; the time of a check grows with the exponent, and OpenSSL refuses more than 64 bits
# beside a modulus of 4096 (observed).
MIN_EXPONENT, MAX_EXPONENT = 2**16, 2**64
# JWT-14; RFC 7518 section 6 and RFC 8037 section 2: what only a private or symmetric key has.
PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_REQUIRED_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_CURVES: dict[str, tuple[Callable[[], EllipticCurve], int]] = {
    "P-256": (SECP256R1, 32),
    "P-384": (SECP384R1, 48),
    "P-521": (SECP521R1, 66),
}
_ED25519_BYTES = 32


class UnusableError(ValueError):
    """Why one key is left out."""


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: SHA-256 over the required members only, sorted, without spaces; base64url (KEY-04)."""
    required = {name: jwk[name] for name in _REQUIRED_MEMBERS[jwk["kty"]]}
    return base64url.encode(sha256(json.dumps(required, separators=(",", ":")).encode()).digest())


def read_shown_key(jwk: Mapping[str, object], algorithm: str) -> tuple[object, str] | str:
    """The key that a sender shows of itself (RFC 9449 section 4.2) and its thumbprint, or why it is none (DP-08)."""
    fit = ALGORITHMS[algorithm]
    if any(name in jwk for name in PRIVATE_MEMBERS):
        return "it shows its private half"
    if jwk.get("kty") != fit.kty or jwk.get("crv", "") != fit.crv or jwk.get("alg", algorithm) != algorithm:
        return "it does not fit the algorithm"
    if not is_for_signatures(jwk):
        return "it is not for signatures"
    try:
        _, public, required = READERS[fit.kty](jwk)
    except UnusableError as error:
        return str(error)
    return public, thumbprint(required)


def is_for_signatures(member: Mapping[str, object]) -> bool:
    """RFC 7517 sections 4.2 and 4.3."""
    operations = member.get("key_ops", ["verify"])
    return member.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _read_rsa(member: Mapping[str, object]) -> tuple[str, object, dict[str, str]]:
    modulus, exponent = int.from_bytes(_octets(member, "n")), int.from_bytes(_octets(member, "e"))
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        leave_out(f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if not MIN_EXPONENT < exponent < MAX_EXPONENT or exponent % 2 == 0 or modulus % 2 == 0:
        leave_out("its RSA exponent or modulus is out of range")
    try:
        public = RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        leave_out("not an RSA key")
    return "", public, {"kty": "RSA", "n": _number(modulus), "e": _number(exponent)}


def _read_ec(member: Mapping[str, object]) -> tuple[str, object, dict[str, str]]:
    crv = text_member(member, "crv")
    if crv not in _CURVES:
        leave_out("unknown `crv`: known are `P-256`, `P-384`, `P-521`")
    curve, size = _CURVES[crv]
    x, y = _octets(member, "x"), _octets(member, "y")
    if len(x) != size or len(y) != size:
        leave_out(f"coordinates of {crv} must have {size} bytes")
    try:
        public = EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve()).public_key()
    except ValueError:
        leave_out("not a point on its curve")
    return crv, public, {"kty": "EC", "crv": crv, "x": base64url.encode(x), "y": base64url.encode(y)}


def _read_okp(member: Mapping[str, object]) -> tuple[str, object, dict[str, str]]:
    crv, x = text_member(member, "crv"), _octets(member, "x")
    if crv != "Ed25519":
        leave_out("unknown `crv`: known is `Ed25519`")
    if len(x) != _ED25519_BYTES:
        leave_out("an Ed25519 key must have 32 bytes")
    return crv, Ed25519PublicKey.from_public_bytes(x), {"kty": "OKP", "crv": crv, "x": base64url.encode(x)}


READERS = {"RSA": _read_rsa, "EC": _read_ec, "OKP": _read_okp}


def text_member(member: Mapping[str, object], name: str) -> str:
    """A member that must be a text. Raises UnusableError."""
    value = member.get(name)
    if not isinstance(value, str) or not value:
        leave_out(f"`{name}` is not a text")
    return value


def _octets(member: Mapping[str, object], name: str) -> bytes:
    value = base64url.decode(text_member(member, name))
    if not value:
        leave_out(f"`{name}` is not base64url")
    return value


def _number(value: int) -> str:
    """RFC 7518 section 2, Base64urlUInt: without leading zeros, whatever the document has."""
    return base64url.encode(value.to_bytes((value.bit_length() + 7) // 8))


def leave_out(why: str) -> NoReturn:
    """Do not take this key; `why` follows its position in a line for the operator."""
    raise UnusableError(why)
