"""The steps of a decision, as `check.decide` takes them: which passed, which ended it, which were never reached.

Rule 1: nothing is decided here again. Where a path ended is read off its reason; what came before has passed.
"""

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from extauthz.model import endings
from extauthz.model.decision import Allow, Decision, Deny
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Refused, Request
from extauthz.snapshot import Profile, Snapshot

Name = Literal[
    "request",
    "freeze",
    "profile",
    "headers",
    "identity",
    "sender",
    "revocation",
    "step-up",
    "tenancy",
    "financial id",
    "signatures",
    "policies",
    "break glass",
    "first use",
]
Result = Literal["passed", "ended here", "not asked for", "not reached"]

_TITLES: Final[dict[Name, str]] = {
    "request": "the request has one reading",
    "freeze": "neither everything nor the route is frozen",
    "profile": "a SecurityProfile covers it",
    "headers": "the headers of the ecosystem (FAPI)",
    "identity": "who calls",
    "sender": "the token is its sender's",
    "revocation": "nothing about the caller is revoked or frozen",
    "step-up": "how, and how recently, the user authenticated",
    "tenancy": "the tenant of the resource is the caller's",
    "financial id": "the financial id is that tenant's",
    "signatures": "the request and its body are signed",
    "policies": "what is allowed",
    "break glass": "what is open although policies deny it",
    "first use": "the proof and the signed body are new",
}
ENDS: Final[dict[Name, frozenset[Reason]]] = {
    "profile": frozenset({Reason.NO_PROFILE}),
    "headers": endings.HEADERS,
    "sender": endings.SENDER,
    "revocation": endings.REVOCATION | {Reason.EMERGENCY_DENIED},
    "step-up": endings.STEP_UP,
    "tenancy": endings.TENANCY,
    "financial id": endings.FINANCIAL_ID,
    "signatures": endings.SIGNATURES,
    "policies": endings.POLICIES,
    "break glass": endings.BREAK_GLASS,
    "first use": endings.FIRST_USE,
}


# What a freeze says that does not ask who calls.
_BEFORE_ANYBODY: Final = ("denied by `route`", "denied by `everything`")


class Step(Struct, frozen=True):
    """One step, and what came of it."""

    name: Name
    title: str
    result: Result
    detail: str


def steps_of(asked: Request | Connection | Refused, decision: Decision, world: Snapshot) -> Iterator[Step]:
    """Every step in order."""
    profile = next((each for each in world.profiles.profiles if each.name == decision.evidence.profile), None)
    end = _end(asked, decision, profile)
    names: tuple[Name, ...] = (
        ("request", "freeze", "revocation", "policies") if isinstance(asked, Connection) else tuple(_TITLES)
    )
    for place, name in enumerate(names):
        result: Result = "passed"
        if place > names.index(end):
            result = "not reached"
        if not _is_asked(name, profile, asked, decision):
            result = "not asked for"
        elif name == end and not isinstance(decision, Allow):
            result = "ended here"
        if result == "not reached" and (isinstance(decision, Allow) or name == "break glass"):
            result = "passed"  # a drill is asked, and opens nothing
        detail = _detail(name, asked, decision, profile) if result in {"passed", "ended here"} else ""
        yield Step(name, _TITLES[name], result, detail)


def _end(asked: Request | Connection | Refused, decision: Decision, profile: Profile | None) -> Name:
    if isinstance(asked, Refused):
        return "request"
    if decision.reason is Reason.EMERGENCY_DENIED and isinstance(decision, Deny):
        return "freeze" if decision.detail.startswith(_BEFORE_ANYBODY) else "revocation"
    fapi = profile.fapi if profile is not None else None
    if isinstance(decision, Deny) and decision.header and fapi is not None and fapi.financial_id is not None:
        return "financial id" if decision.header == fapi.financial_id.header else "headers"
    if decision.reason is Reason.PATH_AMBIGUOUS:  # what other case mappings would make of it (T-11)
        return "tenancy" if decision.evidence.profile else "profile"
    return next((name for name, reasons in ENDS.items() if decision.reason in reasons), "identity")


def _is_asked(name: Name, profile: Profile | None, asked: Request | Connection | Refused, decision: Decision) -> bool:
    if profile is None:
        return name in {"request", "freeze", "profile"} or isinstance(asked, Connection)
    match name:
        case "headers":
            return profile.fapi is not None
        case "identity" | "sender":
            return profile.authentication.mode != "none"
        case "step-up":
            return profile.step_up is not None
        case "tenancy":
            return profile.tenancy is not None
        case "financial id":
            return profile.fapi is not None and profile.fapi.financial_id is not None
        case "break glass":
            return decision.evidence.emergency_kind in {"break_glass", "drill"}
        case "signatures":
            return profile.signing.message is not None or profile.signing.body is not None
        case "first use":
            return decision.reason in ENDS[name] or not {"dpop", "signed_body"}.isdisjoint(
                decision.evidence.sender_proofs
            )
        case _:
            return True


def _detail(name: Name, asked: Request | Connection | Refused, decision: Decision, profile: Profile | None) -> str:
    evidence = decision.evidence
    subject = evidence.subject
    found = ""
    match name:
        case "request" if isinstance(asked, Request):
            found = f"{asked.method} {asked.host}{asked.path}"
        case "profile" if profile is not None:
            found = f"`{profile.name}`"
        case "identity" if not subject.is_anonymous:
            found = f"vouched for by `{subject.issuer_name}`"
        case "identity":
            found = "nobody in particular"
        case "sender":
            bearer = "a bearer token, which is accepted here" if subject.has_token else "no token to be anybody's"
            found = ", ".join(evidence.sender_proofs) or bearer
        case "tenancy":
            found = f"`{evidence.tenant}`" + (f" by grant `{evidence.cross_tenant}`" if evidence.cross_tenant else "")
        case "policies" if decision.reason is Reason.BREAK_GLASS_ALLOWED:
            found = f"denied by `{evidence.policy}/{evidence.rule}`" if evidence.policy else "no rule allows it"
        case "policies" if evidence.policy:
            found = f"`{evidence.policy}/{evidence.rule}`"
        case "break glass":
            what = "is a drill: it would let this pass" if evidence.emergency_kind == "drill" else "lets it pass"
            found = f"`{evidence.emergency}` {what}"
    if name == _end(asked, decision, profile) and not isinstance(decision, Allow):
        said = " ".join(part for part in (decision.check, decision.detail or decision.reason.words) if part)
        return f"{decision.reason.code}: {said}"
    return found
