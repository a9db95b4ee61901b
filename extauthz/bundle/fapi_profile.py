"""A FAPI profile as one switch: what it demands of the rest of a SecurityProfile and of the issuers it names.

Rule 1: where the document is silent, the demand is turned on; where it says otherwise, the bundle does not load.
Rule 2: each demand names its check and its source; what no text demands is not demanded here.

Not in the table, because they hold under every profile: the query is no place for a token (EX-02, FAPI 1.0 Part 1
section 6.2.1, FAPI 2.0 section 5.3.4), RSA keys have 2048 bits and EC keys 256 (JWT-14, FAPI 2.0 section 5.4), a token
is refused when it expired or was revoked (JWT-09, JWT-13), and its scopes are for policies to compare (JWT-18).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.kinds import SecurityProfileSpec
from extauthz.bundle.sender import SenderConstraintSpec
from extauthz.guards import Constraint
from extauthz.identity import Issuer
from extauthz.model.problems import Location, Problem

_AUTHENTICATION: Final[Location] = ("spec", "authentication")
_SENDER: Final[Location] = ("spec", "senderConstraint")
_ACCEPT: Final[Location] = (*_SENDER, "accept")


class Demands(Struct, frozen=True):
    """What a profile's texts demand; empty where they demand nothing."""

    title: str
    algorithms: tuple[str, ...] = ()  # of tokens and proofs
    algorithms_source: str = ""
    accept: tuple[Constraint, ...] = ()  # one of these must bind a token to its sender
    accept_check: str = ""
    accept_source: str = ""
    max_leeway: int = 60  # seconds; what every issuer may have at most


DEMANDS: Final[Mapping[str, Demands]] = {
    # Bearer tokens are allowed, and no text limits their algorithms.
    "fapi1-baseline": Demands("FAPI 1.0 Baseline"),
    "fapi1-advanced": Demands(
        "FAPI 1.0 Advanced",
        algorithms=("PS256", "ES256"),
        algorithms_source="Part 2, section 8.6",
        accept=("mtls",),
        accept_check="MTLS-01",
        accept_source="Part 2, section 6.2.1-2",
        max_leeway=10,
    ),
    "fapi2-security": Demands(
        "FAPI 2.0",
        algorithms=("PS256", "ES256", "EdDSA", "Ed25519"),
        algorithms_source="section 5.4",
        accept=("mtls", "dpop"),
        accept_check="MTLS-01, DP-01",
        accept_source="section 5.3.4",
        max_leeway=10,  # its section 5.3.2.1: up to 10 s ahead is accepted
    ),
}


def apply_profile(
    spec: SecurityProfileSpec, written: Mapping[str, object], issuers: Mapping[str, Issuer], problems: list[Problem]
) -> SecurityProfileSpec:
    """The document with what its FAPI profile turns on; `written` is its `spec` as the author wrote it."""
    if spec.fapi is None or spec.fapi.profile is None:
        return spec
    demands = DEMANDS[spec.fapi.profile]
    _check_authentication(spec, demands, problems)
    for index, name in enumerate(spec.authentication.issuers):
        if name in issuers:
            _check_issuer(issuers[name], demands, problems, (*_AUTHENTICATION, "issuers", index))
    return _constrain(spec, written, demands, problems) if demands.accept else spec


def _check_authentication(spec: SecurityProfileSpec, demands: Demands, problems: list[Problem]) -> None:
    """EX-01, EX-03: an access token in the header, always, and nowhere else."""
    found = spec.authentication
    if found.mode != "required":
        message = f"EX-01: {demands.title} protects resources by access tokens: write `required`, not `{found.mode}`"
        problems.append(Problem((*_AUTHENTICATION, "mode"), message))
    if found.form_body != "refuse":
        message = f"EX-03: {demands.title} takes tokens from the header alone: write `refuse`"
        problems.append(Problem((*_AUTHENTICATION, "formBody"), message))
    if found.service.mode == "instead":
        message = f"EX-01: {demands.title} asks for an access token: a service may be `required` beside it, not instead"
        problems.append(Problem((*_AUTHENTICATION, "service", "mode"), message))


def _check_issuer(issuer: Issuer, demands: Demands, problems: list[Problem], location: Location) -> None:
    """JWT-02, JWT-10: refused when the bundle loads, so that no token has to be refused for it."""
    refused = [name for name in issuer.algorithms if demands.algorithms and name not in demands.algorithms]
    if refused:
        allowed = _either(demands.algorithms)
        message = (
            f"JWT-02: issuer `{issuer.name}` may sign with {_either(refused)}, {demands.title} accepts {allowed} "
            f"({demands.algorithms_source}): set its `algorithms`"
        )
        problems.append(Problem(location, message))
    if issuer.leeway > demands.max_leeway:
        message = (
            f"JWT-10: issuer `{issuer.name}` has a leeway of `{issuer.leeway}s`, {demands.title} allows "
            f"`{demands.max_leeway}s`: set its `leeway`"
        )
        problems.append(Problem(location, message))


def _constrain(
    spec: SecurityProfileSpec, written: Mapping[str, object], demands: Demands, problems: list[Problem]
) -> SecurityProfileSpec:
    """MTLS-01, DP-01: tokens are bound to their sender, and in no way that the profile does not know."""
    section = spec.sender_constraint or SenderConstraintSpec()
    said = written.get("senderConstraint")
    if not (isinstance(said, Mapping) and "accept" in said):
        section = replace(section, accept=demands.accept)
    why = f"{demands.accept_check}: {demands.title}, {demands.accept_source},"
    if not section.required:
        message = f"{why} refuses bearer tokens: remove `required: false`"
        problems.append(Problem((*_SENDER, "required"), message))
    for index, kind in enumerate(section.accept):
        if kind not in demands.accept:
            message = f"{why} accepts {_either(demands.accept)} alone: remove `{kind}`"
            problems.append(Problem((*_ACCEPT, index), message))
    for index, name in enumerate(section.dpop.algorithms if "dpop" in demands.accept else ()):
        if name not in demands.algorithms:
            allowed = _either(demands.algorithms)
            message = f"DP-07: {demands.title}, {demands.algorithms_source}, accepts {allowed}: remove `{name}`"
            problems.append(Problem((*_SENDER, "dpop", "algorithms", index), message))
    return replace(spec, sender_constraint=section)


def _either(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
