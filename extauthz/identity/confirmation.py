"""What a token is bound to: the `cnf` claim (RFC 7800).

Rule 1: a token with `cnf` is never a bearer token, whatever else is wrong with it (MTLS-10).
"""

import re

from msgspec import Struct

from extauthz.identity import base64url
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason

JKT = "jkt"  # RFC 9449 section 6.1: SHA-256 thumbprint of the proof's key
X5T = "x5t#S256"  # RFC 8705 section 3.1: SHA-256 of the client's certificate
_MAX_NAMES = 8  # two are understood; the names of all are kept
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes


class Confirmation(Struct, frozen=True, gc=False):
    """The names of all members, and the thumbprints that are understood; each in its one spelling, "" when absent."""

    names: tuple[str, ...] = ()
    jkt: str = ""
    x5t: str = ""


_NONE = Confirmation()


def read_confirmation(claims: dict[str, object]) -> Confirmation | Deny:
    """The `cnf` of a token. A member that is not understood is only named: it is the guard's to refuse."""
    if "cnf" not in claims:
        return _NONE
    members = claims["cnf"]
    if not isinstance(members, dict) or not members or not all(name and name.isprintable() for name in members):
        return Deny(Reason.TOKEN_BINDING_UNVERIFIED, "MTLS-10", "a confirmation that names no key")
    if len(members) > _MAX_NAMES:
        return Deny(Reason.TOKEN_CLAIM_INVALID, "MTLS-03", f"a confirmation of more than {_MAX_NAMES} members")
    jkt, x5t = _thumbprint(members, JKT), _thumbprint(members, X5T)
    if jkt is None or x5t is None:
        return Deny(Reason.TOKEN_CLAIM_INVALID, "MTLS-03", "a confirmation that is no SHA-256 thumbprint")
    return Confirmation(tuple(members), jkt, x5t)


def _thumbprint(members: dict[str, object], name: str) -> str | None:
    """43 characters of base64url; None for anything else that is there.

    The example in RFC 8705 section 3.1 has unused bits set in its last character, so that those are dropped (MTLS-05).
    """
    if name not in members:
        return ""
    value = members[name]
    if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value):
        return None
    return base64url.without_unused_bits(value)
