"""Whatever a profile demands to be signed in a request, as one step of the path."""

from extauthz.identity.message_signature import verify_message
from extauthz.identity.signature_rules import SigningRules
from extauthz.identity.signed_body import verify_body
from extauthz.model.decision import Deny, FirstUse
from extauthz.model.request import Request
from extauthz.model.subject import Subject


def check_signatures(request: Request, subject: Subject, rules: SigningRules, now: int) -> Deny | FirstUse | None:
    """Refuse what is not signed as the profile asks; a FirstUse must still be one when the rest allows the request."""
    if rules.message is not None and (refused := verify_message(request, subject, rules.message, now)):
        return refused
    return None if rules.body is None else verify_body(request, subject, rules.body, now)
