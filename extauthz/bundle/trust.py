"""Who may vouch for a bundle: signatures over the exact bytes of its manifest, and the keys that a server trusts.

Rule 1: one signature by a trusted key that has not expired is enough; so old and new keys overlap while they rotate.
Rule 2: a key is known by the SHA-256 of its SubjectPublicKeyInfo. A signature brings its public key along, so a server
        may be told the digest alone.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Meta, Struct

from extauthz.bundle.finding import refusal
from extauthz.bundle.package import MAX_SIGNATURE_BYTES, SIGNATURE_FILE

SIGNATURE_FORMAT: Final = "extauthz bundle signatures 1"
MAX_SIGNATURES: Final = 16
_SHOWN: Final = 16  # digits of a key's id in messages

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
_KINDS: Final = "Ed25519 or ECDSA with P-256"


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One signature over the bytes of `.manifest.json`."""

    public_key: bytes  # SubjectPublicKeyInfo (RFC 5280) in DER; base64. Its SHA-256 is the key's id
    # Base64. Ed25519: RFC 8032. P-256: ECDSA with SHA-256, DER.
    signature: Annotated[bytes, Meta(min_length=1, max_length=256)]


class Signatures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `.manifest.sig`."""

    format: str = SIGNATURE_FORMAT  # of this file; another is refused
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=MAX_SIGNATURES)]  # by different keys


class TrustedKey(Struct, frozen=True):
    """A key whose word counts."""

    id: str  # SHA-256 of its SubjectPublicKeyInfo, hex
    not_after: float | None = None  # seconds since the epoch; None: until it is taken out


class BadKeyError(ValueError):
    """The text holds no key that can be used; the message says why."""


def read_private_key(pem: bytes) -> PrivateKey:
    """A private key in PEM without a password. Raises BadKeyError."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"holds no private key in PEM without a password: {_KINDS}"
        raise BadKeyError(message) from None
    if isinstance(key, Ed25519PrivateKey) or (
        isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    message = f"holds a key of another kind: {_KINDS} is needed"
    raise BadKeyError(message)


def read_public_key(pem: bytes) -> PublicKey:
    """A public key in PEM. Raises BadKeyError."""
    try:
        key = _usable(load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm):
        message = f"holds no public key in PEM: {_KINDS}"
        raise BadKeyError(message) from None
    if key is None:
        message = f"holds a key of another kind: {_KINDS} is needed"
        raise BadKeyError(message)
    return key


def key_id(key: PublicKey) -> str:
    """The key's id: hex."""
    return sha256(_der(key)).hexdigest()


def write_public_key(key: PublicKey) -> str:
    """What stands between the lines of its PEM: base64 of its SubjectPublicKeyInfo."""
    return b64encode(_der(key)).decode()


def sign_bytes(key: PrivateKey, message: bytes) -> bytes:
    """A signature over exactly these bytes, the same each time."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    # RFC 6979: no random number, so that the same tree and key make the same archive.
    return key.sign(message, ECDSA(SHA256(), deterministic_signing=True))


def is_signed(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether the signature is over these bytes, by this key."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(manifest: bytes, keys: Sequence[PrivateKey], others: bytes | None = None) -> bytes:
    """The content of `.manifest.sig`: a signature by each key. The same keys make the same bytes.

    Signatures in `others` are kept when they are over the same manifest. Raises BundleError when it cannot be read.
    """
    kept = _parse(others).signatures if others else ()
    found = {one.public_key: one for one in kept if _fits(one, manifest)}
    for key in keys:
        public = _der(key.public_key())
        found[public] = Signature(public_key=public, signature=sign_bytes(key, manifest))
    ordered = tuple(found[public] for public in sorted(found, key=lambda der: sha256(der).digest()))
    return msgspec.json.encode(Signatures(signatures=ordered))


def signers(signatures: bytes) -> tuple[str, ...]:
    """Ids of the keys that the file names, without a look at whether they signed. Raises BundleError."""
    return tuple(sha256(one.public_key).hexdigest() for one in _parse(signatures).signatures)


def verify(manifest: bytes, signatures: bytes | None, trusted: Sequence[TrustedKey], now: float) -> TrustedKey:
    """The key that vouches for these bytes at `now`, in seconds since the epoch. Raises BundleError."""
    if signatures is None:
        raise refusal(SIGNATURE_FILE, "the bundle is not signed", "verify")
    by_id = {key.id: key for key in trusted}
    wrong, expired, strangers = "", "", ""
    good: list[TrustedKey] = []
    for one in _parse(signatures).signatures:
        name = sha256(one.public_key).hexdigest()
        key = by_id.get(name)
        short = f"`{name[:_SHOWN]}`"
        if key is None:
            strangers += f", {short}"
        elif not _fits(one, manifest):
            wrong = f"the signature by key {short} is wrong: the manifest was changed after it was signed"
        elif key.not_after is not None and not now <= key.not_after:
            date = datetime.fromtimestamp(key.not_after, UTC)
            expired = f"key {short} expired at {date:%Y-%m-%dT%H:%M:%SZ}: sign the bundle with a key that is valid"
        else:
            good.append(key)
    if good:  # the one that lasts longest: when it ends, the bundle must have been signed anew
        return max(good, key=lambda key: float("inf") if key.not_after is None else key.not_after)
    if strangers:
        strangers = f"signed by a key that is not trusted: {strangers[2:]}"
    raise refusal(SIGNATURE_FILE, wrong or expired or strangers or "the bundle is not signed", "verify")


def _parse(text: bytes) -> Signatures:
    if len(text) > MAX_SIGNATURE_BYTES:
        raise refusal(SIGNATURE_FILE, f"it has {len(text)} bytes, at most {MAX_SIGNATURE_BYTES} are read", "verify")
    try:
        found = msgspec.json.decode(text, type=Signatures)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error).removeprefix("JSON is malformed: ")
        raise refusal(
            SIGNATURE_FILE, f"not a file of signatures: {problem[:1].lower()}{problem[1:]}", "verify"
        ) from None
    if found.format != SIGNATURE_FORMAT:
        raise refusal(SIGNATURE_FILE, f"not a file of signatures: its format is not `{SIGNATURE_FORMAT}`", "verify")
    return found


def _fits(one: Signature, manifest: bytes) -> bool:
    try:
        key = _usable(load_der_public_key(one.public_key))
    except (ValueError, UnsupportedAlgorithm):
        return False
    return key is not None and is_signed(key, manifest, one.signature)


def _usable(key: object) -> PublicKey | None:
    if isinstance(key, EllipticCurvePublicKey):
        return key if isinstance(key.curve, SECP256R1) else None
    return key if isinstance(key, Ed25519PublicKey) else None


def _der(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
