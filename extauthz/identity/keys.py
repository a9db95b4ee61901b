"""Keys of an issuer or a client (RFC 7517): only public keys that are strong enough and fit for signatures get in.

Rule: one bad key is left out and named; an unreadable document is refused as a whole.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct

from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.compact import MAX_KEY_ID
from extauthz.identity.jwk import (
    PRIVATE_MEMBERS,
    READERS,
    UnusableError,
    is_for_signatures,
    leave_out,
    text_member,
    thumbprint,
)
from extauthz.identity.spellings import TEMPLATE
from extauthz.identity.strict_json import AmbiguousJsonError, read_object

# Generous for a handful of keys with certificate chains, and small enough to read at once.
MAX_JWKS = 1024 * 1024
MAX_KEYS = 100


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


def parse_jwks(text: bytes, issuer: Owner) -> tuple[KeySet, list[str]]:
    """Read a JWK set; return what is usable with this issuer, and a line about each key that is not.

    Keys for encryption are left out without a word, for many issuers publish them beside. Raises JwksError.
    """
    keys: dict[tuple[str, str, str, str], Key] = {}
    notes = []
    for index, member in enumerate(_members(text)):
        try:
            key = _read_key(member, issuer)
        except UnusableError as error:
            notes.append(f"keys[{index}]{_named(member)}: {error}")
        else:
            if key is not None:
                keys[key.id, key.algorithm, key.thumbprint, key.issuer] = key
    return _key_set(tuple(keys.values()), issuer), notes


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
        leave_out("not an object")
    kty = text_member(member, "kty")
    if kty == "oct":
        leave_out("a symmetric key has no place in a published set")
    for name in PRIVATE_MEMBERS:
        if name in member:
            leave_out(f"it shows its private half (`{name}`): the issuer must replace it")
    if not is_for_signatures(member):
        return None
    algorithm = text_member(member, "alg") if "alg" in member else ""
    if algorithm and algorithm not in issuer.algorithms:
        leave_out("its `alg` is not among the issuer's `algorithms`")
    key_id = text_member(member, "kid") if "kid" in member else ""
    if len(key_id) > MAX_KEY_ID:
        leave_out(f"its `kid` is longer than {MAX_KEY_ID} characters")
    read = READERS.get(kty)
    if read is None:
        leave_out("unknown `kty`")
    named = text_member(member, "issuer") if "issuer" in member else ""
    if not named and TEMPLATE in issuer.issuer:
        leave_out("it does not say for which `issuer` it is, and the document is for many")
    crv, public, required = read(member)
    if isinstance(public, RSAPublicKey) and public.key_size < issuer.min_rsa_bits:
        leave_out(f"an RSA key must have {issuer.min_rsa_bits} bits or more (`minRsaBits`)")
    if algorithm and (ALGORITHMS[algorithm].kty != kty or ALGORITHMS[algorithm].crv not in {"", crv}):
        leave_out("its `alg` does not fit its `kty` or `crv`")
    return Key(key_id, kty, crv, algorithm, thumbprint(required), public, named)
