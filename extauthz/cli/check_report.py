"""What `extauthz check` and `bundle explain` say about a decision, as a value for programs."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from extauthz.cli.check_steps import Step, steps_of
from extauthz.model import endings
from extauthz.model.decision import Allow, Decision, Deny
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Refused, Request
from extauthz.policy import Closer, PartTrace, RuleTrace
from extauthz.snapshot import Snapshot
from extauthz.wire.twin import Answer

# Reasons that the policies gave: only then have rules been tried.
_BY_POLICY = endings.POLICIES | endings.BREAK_GLASS


class Report(Struct, frozen=True, kw_only=True, rename="camel"):
    """One decision, its answer and why."""

    outcome: str
    reason: str
    status: int  # HTTP status that the client gets; 200 when allowed
    explanation: str  # one line
    notes: tuple[str, ...]  # what to bear in mind about this way of asking
    now: str
    revision: str
    digest: str
    profile: str
    tenant: str
    policy: str
    rule: str
    route: str  # the matched path pattern
    check: str  # id of the failed check
    subject: str  # "issuer name/id", "" when anonymous
    roles: tuple[str, ...]
    emergency: str  # id of the freeze that denies, or of the break glass that allows or, as a drill, would
    emergency_kind: str  # freeze, break_glass or drill
    sender_proofs: tuple[str, ...]  # mtls, dpop, message_signature, signed_body
    upstream_headers: tuple[tuple[str, str], ...]
    removed_headers: tuple[str, ...]
    client_headers: tuple[tuple[str, str], ...]
    set_query: tuple[tuple[str, str], ...]
    removed_query: tuple[str, ...]
    body: str
    shadow: tuple[str, ...]  # rules in shadow mode that matched
    condition_errors: tuple[str, ...]
    steps: tuple[Step, ...]  # of the path, in order
    rules: tuple[RuleTrace, ...]  # every rule that speaks about the route; none when the path ended before
    other_rules: int  # how many speak about other hosts, paths, methods or tenants


def report(
    asked: Request | Connection | Refused,
    decision: Decision,
    world: Snapshot,
    answer: Answer,
    now: int,
    notes: Sequence[str],
    closer: Closer,
) -> Report:
    """Everything about one decision. Ids in headers are placeholders."""
    evidence, reason = decision.evidence, decision.reason
    subject = evidence.subject
    rules: list[RuleTrace] = []
    if isinstance(asked, Request) and reason in _BY_POLICY:
        rules = world.policies.explain(asked, subject, evidence.tenant, now, closer)
    elif isinstance(asked, Connection) and reason in _BY_POLICY:
        rules = world.policies.explain_connection(asked, closer)
    return Report(
        outcome=reason.outcome,
        reason=reason.code,
        status=answer.http_status,
        explanation=explain(decision, rules),
        notes=tuple(notes),
        now=datetime.fromtimestamp(now, UTC).isoformat(),
        revision=world.revision,
        digest=world.digest,
        profile=evidence.profile,
        tenant=evidence.tenant,
        policy=evidence.policy,
        rule=evidence.rule,
        route=evidence.route,
        check="" if isinstance(decision, Allow) else decision.check,
        subject="" if subject.is_anonymous else f"{subject.issuer_name}/{subject.id}",
        roles=subject.roles,
        emergency=evidence.emergency,
        emergency_kind=evidence.emergency_kind,
        sender_proofs=evidence.sender_proofs,
        upstream_headers=answer.upstream_headers,
        removed_headers=answer.removed_headers,
        client_headers=answer.client_headers,
        set_query=answer.set_query,
        removed_query=answer.removed_query,
        body=answer.body,
        shadow=tuple(f"{match.policy}/{match.rule} ({match.effect})" for match in evidence.shadow),
        condition_errors=evidence.condition_errors,
        steps=tuple(steps_of(asked, decision, world)),
        rules=tuple(rules),
        other_rules=sum(len(policy.rules) for policy in world.policies.policies) - len(rules),
    )


def explain(decision: Decision, rules: Sequence[RuleTrace]) -> str:
    """Why, in one line."""
    evidence, reason = decision.evidence, decision.reason
    rule = f"`{evidence.policy}/{evidence.rule}`"
    if reason is Reason.BREAK_GLASS_ALLOWED:
        denied = f"rule {rule} denies it" if evidence.policy else "no rule allows it"
        return f"{denied}, but break glass `{evidence.emergency}` lets it pass"
    if isinstance(decision, Allow):
        return f"rule {rule} allows it"
    if reason is Reason.POLICY_DENIED:
        return f"rule {rule} denies it, whatever else allows it"
    if reason is Reason.CONDITION_ERROR:
        return f"a part of deny rule {rule} could not be computed, so it denies"
    if reason is Reason.NO_PROFILE:
        return "no SecurityProfile covers this host and path"
    if isinstance(decision, Deny) and decision.scopes:
        return f"the token lacks a scope, one of: {', '.join(decision.scopes)}"
    if reason is Reason.NO_POLICY_MATCHED:
        return _closest([trace for trace in rules if trace.effect == "allow" and trace.mode == "enforce"])
    words = decision.detail or reason.words
    return f"{decision.check}: {words}" if decision.check else words


def _closest(rules: Sequence[RuleTrace]) -> str:
    """The allow rule that fewest parts speak against, as a hint at what is missing."""
    if not rules:
        return "no allow rule speaks about this host, path and method"
    closest = min(rules, key=lambda trace: len(trace.failed))
    missing = ", ".join(_missing(part, closest) for part in closest.failed)
    return f"no rule allows it; the closest is `{closest.policy}/{closest.rule}`, where this does not match: {missing}"


def _missing(part: PartTrace, trace: RuleTrace) -> str:
    """What a part lacks; of a condition the last of its parts that failed."""
    failed = [branch for branch in trace.branches if branch.result in {"false", "error"}]
    if part.field == "condition" and len(trace.branches) > 1 and failed:
        return f"condition (`{' '.join(failed[-1].text.split())}`: {failed[-1].result})"
    return f"{part.field} (found {part.seen})"
