"""The path of a Check, start to end.

Rule 1: every reason to say no is reached from `decide`, in this order.
Rule 2: nothing here waits, locks, logs or reads a clock; those come in as values.
Rule 3: total: whatever the request, the answer is Allow, Deny or Undecided.
"""

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from extauthz.guards import Refusal, refuse_bound_token, refuse_revoked
from extauthz.identity import identify
from extauthz.model.decision import Allow, Decision, Deny, Evidence, Known, Pending, Question, Undecided
from extauthz.model.ports import Revoked
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Refused, Request
from extauthz.model.subject import ANONYMOUS
from extauthz.policy import Verdict
from extauthz.snapshot import AmbiguousProfile, Profile, Snapshot

D = TypeVar("D", Allow, Deny, Allow | Deny, Deny | Undecided)


Asked = Request | Connection | Refused

Ask = Callable[[Question], bytes | bool | None]  # None: nobody could say in time

# An introspection and a first use; one more leaves room, and an end is certain.
MAX_QUESTIONS = 3


def ask_nobody(_: Question) -> None:
    """Decide from what is in memory alone."""


def decide(asked: Asked, world: Snapshot, now: int, ask: Ask = ask_nobody) -> Decision:
    """Decide one Check. `now` is whole seconds since the epoch; `ask` is asked what the decision needs from outside."""
    known: dict[Question, bytes | bool] = {}
    while isinstance(decision := advance(asked, world, now, known), Pending):
        answer = ask(decision.question) if len(known) < MAX_QUESTIONS else None
        if answer is None or decision.question in known:
            return decision.otherwise
        known[decision.question] = answer
    return decision


def advance(asked: Asked, world: Snapshot, now: int, known: Known) -> Decision | Pending:
    """Decide one Check, or say what must be asked outside first; call again with the answer in `known`."""
    match asked:
        case Request():
            return _decide_request(asked, world, now, known)
        case Connection():
            if refusal := refuse_revoked(_revoked(world), ANONYMOUS, "", now, (asked.source.principal,)):
                return Deny(refusal.reason, refusal.check, refusal.detail)
            return _conclude(world.policies.evaluate_connection(asked), Evidence())
        case Refused():
            return Deny(asked.reason, asked.check)


def _decide_request(request: Request, world: Snapshot, now: int, known: Known) -> Decision | Pending:  # noqa: ARG001
    profile = world.profiles.find(request.host, request.segments)
    if profile is None:
        return Deny(Reason.NO_PROFILE)
    if isinstance(profile, AmbiguousProfile):
        return Deny(Reason.PATH_AMBIGUOUS, "T-11")
    evidence = Evidence(profile=profile.name)

    # 1 who calls (OR-01: the headers of the ecosystem come before the token)
    if profile.fapi is not None and (refusal := profile.fapi.check_headers(request, now)):
        return _refuse(refusal, profile, evidence)
    found = identify(request, profile.authentication, world.keys, world.tokens, now)
    if isinstance(found, Deny | Undecided):
        return _with_ecosystem(replace(found, evidence=evidence), profile)
    subject = found.subject
    evidence = Evidence(subject=subject, profile=profile.name, token_cached=found.cached)

    # 2 guards that no policy can lift: sender constraint, revocation, step-up, tenancy, financial id
    if refusal := refuse_bound_token(subject):
        return _refuse(refusal, profile, evidence)
    if refusal := refuse_revoked(_revoked(world), subject, subject.tenant, now, _services(request)):
        return _refuse(refusal, profile, evidence)
    if profile.step_up is not None and (refusal := profile.step_up.check(request, subject, now)):
        return _refuse(refusal, profile, evidence)
    tenant = world.tenants.own(subject.tenant)
    if profile.tenancy is not None:
        resolved = profile.tenancy.resolve(request, subject)
        if isinstance(resolved, Refusal):
            return _refuse(resolved, profile, evidence)
        tenant = resolved.tenant
        evidence = replace(evidence, cross_tenant=resolved.cross_tenant)
    evidence = replace(evidence, tenant=tenant)
    if tenant != subject.tenant and (refusal := refuse_revoked(_revoked(world), ANONYMOUS, tenant, now)):
        return _refuse(refusal, profile, evidence)
    if profile.fapi is not None and (refusal := profile.fapi.check_financial_id(request, world.tenants.get(tenant))):
        return _refuse(refusal, profile, evidence)

    # 3 what is allowed, 4 obligations
    verdict = world.policies.evaluate(request, subject, tenant, now)
    return _with_ecosystem(_conclude(verdict, evidence), profile)


def _revoked(world: Snapshot) -> tuple[Revoked, ...]:
    return world.revocations, world.revoked


def _services(request: Request) -> tuple[str, ...]:
    """The workloads a request comes through: the direct peer, and the one that its proxy vouches for."""
    forwarded = request.forwarded.uri if request.forwarded is not None else ""
    return (request.source.principal, forwarded)


def _conclude(verdict: Verdict, evidence: Evidence) -> Allow | Deny:
    """A policy's verdict as a decision: default deny, deny over allow."""
    evidence = replace(
        evidence,
        policy=verdict.policy,
        rule=verdict.rule,
        route=verdict.route,
        shadow=verdict.shadow,
        condition_errors=verdict.condition_errors,
    )
    if verdict.reason is Reason.POLICY_ALLOWED:
        return Allow(evidence=evidence, obligations=verdict.obligations)
    return Deny(verdict.reason, evidence=evidence, scopes=verdict.scopes)


def _refuse(refusal: Refusal, profile: Profile, evidence: Evidence) -> Deny:
    deny = Deny(
        refusal.reason,
        refusal.check,
        refusal.detail,
        evidence=evidence,
        parameters=refusal.parameters,
        header=refusal.header,
    )
    return _with_ecosystem(deny, profile)


def _with_ecosystem(decision: D, profile: Profile) -> D:
    """Denials under a FAPI profile speak the ecosystem's error format."""
    if isinstance(decision, Deny) and profile.fapi is not None:
        return replace(decision, ecosystem=profile.fapi.ecosystem)
    return decision
