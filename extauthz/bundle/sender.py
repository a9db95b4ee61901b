"""The `senderConstraint` of a SecurityProfile: the policy is the guards', the proofs are identity's; here they meet."""

from typing import TYPE_CHECKING

from msgspec import Struct

from extauthz.guards import Constraint, SenderConstraint, compile_sender
from extauthz.identity import DpopSpec, MtlsSpec, PossessionRules, compile_possession
from extauthz.model.problems import Location, Problem

if TYPE_CHECKING:
    from extauthz.bundle.kinds import SecurityProfileSpec

_AT: Location = ("spec", "senderConstraint")


class SenderConstraintSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Which access tokens are accepted from whom.

    Without the section a bearer token is accepted, and whatever a token is bound to is verified all the same.
    """

    accept: tuple[Constraint, ...] = ("mtls", "dpop")  # either satisfies; a token bound to both needs both
    required: bool = True  # false: bearer tokens too, while clients change over
    dpop: DpopSpec = DpopSpec()
    mtls: MtlsSpec = MtlsSpec()


def compile_sender_constraint(
    spec: "SecurityProfileSpec", problems: list[Problem]
) -> tuple[SenderConstraint, PossessionRules]:
    """What the profile demands of a sender, and how that is proven."""
    section = spec.sender_constraint or SenderConstraintSpec(required=False)
    dpop = section.dpop
    if spec.sender_constraint is not None:
        _check_together(spec, section, problems)
    sender = compile_sender(
        section.accept,
        dpop.algorithms,
        problems,
        _AT,
        required=section.required,
        offered=spec.sender_constraint is not None,
        reads_without_store=dpop.when_store_unavailable.reads == "allow",
    )
    return sender, compile_possession(dpop, section.mtls, spec.match.hosts, problems, _AT)


def _check_together(spec: "SecurityProfileSpec", section: SenderConstraintSpec, problems: list[Problem]) -> None:
    """What no field shows alone."""
    if spec.authentication.mode == "none":
        problems.append(Problem(_AT, "mode `none` verifies nobody, so there is no token to bind to its sender"))
    if "dpop" in section.accept and "*" in spec.match.hosts and not section.dpop.public_origin:
        message = (
            "proofs name the URL that the client called: with `hosts` of `*`, write it here, "
            "or a proof for somebody else's host would do"
        )
        problems.append(Problem((*_AT, "dpop", "publicOrigin"), message))
