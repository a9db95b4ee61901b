"""The body that a client reads when it is refused.

Rule: fixed words only. No claim, header value, policy name or exception text leaves here (T-70).
"""

from functools import cache
from http import HTTPStatus

from msgspec.json import encode

from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.wire.challenges import ERRORS
from extauthz.wire.ecosystem_bodies import Body, ecosystem_body

_CODES = {
    "none": "access_denied",
    "credential": "authentication_required",
    "header": "invalid_header",
    "unavailable": "temporarily_unavailable",
    **ERRORS,
}
_PLAIN_CODES = {400: "invalid_request", 401: "invalid_signature"}  # refusals without a challenge


def body(refusal: Deny | Undecided, decision_id: str, interaction_id: str, *, is_grpc: bool) -> Body:
    """The body in the form the client's ecosystem expects, problem details (RFC 9457) for everybody else."""
    if is_grpc:
        # Envoy makes this the grpc-message, and a content-type of ours would replace application/grpc.
        return Body("", refusal.reason.words)
    if isinstance(refusal, Deny) and refusal.ecosystem:
        found = ecosystem_body(refusal, _code(refusal.reason), interaction_id or decision_id)
        if found is not None:
            return found
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
