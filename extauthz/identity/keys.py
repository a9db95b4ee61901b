"""Keys of an issuer or a client (RFC 7517): only public keys that are strong enough and fit for signatures get in.

Rule 1: one bad key is left out and named; an unreadable document is refused as a whole.
Rule 2: a certificate or an address inside a key (`x5c`, `x5u`) is never read.
"""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NoReturn, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from msgspec import Struct

from extauthz.identity import base64url
from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.compact import MAX_KEY_ID
from extauthz.identity.issuer import MAX_RSA_BITS, MIN_RSA_BITS
from extauthz.identity.spellings import TEMPLATE
from extauthz.identity.strict_json import AmbiguousJsonError, read_object

# Generous for a handful of keys with certificate chains, and small enough to read at once.
MAX_JWKS = 1024 * 1024
MAX_KEYS = 100
# 65537 is what everybody uses; the time of a check grows with the exponent, and OpenSSL refuses more than 64 bits
# beside a modulus of 4096 (observed).
MIN_EXPONENT, MAX_EXPONENT = 2**16, 2**64
# JWT-14; RFC 7518 section 6 and RFC 8037 section 2: what only a private or symmetric key has.
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_REQUIRED_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_CURVES: dict[str, tuple[Callable[[], EllipticCurve], int]] = {
    "P-256": (SECP256R1, 32),
    "P-384": (SECP384R1, 48),
    "P-521": (SECP521R1, 66),
}
_ED25519_BYTES = 32


class JwksError(ValueError):
    """The document as a whole cannot be used; the message says why."""


class Key(Struct, frozen=True):
    """One public key that may verify signatures."""

    id: str  # `kid`, "" when it has none
    kty: str
    crv: str
    algorithm: str  # the only one it may be used with, "" for any that fits
    thumbprint: str
    public: object
    issuer: str = ""  # for whose tokens it is, exact or a template; "" when it does not say


class KeySet(Struct, frozen=True):
    """The usable keys of one issuer. Immutable."""

    keys: tuple[Key, ...]
    by_id: Mapping[str, tuple[Key, ...]]
    issuer_digest: bytes  # of the Issuer document they were read for
    version: bytes  # digest of the above; another key, another version

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self.keys)

    def select(self, key_id: str, algorithm: str) -> tuple[Key, ...]:
        """The keys that may have made a signature: same id, and fit for the algorithm (JWT-03)."""
        fit = ALGORITHMS[algorithm]
        candidates = self.by_id.get(key_id, ()) if key_id else self.keys
        return tuple(
            key
            for key in candidates
            if key.kty == fit.kty and fit.crv in {"", key.crv} and key.algorithm in {"", algorithm}
        )


NO_KEYS = KeySet((), {}, b"", b"")


class Owner(Protocol):
    """Whose keys a document holds, as far as it matters which are usable: an Issuer, or a client."""

    @property
    def issuer(self) -> str:
        """The `iss` the keys are for, maybe a template."""
        ...

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What the keys may be used with."""
        ...

    @property
    def min_rsa_bits(self) -> int:
        """What an RSA key has at least."""
        ...

    @property
    def digest(self) -> bytes:
        """Of everything that is known of the owner."""
        ...


class _UnusableError(ValueError):
    """Why one key is left out."""


def parse_jwks(text: bytes, issuer: Owner) -> tuple[KeySet, list[str]]:
    """Read a JWK set; return what is usable with this issuer, and a line about each key that is not.

    Keys for encryption are left out without a word, for many issuers publish them beside. Raises JwksError.
    """
    keys: dict[tuple[str, str, str, str], Key] = {}
    notes = []
    for index, member in enumerate(_members(text)):
        try:
            key = _read_key(member, issuer)
        except _UnusableError as error:
            notes.append(f"keys[{index}]{_named(member)}: {error}")
        else:
            if key is not None:
                keys[key.id, key.algorithm, key.thumbprint, key.issuer] = key
    return _key_set(tuple(keys.values()), issuer), notes


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: SHA-256 over the required members only, sorted, without spaces; base64url (KEY-04)."""
    required = {name: jwk[name] for name in _REQUIRED_MEMBERS[jwk["kty"]]}
    return base64url.encode(sha256(json.dumps(required, separators=(",", ":")).encode()).digest())


def read_shown_key(jwk: Mapping[str, object], algorithm: str) -> tuple[object, str] | str:
    """The key that a sender shows of itself (RFC 9449 section 4.2) and its thumbprint, or why it is none (DP-08)."""
    fit = ALGORITHMS[algorithm]
    if any(name in jwk for name in _PRIVATE_MEMBERS):
        return "it shows its private half"
    if jwk.get("kty") != fit.kty or jwk.get("crv", "") != fit.crv or jwk.get("alg", algorithm) != algorithm:
        return "it does not fit the algorithm"
    if not _is_for_signatures(jwk):
        return "it is not for signatures"
    try:
        _, public, required = _READERS[fit.kty](jwk)
    except _UnusableError as error:
        return str(error)
    return public, thumbprint(required)


def _members(text: bytes) -> list[object]:
    if len(text) > MAX_JWKS:
        reason = "longer than 1 MiB"
        raise JwksError(reason)
    try:
        members = read_object(text).get("keys")
    except AmbiguousJsonError as error:
        raise JwksError(str(error)) from None
    if not isinstance(members, list):
        reason = "no list `keys`"
        raise JwksError(reason)
    if len(members) > MAX_KEYS:
        reason = f"more than {MAX_KEYS} keys"
        raise JwksError(reason)
    return members


