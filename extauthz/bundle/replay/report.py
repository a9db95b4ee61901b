"""What a replay has found, in groups with examples, and whether it passes.

Rule: what could not be told is counted by what it would have needed, and is never taken for unchanged.
"""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from extauthz.bundle.replay.decided import Decided
from extauthz.bundle.replay.replay import NOT_KEPT, Changed, Replayed, Unknown
from extauthz.model.decision import Allow

# The first three are those of `bundle.compare`; the fourth is allowed by both, by another rule with what that one adds.
Change = Literal["allow_to_deny", "deny_to_allow", "reason", "rule"]
CHANGES: Final[tuple[Change, ...]] = ("allow_to_deny", "deny_to_allow", "reason", "rule")


class Example(Struct, frozen=True, rename="camel"):
    """One decision of a group."""

    decision_id: str
    time: str
    method: str
    host: str
    route: str  # the pattern that matched, then or by the other bundle


class Group(Struct, frozen=True, rename="camel"):
    """Decisions that change alike. Policy and rule that decided then, and those that would decide."""

    change: Change
    profile: str
    tenant: str
    reason: str
    policy: str
    rule: str
    new_reason: str
    new_policy: str
    new_rule: str


class Found(Struct, rename="camel"):
    """How many, and which for example."""

    count: int = 0
    examples: list[Example] = []


class Totals(Struct, rename="camel"):
    """What was found in some records; several add up."""

    decisions: int = 0
    unchanged: int = 0
    changes: dict[str, int] = {}
    unknown: dict[str, Found] = {}  # by what is missing
    groups: dict[Group, Found] = {}


class Report(Struct, frozen=True, rename="camel"):
    """All of it, the largest groups first."""

    decisions: int
    unchanged: int
    changed: int  # the answer, not only the reason
    changes: dict[str, int]
    unknown: int
    unknown_by: dict[str, Found]
    groups: tuple[tuple[Group, Found], ...]


def count(totals: Totals, decided: Decided, found: Replayed, examples: int) -> None:
    """Add one record."""
    totals.decisions += 1
    if isinstance(found, Unknown):
        _add(totals.unknown.setdefault(found.needs, Found()), decided, "", examples)
    elif isinstance(found, Changed):
        group, route = _group(decided, found)
        totals.changes[group.change] = totals.changes.get(group.change, 0) + 1
        _add(totals.groups.setdefault(group, Found()), decided, route, examples)
    else:
        totals.unchanged += 1


def add_up(parts: Iterable[Totals], examples: int) -> Totals:
    """The sum of several, in their order."""
    total = Totals()
    for part in parts:
        total.decisions += part.decisions
        total.unchanged += part.unchanged
        for change, number in part.changes.items():
            total.changes[change] = total.changes.get(change, 0) + number
        for needs, found in part.unknown.items():
            _merge(total.unknown.setdefault(needs, Found()), found, examples)
        for group, found in part.groups.items():
            _merge(total.groups.setdefault(group, Found()), found, examples)
    return total


def report(totals: Totals) -> Report:
    """Sorted, for people and machines."""
    unknown = sorted(totals.unknown.items(), key=lambda each: (-each[1].count, each[0]))
    groups = sorted(
        totals.groups.items(), key=lambda each: (CHANGES.index(each[0].change), -each[1].count, each[0].policy)
    )
    return Report(
        decisions=totals.decisions,
        unchanged=totals.unchanged,
        changed=totals.changes.get("allow_to_deny", 0) + totals.changes.get("deny_to_allow", 0),
        changes={change: totals.changes[change] for change in CHANGES if change in totals.changes},
        unknown=sum(found.count for _, found in unknown),
        unknown_by=dict(unknown),
        groups=tuple(groups),
    )


def hint(needs: str) -> str:
    """What to do so that it can be told next time."""
    if needs == NOT_KEPT:
        return "set `journal.replay: attributes` on the servers, and replay what they record from then on"
    if needs == "the pseudonym key":
        return "give the journal's key with --pseudonym-key, not one of a later month"
    if needs.startswith(("request.", "params", "subject.", "source.", "remote.", "destination.", "connection.")):
        return "the journal keeps what the bundle in force reads: let NEW run as a candidate beside it"
    return "let NEW run as a candidate beside the bundle in force"


def _group(decided: Decided, found: Changed) -> tuple[Group, str]:
    decision = found.decision
    evidence = decision.evidence
    before, after = decided.outcome == "allow", isinstance(decision, Allow)
    change: Change = "rule" if before else "reason"
    if before != after:
        change = "allow_to_deny" if before else "deny_to_allow"
    group = Group(
        change,
        evidence.profile or decided.profile,
        decided.tenant or evidence.tenant,
        decided.reason,
        decided.policy,
        decided.rule,
        decision.reason.code,
        evidence.policy,
        evidence.rule,
    )
    return group, evidence.route or decided.route


def _add(found: Found, decided: Decided, route: str, examples: int) -> None:
    found.count += 1
    if len(found.examples) < examples:
        found.examples.append(
            Example(decided.decision_id, decided.time, decided.method, decided.host, route or decided.route)
        )


def _merge(into: Found, found: Found, examples: int) -> None:
    into.count += found.count
    into.examples += found.examples[: max(0, examples - len(into.examples))]
