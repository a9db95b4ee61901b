"""Whether whoever presents a token is the one it was given to: the facts, by what the token is bound to.

Rule 1: a token that names both a certificate and a key needs both (MTLS-11).
Rule 2: it makes no difference where the token's claims came from, a signature or introspection (DP-22, INT-06).
"""

from msgspec import Struct

from extauthz.identity.certificate import verify_certificate
from extauthz.identity.dpop import Proof, verify_proof
from extauthz.identity.identify import Identified
from extauthz.identity.nonces import NonceKeys
from extauthz.identity.possession_rules import PossessionRules
from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Request


class Possession(Struct, frozen=True, gc=False):
    """What was proven, and how; without a proof there is nothing left to ask."""

    proof: Proof | None = None
    kinds: tuple[str, ...] = ()  # "mtls", "dpop"; none for a bearer token


_BEARER, _BY_CERTIFICATE = Possession(), Possession(kinds=("mtls",))


def prove_possession(
    request: Request, found: Identified, rules: PossessionRules, nonces: NonceKeys, now: int
) -> Possession | Deny | Undecided:
    """Verify everything that the token is bound to; a bearer token is bound to nothing."""
    subject = found.subject
    if not subject.confirmation:
        return _BEARER
    if not subject.jkt and not subject.x5t:
        return Deny(Reason.TOKEN_BINDING_UNVERIFIED, "MTLS-10", "bound to nothing that can be verified")
    if subject.jkt and not found.is_dpop:
        return Deny(Reason.TOKEN_BINDING_UNVERIFIED, "DP-01", "bound to a key, sent as a bearer token", scheme="DPoP")
    if subject.x5t and (refused := verify_certificate(subject.x5t, request, rules.mtls)):
        return refused
    if not subject.jkt:
        return _BY_CERTIFICATE
    proof = verify_proof(request, found.token, subject.jkt, rules.dpop, nonces, now)
    kinds = ("mtls", "dpop") if subject.x5t else ("dpop",)
    return Possession(proof, kinds) if isinstance(proof, Proof) else proof