def _key_set(keys: tuple[Key, ...], issuer: Owner) -> KeySet:
    by_id: dict[str, tuple[Key, ...]] = {}
    for key in keys:
        by_id[key.id] = (*by_id.get(key.id, ()), key)
    content = sorted((key.id, key.algorithm, key.thumbprint, key.issuer) for key in keys)
    version = sha256(issuer.digest + json.dumps(content).encode()).digest()
    return KeySet(keys, by_id, issuer.digest, version)


def _named(member: object) -> str:
    key_id = member.get("kid") if isinstance(member, dict) else None
    return f" `{key_id[:64]}`" if isinstance(key_id, str) and key_id.isprintable() else ""


def _read_key(member: object, issuer: Owner) -> Key | None:
    """One key, None for a key that is not meant for signatures."""
    if not isinstance(member, dict):
        _leave_out("not an object")
    kty = _text(member, "kty")
    if kty == "oct":
        _leave_out("a symmetric key has no place in a published set")
    for name in _PRIVATE_MEMBERS:
        if name in member:
            _leave_out(f"it shows its private half (`{name}`): the issuer must replace it")
    if not _is_for_signatures(member):
        return None
    algorithm = _text(member, "alg") if "alg" in member else ""
    if algorithm and algorithm not in issuer.algorithms:
        _leave_out("its `alg` is not among the issuer's `algorithms`")
    key_id = _text(member, "kid") if "kid" in member else ""
    if len(key_id) > MAX_KEY_ID:
        _leave_out(f"its `kid` is longer than {MAX_KEY_ID} characters")
    read = _READERS.get(kty)
    if read is None:
        _leave_out("unknown `kty`")
    named = _text(member, "issuer") if "issuer" in member else ""
    if not named and TEMPLATE in issuer.issuer:
        _leave_out("it does not say for which `issuer` it is, and the document is for many")
    crv, public, required = read(member)
    if isinstance(public, RSAPublicKey) and public.key_size < issuer.min_rsa_bits:
        _leave_out(f"an RSA key must have {issuer.min_rsa_bits} bits or more (`minRsaBits`)")
    if algorithm and (ALGORITHMS[algorithm].kty != kty or ALGORITHMS[algorithm].crv not in {"", crv}):
        _leave_out("its `alg` does not fit its `kty` or `crv`")
    return Key(key_id, kty, crv, algorithm, thumbprint(required), public, named)


def _is_for_signatures(member: Mapping[str, object]) -> bool:
    """RFC 7517 sections 4.2 and 4.3."""
    operations = member.get("key_ops", ["verify"])
    return member.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _read_rsa(member: Mapping[str, object]) -> tuple[str, object, dict[str, str]]:
    modulus, exponent = int.from_bytes(_octets(member, "n")), int.from_bytes(_octets(member, "e"))
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        _leave_out(f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if not MIN_EXPONENT < exponent < MAX_EXPONENT or exponent % 2 == 0 or modulus % 2 == 0:
        _leave_out("its RSA exponent or modulus is out of range")
    try:
        public = RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        _leave_out("not an RSA key")
    return "", public, {"kty": "RSA", "n": _number(modulus), "e": _number(exponent)}


def _read_ec(member: Mapping[str, object]) -> tuple[str, object, dict[str, str]]:
    crv = _text(member, "crv")
    if crv not in _CURVES:
        _leave_out("unknown `crv`: known are `P-256`, `P-384`, `P-521`")
    curve, size = _CURVES[crv]
    x, y = _octets(member, "x"), _octets(member, "y")
    if len(x) != size or len(y) != size:
        _leave_out(f"coordinates of {crv} must have {size} bytes")
    try:
        public = EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve()).public_key()
    except ValueError:
        _leave_out("not a point on its curve")
    return crv, public, {"kty": "EC", "crv": crv, "x": base64url.encode(x), "y": base64url.encode(y)}


def _read_okp(member: Mapping[str, object]) -> tuple[str, object, dict[str, str]]:
    crv, x = _text(member, "crv"), _octets(member, "x")
    if crv != "Ed25519":
        _leave_out("unknown `crv`: known is `Ed25519`")
    if len(x) != _ED25519_BYTES:
        _leave_out("an Ed25519 key must have 32 bytes")
    return crv, Ed25519PublicKey.from_public_bytes(x), {"kty": "OKP", "crv": crv, "x": base64url.encode(x)}


_READERS = {"RSA": _read_rsa, "EC": _read_ec, "OKP": _read_okp}


def _text(member: Mapping[str, object], name: str) -> str:
    value = member.get(name)
    if not isinstance(value, str) or not value:
        _leave_out(f"`{name}` is not a text")
    return value


def _octets(member: Mapping[str, object], name: str) -> bytes:
    value = base64url.decode(_text(member, name))
    if not value:
        _leave_out(f"`{name}` is not base64url")
    return value


def _number(value: int) -> str:
    """RFC 7518 section 2, Base64urlUInt: without leading zeros, whatever the document has."""
    return base64url.encode(value.to_bytes((value.bit_length() + 7) // 8))


def _leave_out(why: str) -> NoReturn:
    raise _UnusableError(why)
