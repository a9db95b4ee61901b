"""Base64url without padding (RFC 7515 section 2), one spelling a value."""

import re
from binascii import Error, a2b_base64, b2a_base64

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_FROM_STANDARD = bytes.maketrans(b"+/", b"-_")


def decode(text: str) -> bytes | None:
    """The bytes, or None for padding, foreign characters or unused bits that are not zero."""
    if not _ALPHABET.fullmatch(text):
        return None
    encoded = text.encode()
    try:
        value = a2b_base64(encoded.translate(_TO_STANDARD) + b"=" * (-len(encoded) % 4))
    except Error:
        return None
    return value if _encode(value) == encoded else None


def encode(value: bytes) -> str:
    """The one spelling of `value`."""
    return _encode(value).decode()


def without_unused_bits(text: str) -> str | None:
    """The one spelling of what `text` holds, also where its writer left unused bits set (MTLS-05); None as above."""
    if not text or not _ALPHABET.fullmatch(text):
        return None
    try:
        return encode(a2b_base64(text.encode().translate(_TO_STANDARD) + b"=" * (-len(text) % 4)))
    except Error:
        return None


def _encode(value: bytes) -> bytes:
    return b2a_base64(value, newline=False).rstrip(b"=").translate(_FROM_STANDARD)
