"""What a profile demands of the sender of a token; whether the demand is met is proven in `identity`.

Rule 1: by default nothing is demanded, and everything that a token is bound to is verified all the same.
Rule 2: a challenge offers what the profile accepts, in the scheme that the client used first.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from extauthz.guards.refusal import Refusal
from extauthz.model.decision import Deny
from extauthz.model.problems import Location, Problem
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject

Constraint = Literal["mtls", "dpop"]
READS: Final = frozenset({"GET", "HEAD"})  # of the safe methods (RFC 9110 section 9.2.1) those that read a resource
_BEARER, _DPOP = "Bearer", "DPoP"
_OF_PROOFS: Final = frozenset({"proof", "nonce"})
_CHALLENGED: Final = frozenset({"credential", "request", "token", "scope", "proof", "nonce", "step", "claims"})


class SenderConstraint(Struct, frozen=True):
    """The compiled demand of a profile."""

    required: bool = False  # refuse a token that anybody could present
    accept: tuple[Constraint, ...] = ("mtls", "dpop")
    offered: bool = False  # whether challenges tell of DPoP: not under profiles that do not speak of it
    algorithms: str = ""  # of proofs, for challenges (RFC 9449 section 7.1)
    reads_without_store: bool = False  # DP-18: reads may pass while nobody can say whether their proof was used

    def refuse(self, subject: Subject) -> Refusal | None:
        """Refuse a token that is not bound in an accepted way (MTLS-01); callers without a token have none to bind."""
        if not self.required or not subject.has_token:
            return None
        if ("mtls" in self.accept and subject.x5t) or ("dpop" in self.accept and subject.jkt):
            return None
        if subject.confirmation and not subject.x5t and not subject.jkt:
            detail = "bound to nothing that can be verified"
            return Refusal(Reason.TOKEN_BINDING_UNVERIFIED, "MTLS-10", detail)
        detail = "bound in a way that the profile does not accept" if subject.confirmation else "a bearer token"
        return Refusal(Reason.SENDER_CONSTRAINT_MISSING, "MTLS-01", detail)

    def passes_without_store(self, method: str) -> bool:
        """Whether a request may pass although nobody can say whether its proof was used before."""
        return self.reads_without_store and method in READS

    def challenge(self, deny: Deny) -> Deny:
        """The refusal with what its challenges must say under this profile (RFC 9449 sections 7.1 and 7.2)."""
        shape = deny.reason.shape
        if shape not in _CHALLENGED:
            return deny
        # A token with a key got this far only with the scheme `DPoP` (DP-01).
        used = deny.scheme or (_DPOP if deny.evidence.subject.jkt or shape in _OF_PROOFS else "")
        accepted = self._schemes()
        if not used:  # who sent nothing is told what is wanted, who sent something is answered as such
            used = accepted[0] if shape == "credential" else _BEARER
        offers = tuple(scheme for scheme in accepted if scheme != used) if self.offered else ()
        parameters = deny.parameters
        if self.algorithms and _DPOP in (used, *offers):
            parameters = (*parameters, ("algs", self.algorithms))
        return replace(deny, scheme=used, offers=offers, parameters=parameters)

    def _schemes(self) -> tuple[str, ...]:
        """What a client may use, the best first. A token bound to a certificate is sent as a bearer token."""
        if not self.offered:
            return (_BEARER,)
        return (_DPOP, _BEARER) if "mtls" in self.accept or not self.required else (_DPOP,)


def compile_sender(
    accept: tuple[Constraint, ...],
    algorithms: tuple[str, ...],
    problems: list[Problem],
    location: Location,
    *,
    required: bool,
    offered: bool,
    reads_without_store: bool,
) -> SenderConstraint:
    """Check and compile what `senderConstraint` demands."""
    if not accept:
        message = "an empty list accepts no token at all: name `mtls`, `dpop` or both"
        problems.append(Problem((*location, "accept"), message))
    return SenderConstraint(
        required=required,
        accept=accept,
        offered=offered and "dpop" in accept,
        algorithms=" ".join(algorithms),
        reads_without_store=reads_without_store,
    )
