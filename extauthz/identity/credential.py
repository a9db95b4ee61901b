"""What the client presented: at most one token, in the `Authorization` header and nowhere else.

Rule 1: no other header, cookie, query or body is ever read as a credential (EX-01, EX-07).
Rule 2: a token in the query or in a form is refused even beside a good header (EX-02, EX-03).
"""

import re
from typing import Final
from urllib.parse import unquote_plus

from msgspec import Struct

from extauthz.identity.compact import MAX_TOKEN
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason
from extauthz.model.request import Headers, Request

# RFC 9110 section 11.4: scheme, one space or more, token68. Linear: the classes do not overlap with the space.
_CREDENTIALS = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*)")
_SCHEME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HEADER: Final = "authorization"
_FORM = "application/x-www-form-urlencoded"
_PARAMETER = "access_token"


class Credential(Struct, frozen=True, gc=False):
    """An access token as sent, not looked into yet."""

    token: str
    is_dpop: bool  # scheme `DPoP` (RFC 9449 section 7.1), otherwise `Bearer`


def refuse_elsewhere(request: Request, *, refuse_form_body: bool) -> Deny | None:
    """Refuse a token that was sent where none belongs. EX-08: any method, with or without body."""
    if request.query and _has_token(request.query):
        return Deny(Reason.CREDENTIAL_IN_QUERY, "EX-02")
    if refuse_form_body and request.body and _is_form_with_token(request):
        return Deny(Reason.CREDENTIAL_IN_BODY, "EX-03")
    return None


def parse_credential(value: str, headers: Headers) -> Credential | Deny:
    """Take the header apart. What it accepts depends on `value` alone: a second field would be a comma in it."""
    if "," in value or headers.is_repeated(HEADER):
        return Deny(Reason.CREDENTIAL_REPEATED, "EX-04")
    if len(value) > MAX_TOKEN:
        return Deny(Reason.CREDENTIAL_MALFORMED, "EX-06", "longer than 8 KiB")
    match = _CREDENTIALS.fullmatch(value)
    scheme = (match[1] if match else value.partition(" ")[0]).lower()  # EX-05: in any case
    if scheme not in {"bearer", "dpop"} and _SCHEME.fullmatch(scheme):
        return Deny(Reason.SCHEME_UNSUPPORTED, "EX-01")
    if match is None:
        return Deny(Reason.CREDENTIAL_MALFORMED, "EX-06", "not a scheme and one token")
    return Credential(match[2], scheme == "dpop")


def known_credential(value: str) -> Credential:
    """A header that `parse_credential` accepted before, without looking at it again."""
    return Credential(value.rpartition(" ")[2], value[0] in "dD")


def _has_token(form: str) -> bool:
    """Whether a query or form has the parameter; `;` also separates, for some servers read it so."""
    if _PARAMETER not in form and "%" not in form:
        return False
    pairs = form.replace(";", "&").split("&")
    return any(unquote_plus(pair.partition("=")[0]) == _PARAMETER for pair in pairs)


def _is_form_with_token(request: Request) -> bool:
    media_type = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    return media_type == _FORM and _has_token((request.body or b"").decode("latin-1"))
