"""The body that a client reads when it is refused.

Rule: fixed words only. No claim, header value, policy name or exception text leaves here (T-70).
"""

import re
from functools import cache
from http import HTTPStatus

from msgspec import Struct
from msgspec.json import encode

from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.wire.challenges import ERRORS

_CODES = {
    "none": "access_denied",
    "credential": "authentication_required",
    "header": "invalid_header",
    "unavailable": "temporarily_unavailable",
    **ERRORS,
}
_PLAIN_CODES = {400: "invalid_request", 401: "invalid_signature"}  # refusals without a challenge
_HEADER_NAME = re.compile(r"[A-Za-z0-9\-]{1,64}")
_CDR = "urn:au-cds:error:cds-all:"


class Body(Struct, frozen=True):
    """A response body and its media type; an empty type lets Envoy choose."""

    media_type: str
    text: str


def body(refusal: Deny | Undecided, decision_id: str, interaction_id: str, *, is_grpc: bool) -> Body:
    """The body in the form the client's ecosystem expects, problem details (RFC 9457) for everybody else."""
    if is_grpc:
        # Envoy makes this the grpc-message, and a content-type of ours would replace application/grpc.
        return Body("", refusal.reason.words)
    if isinstance(refusal, Deny):
        match refusal.ecosystem:
            case "uk-obie" | "uk-obie-3.1.1":
                if refusal.reason.shape == "header":
                    return _uk(refusal, interaction_id or decision_id)
                if refusal.reason.status == HTTPStatus.UNAUTHORIZED:
                    return Body("", "")  # the specification shows 401 without a body
            case "cdr":
                return _errors(_cdr_code(refusal), refusal)
            case "brazil":
                return _errors(_CODES[refusal.reason.shape].upper(), refusal)
    return _problem(refusal, decision_id, interaction_id)


def _problem(refusal: Deny | Undecided, decision_id: str, interaction_id: str) -> Body:
    """RFC 9457. The ids hold letters, digits and hyphens only."""
    instance = f',"instance":"urn:uuid:{interaction_id}"' if interaction_id else ""
    decision = f',"decision_id":"{decision_id}"' if decision_id else ""
    return Body("application/problem+json", f"{_details(refusal.reason)}{instance}{decision}}}")


@cache
def _details(reason: Reason) -> str:
    """The JSON object of a problem without its closing brace."""
    details = {
        "type": "about:blank",
        "title": HTTPStatus(reason.status).phrase,
        "status": reason.status,
        "detail": reason.words,
        "code": _code(reason),
    }
    return encode(details).decode().removesuffix("}")


def _code(reason: Reason) -> str:
    """One word for programs, coarser than the reason: a stranger cannot tell an unknown tenant from a denial."""
    if reason.shape == "none":
        return _PLAIN_CODES.get(reason.status, _CODES["none"])
    return _CODES[reason.shape]


def _uk(refusal: Deny, reference: str) -> Body:
    """The error structure of UK Open Banking Read/Write 3.1."""
    reason = refusal.reason
    status = HTTPStatus(reason.status)
    code = "UK.OBIE.Header.Missing" if reason is Reason.FAPI_HEADER_MISSING else "UK.OBIE.Header.Invalid"
    details = {
        "Code": f"{status.value} {status.phrase.replace(' ', '')}",
        "Id": reference,
        "Message": reason.words,
        "Errors": [{"ErrorCode": code, "Message": reason.words, "Path": _named(refusal)}],
    }
    return Body("application/json; charset=utf-8", encode(details).decode())


def _errors(code: str, refusal: Deny) -> Body:
    """The list of errors that Australia's CDR and Open Finance Brasil share."""
    title = _CDR_TITLES.get(code, HTTPStatus(refusal.reason.status).phrase)
    details = {"errors": [{"code": code, "title": title, "detail": _named(refusal) or refusal.reason.words}]}
    return Body("application/json; charset=utf-8", encode(details).decode())


_CDR_TITLES = {
    _CDR + "Header/Missing": "Missing Required Header",
    _CDR + "Header/Invalid": "Invalid Header",
    _CDR + "Header/InvalidVersion": "Invalid Version",
    _CDR + "Header/UnsupportedVersion": "Unsupported Version",
    _CDR + "GeneralError/Expected": "Expected Error Encountered",
}


def _cdr_code(refusal: Deny) -> str:
    match refusal.reason:
        case Reason.FAPI_HEADER_MISSING:
            return _CDR + "Header/Missing"
        case Reason.FAPI_VERSION_UNSUPPORTED:
            return _CDR + "Header/UnsupportedVersion"
        case Reason.FAPI_HEADER_INVALID if refusal.header in {"x-v", "x-min-v"}:
            return _CDR + "Header/InvalidVersion"
        case Reason.FAPI_HEADER_INVALID | Reason.FAPI_FINANCIAL_ID_MISMATCH:
            return _CDR + "Header/Invalid"
        case _:
            return _CDR + "GeneralError/Expected"


def _named(refusal: Deny) -> str:
    """The name of the header at fault, which the bundle names and never the client."""
    return refusal.header if _HEADER_NAME.fullmatch(refusal.header) else ""
