"""The body of a request, where all of it was sent to us; and its digest (RFC 9530).

Rule: a body that is not here in whole is never taken for an empty one.
"""

from collections.abc import Callable
from hashlib import sha256, sha512
from hmac import compare_digest
from typing import Final

from extauthz.identity.structured_fields import Item, read_dictionary
from extauthz.model.request import Request

# RFC 9110 section 9.3: content of these has no meaning, and clients do not say that there is none.
_WITHOUT_CONTENT: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
_DIGESTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "sha-256": lambda body: sha256(body).digest(),
    "sha-512": lambda body: sha512(body).digest(),
}


class NotWhole(str):
    """Why the body cannot be judged."""

    __slots__ = ()


def whole_body(request: Request, limit: int) -> bytes | NotWhole:
    """All of the body, b"" where there is none."""
    if request.body_is_partial:
        return NotWhole("only a part of the body was sent: raise Envoy's `maxRequestBytes`")
    body, length = request.body, request.headers.get("content-length")
    if body:
        if length is not None and length != str(len(body)):
            return NotWhole("not as long as `content-length` says")
        return body if len(body) <= limit else NotWhole("longer than `maxBodyBytes`")
    if length == "0":
        return b""
    if length is not None or request.headers.get("transfer-encoding") is not None:
        return NotWhole("the body was not sent: Envoy needs `withRequestBody`")
    if request.method not in _WITHOUT_CONTENT:
        return NotWhole("neither a body nor `content-length: 0`: Envoy needs `withRequestBody`")
    return b""


def wrong_digest(text: str, body: bytes) -> str:
    """Why a Content-Digest does not hold for `body`; "" when it does. Digests we do not know are ignored."""
    members = read_dictionary(text)
    if isinstance(members, str):
        return members
    known = members.keys() & _DIGESTS.keys()
    if not known:
        return "neither `sha-256` nor `sha-512`"
    for name in known:
        member = members[name]
        if not isinstance(member, Item) or not isinstance(member.value, bytes) or member.parameters:
            return "a digest that is not bytes"
        if not compare_digest(member.value, _DIGESTS[name](body)):
            return "not the digest of this body"
    return ""
