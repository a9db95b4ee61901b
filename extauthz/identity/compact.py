"""A signed token taken apart (RFC 7515 section 7.1) before any key is looked at.

Rule 1: whatever is accepted here has exactly one reading (JWT-01); nothing is trusted yet.
Rule 2: of the header only `alg`, `kid` and `typ` are used; keys and addresses in it are ignored (JWT-04).
"""

from msgspec import Struct

from extauthz.identity import base64url
from extauthz.identity.strict_json import AmbiguousJsonError, read_object
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason

# Servers commonly cut header lines at 8 KiB, so a longer token never arrives whole.
MAX_TOKEN = 8 * 1024
MAX_KEY_ID = 256  # twice a SHA-512 in hex
_SEGMENTS_SIGNED, _SEGMENTS_ENCRYPTED = 3, 5
_ENCRYPTION_MEMBERS = ("enc", "zip")  # RFC 7516 section 4.1


class Compact(Struct, frozen=True, gc=False):
    """A well-formed token whose signature nobody has checked yet."""

    algorithm: str
    key_id: str  # "" when the header names none
    type: str  # `typ` in lower case without `application/`, "" when absent
    claims: dict[str, object]
    payload: bytes
    signed: bytes  # the two first segments as sent: what the signature covers
    signature: bytes


class Parts(Struct, frozen=True, gc=False):
    """A compact JWS in its one reading; what the header asks for is not looked at."""

    header: dict[str, object]
    claims: dict[str, object]
    payload: bytes
    signed: bytes
    signature: bytes


def split_compact(text: str) -> tuple[bytes, bytes, bytes] | str:
    """Header, payload and signature of a compact JWS, or why it is none."""
    segments = text.split(".", _SEGMENTS_SIGNED)
    if len(segments) != _SEGMENTS_SIGNED or "" in segments:
        return "not three segments"
    header, payload, signature = (base64url.decode(segment) for segment in segments)
    if header is None or payload is None or signature is None:
        return "a segment that is not canonical base64url"
    return header, payload, signature


def take_apart(text: str) -> Parts | str:
    """The parts of a compact JWS, or why it is none."""
    parts = split_compact(text)
    if isinstance(parts, str):
        return parts
    header, payload, signature = parts
    try:
        members, claims = read_object(header), read_object(payload)
    except AmbiguousJsonError as error:
        return str(error)
    return Parts(members, claims, payload, text.rpartition(".")[0].encode(), signature)


def parse_compact(token: str, limit: int = MAX_TOKEN) -> Compact | Deny:
    """Take a compact JWS of at most `limit` characters apart, or refuse it."""
    if len(token) > limit:
        return Deny(Reason.TOKEN_MALFORMED, "JWT-01", "longer than 8 KiB")
    if token.count(".") == _SEGMENTS_ENCRYPTED - 1:
        return Deny(Reason.TOKEN_ENCRYPTED, "JWT-15", "five segments")
    parts = take_apart(token)
    if isinstance(parts, str):
        return Deny(Reason.TOKEN_MALFORMED, "JWT-01", parts)
    read = _read_header(parts.header)
    if isinstance(read, Deny):
        return read
    return Compact(*read, parts.claims, parts.payload, parts.signed, parts.signature)


def _read_header(members: dict[str, object]) -> tuple[str, str, str] | Deny:
    """`alg`, `kid` and `typ` of a header that asks for nothing we do not implement."""
    if "crit" in members or "b64" in members:
        return Deny(Reason.TOKEN_HEADER_REFUSED, "JWT-05", "a critical extension")
    if any(name in members for name in _ENCRYPTION_MEMBERS):
        return Deny(Reason.TOKEN_ENCRYPTED, "JWT-15", "a header of an encrypted token")
    algorithm, key_id, kind = members.get("alg"), members.get("kid", ""), members.get("typ", "")
    if not isinstance(algorithm, str):
        return Deny(Reason.TOKEN_ALGORITHM_REFUSED, "JWT-02", "no algorithm")
    if not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID or ("kid" in members and not key_id):
        return Deny(Reason.TOKEN_HEADER_REFUSED, "JWT-03", "a key id that is not a short text")
    if not isinstance(kind, str) or ("typ" in members and not kind):
        return Deny(Reason.TOKEN_TYPE_REFUSED, "JWT-06", "a type that is not a text")
    return algorithm, key_id, canonical_type(kind)


def canonical_type(text: str) -> str:
    """RFC 7515 section 4.1.9: case does not matter, and `application/` may be left out."""
    lower = text.lower()
    short = lower.removeprefix("application/")
    return short if "/" not in short else lower
