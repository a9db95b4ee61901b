"""Whatever a profile demands to be signed in a request, as one step of the path."""

from msgspec import Struct

from extauthz.identity.message_signature import verify_message
from extauthz.identity.signature_rules import NOTHING_SIGNED, SigningRules
from extauthz.identity.signed_body import verify_body
from extauthz.model.decision import Deny, FirstUse
from extauthz.model.request import Request
from extauthz.model.subject import Subject


class Signed(Struct, frozen=True, gc=False):
    """What was signed, and the use of a body that must still be the first when all else allows the request."""

    kinds: tuple[str, ...] = ()  # "message_signature", "signed_body"
    use: FirstUse | None = None


_NOTHING = Signed()


def check_signatures(request: Request, subject: Subject, rules: SigningRules, now: int) -> Deny | Signed:
    """Refuse what is not signed as the profile asks."""
    if rules is NOTHING_SIGNED:
        return _NOTHING
    kinds: list[str] = []
    if rules.message is not None:
        verified = verify_message(request, subject, rules.message, now)
        if isinstance(verified, Deny):
            return verified
        kinds += ["message_signature"] if verified else []
    use = None if rules.body is None else verify_body(request, subject, rules.body, now)
    if isinstance(use, Deny):
        return use
    kinds += ["signed_body"] if use is not None else []
    return Signed(tuple(kinds), use)
