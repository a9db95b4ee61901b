"""Sender-constrained tokens: not verifiable yet, so never taken for bearer tokens."""

from extauthz.guards.refusal import Refusal
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject


def refuse_bound_token(subject: Subject) -> Refusal | None:
    """Refuse a token with `cnf` (RFC 7800): whoever stole it would present it just like this.

    DP-01 for a DPoP key (RFC 9449 section 7.2), MTLS-10 for a certificate and everything unknown.
    """
    if not subject.confirmation:
        return None
    check = "DP-01" if "jkt" in subject.confirmation else "MTLS-10"
    return Refusal(Reason.TOKEN_BINDING_UNVERIFIED, check, "the token names a key that the sender must prove to hold")
