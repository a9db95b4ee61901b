"""What `extauthz check` says about a decision: as a value for programs, as text for people."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
from msgspec import Struct

from extauthz.model.decision import Allow, Decision, Deny
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Refused, Request
from extauthz.policy import RuleTrace
from extauthz.snapshot import Snapshot
from extauthz.wire.twin import Answer

# Reasons that the policies gave: only then have rules been tried.
_BY_POLICY = frozenset(
    {
        Reason.POLICY_ALLOWED,
        Reason.POLICY_DENIED,
        Reason.CONDITION_ERROR,
        Reason.NO_POLICY_MATCHED,
        Reason.SCOPE_INSUFFICIENT,
    }
)
_COLOURS = {"allow": "green", "deny": "red", "undecided": "yellow"}
_MARKS = {"match": "+", "no match": "-", "error": "!", "scope missing": "-"}


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
    sender_proofs: tuple[str, ...]  # mtls, dpop, message_signature, signed_body
    upstream_headers: tuple[tuple[str, str], ...]
    removed_headers: tuple[str, ...]
    client_headers: tuple[tuple[str, str], ...]
    set_query: tuple[tuple[str, str], ...]
    removed_query: tuple[str, ...]
    body: str
    shadow: tuple[str, ...]  # rules in shadow mode that matched
    condition_errors: tuple[str, ...]
    rules: tuple[RuleTrace, ...]  # every rule that was tried


def report(
    asked: Request | Connection | Refused,
    decision: Decision,
    world: Snapshot,
    answer: Answer,
    now: int,
    notes: Sequence[str],
) -> Report:
    """Everything about one decision. Ids in headers are placeholders."""
    evidence, reason = decision.evidence, decision.reason
    subject = evidence.subject
    rules: list[RuleTrace] = []
    if isinstance(asked, Request) and reason in _BY_POLICY:
        rules = world.policies.explain(asked, subject, evidence.tenant, now)
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
        sender_proofs=evidence.sender_proofs,
        upstream_headers=answer.upstream_headers,
        removed_headers=answer.removed_headers,
        client_headers=answer.client_headers,
        set_query=answer.set_query,
        removed_query=answer.removed_query,
        body=answer.body,
        shadow=tuple(f"{match.policy}/{match.rule} ({match.effect})" for match in evidence.shadow),
        condition_errors=evidence.condition_errors,
        rules=tuple(rules),
    )


def explain(decision: Decision, rules: Sequence[RuleTrace]) -> str:
    """Why, in one line."""
    evidence, reason = decision.evidence, decision.reason
    rule = f"`{evidence.policy}/{evidence.rule}`"
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
    missing = ", ".join(f"{part.field} (found {part.seen})" for part in closest.failed)
    return f"no rule allows it; the closest is `{closest.policy}/{closest.rule}`, where this does not match: {missing}"


def print_text(found: Report) -> None:
    """The report for a terminal."""
    click.secho(f"{found.outcome.upper()}  {found.reason}  HTTP {found.status}", fg=_COLOURS[found.outcome], bold=True)
    click.echo(found.explanation)
    for note in found.notes:
        click.echo(f"note: {note}")
    click.echo()
    _print_facts(
        (
            ("profile", found.profile or "none"),
            ("subject", found.subject or "anonymous"),
            ("roles", ", ".join(found.roles)),
            ("sender", ", ".join(found.sender_proofs)),
            ("tenant", found.tenant),
            ("policy", f"{found.policy}/{found.rule}" if found.policy else ""),
            ("route", found.route),
            ("check", found.check),
            ("shadow", ", ".join(found.shadow)),
            ("errors", ", ".join(found.condition_errors)),
            ("revision", f"{found.revision} ({found.digest[:12]})"),
            ("as of", found.now),
        )
    )
    _print_pairs("headers set for the upstream", found.upstream_headers)
    _print_list("headers removed", found.removed_headers)
    _print_pairs("query parameters set", found.set_query)
    _print_list("query parameters removed", found.removed_query)
    _print_pairs("headers to the client", found.client_headers)
    if found.body:
        _print_lines("body to the client", [found.body])
    if found.rules:
        click.echo("\nrules that were tried")
        for trace in found.rules:
            mode = " in shadow" if trace.mode == "shadow" else ""
            click.echo(f"  {_MARKS[trace.result]} {trace.policy}/{trace.rule} ({trace.effect}{mode}): {trace.result}")
            for part in trace.parts:
                click.echo(f"      {_MARKS[part.result]} {part.field}: {part.result}, found {part.seen}")


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    for name, value in facts:
        if value:
            click.echo(f"{name + ':':10}{_plain(value)}")


def _print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    _print_lines(title, [f"{name}: {value}" for name, value in pairs])


def _print_lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  {_plain(line)}")


def _print_list(title: str, names: Sequence[str]) -> None:
    if names:
        click.echo(f"\n{title}")
        click.echo(click.wrap_text(_plain(", ".join(names)), 110, "  ", "  "))


def _plain(text: str) -> str:
    """Claims and headers may hold what a terminal would obey."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
