"""Error bodies of the FAPI ecosystems, where their texts name one; problem details everywhere else.

Rule: fixed words, codes of the ecosystem, and the name of the header at fault; never a value (T-70).
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from msgspec import Struct
from msgspec.json import encode

from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason

JSON: Final = "application/json; charset=utf-8"  # RS-03
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9\-]{1,64}")


class Body(Struct, frozen=True):
    """A response body and its media type; an empty type lets Envoy choose."""

    media_type: str
    text: str


NO_BODY: Final = Body("", "")


def ecosystem_body(refusal: Deny, code: str, reference: str) -> Body | None:
    """The body that the client's ecosystem asks for; None when its texts name none.

    `code` is the coarse code of a problem, `reference` an id by which the refusal is found again.
    """
    match refusal.ecosystem:
        case "uk-obie" | "uk-obie-3.1.1":
            return _uk(refusal, reference, _UK_CODES)
        case "uk-obie-4":
            return _uk_4(refusal, reference)
        case "cdr":
            return _errors(_cdr_code(refusal), refusal)
        case "brazil":
            return _errors(_BRAZIL_CODES.get(refusal.reason, code.upper()), refusal)
    return None


# --- UK Open Banking Read/Write: the codes of 3.1, and the numbers that 4.0 gave them

_HEADER_MISSING, _HEADER_INVALID = "UK.OBIE.Header.Missing", "UK.OBIE.Header.Invalid"
_SIGNATURE_MISSING, _SIGNATURE_INVALID = "UK.OBIE.Signature.Missing", "UK.OBIE.Signature.Invalid"
_UK_CODES: Final[Mapping[Reason, str]] = {
    Reason.FAPI_HEADER_MISSING: _HEADER_MISSING,
    Reason.FAPI_HEADER_INVALID: _HEADER_INVALID,
    Reason.FAPI_FINANCIAL_ID_MISMATCH: _HEADER_INVALID,
    Reason.FAPI_VERSION_UNSUPPORTED: _HEADER_INVALID,
    Reason.SIGNATURE_MISSING: _SIGNATURE_MISSING,
    Reason.SIGNATURE_INVALID: _SIGNATURE_INVALID,
    Reason.SIGNED_BODY_INVALID: _SIGNATURE_INVALID,
}
_UK_NUMBERS: Final = {
    _HEADER_INVALID: "U006",
    _HEADER_MISSING: "U007",
    _SIGNATURE_INVALID: "U015",
    _SIGNATURE_MISSING: "U019",
}
_UK_4_CODES: Final[Mapping[Reason, str]] = {
    **{reason: _UK_NUMBERS[code] for reason, code in _UK_CODES.items()},
    Reason.TOKEN_EXPIRED: _UK_NUMBERS[_HEADER_INVALID],
}


def _uk(refusal: Deny, reference: str, codes: Mapping[Reason, str]) -> Body | None:
    """The error structure of 3.1; its texts show 401 without a body."""
    reason = refusal.reason
    if reason not in codes:
        return NO_BODY if reason.status == HTTPStatus.UNAUTHORIZED else None
    status = HTTPStatus(reason.status)
    path = "Authorization" if reason.shape == "token" else _named(refusal)
    error = {"ErrorCode": codes[reason], "Message": reason.words, **({"Path": path} if path else {})}
    details = {
        "Code": f"{status.value} {status.phrase.replace(' ', '')}",
        "Id": reference,
        "Message": reason.words,
        "Errors": [error],
    }
    return Body(JSON, encode(details).decode())


def _uk_4(refusal: Deny, reference: str) -> Body | None:
    """As 3.1, but with an expired token 401 has a body."""
    return _uk(refusal, reference, _UK_4_CODES)


# --- lists of errors: Australia's CDR and Open Finance Brasil

_CDR: Final = "urn:au-cds:error:cds-all:"
_CDR_TITLES: Final = {
    _CDR + "Header/Missing": "Missing Required Header",
    _CDR + "Header/Invalid": "Invalid Header",
    _CDR + "Header/InvalidVersion": "Invalid Version",
    _CDR + "Header/UnsupportedVersion": "Unsupported Version",
    _CDR + "GeneralError/Expected": "Expected Error Encountered",
}
_BRAZIL_CODES: Final = {Reason.SIGNED_BODY_INVALID: "BAD_SIGNATURE"}  # SG-04


def _errors(code: str, refusal: Deny) -> Body:
    title = _CDR_TITLES.get(code, HTTPStatus(refusal.reason.status).phrase)
    details = {"errors": [{"code": code, "title": title, "detail": _named(refusal) or refusal.reason.words}]}
    return Body(JSON, encode(details).decode())


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
