"""What a bundle's cases have shown: each rule has decided and has refused, each part of a condition was true and false.

Rule 1: a rule has refused if a request on its route did not match it; rules that speak about routes alone cannot.
Rule 2: the part of a condition counts where everything else of the rule held, so that the condition was asked.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from extauthz.bundle.cases import Case
from extauthz.bundle.documents import Documents
from extauthz.bundle.policy_test import Asked
from extauthz.model import endings
from extauthz.model.decision import Decision
from extauthz.model.request import Connection, Request
from extauthz.policy import AccessPolicySpec, Closer, PolicySet, RuleTrace
from extauthz.policy.document import Effect, Mode, RuleSpec, rule_name

RuleKey = tuple[str, str]  # policy and rule
# The paths that came as far as the policies.
_BY_POLICY = endings.POLICIES | endings.BREAK_GLASS | endings.FIRST_USE


class Seen(Struct, frozen=True):
    """What one case has shown of one rule."""

    rule: RuleKey
    refused: bool
    parts: Mapping[int, str]  # of the condition, by number: "true", "false" or "error"


class PartCoverage(Struct, frozen=True, kw_only=True):
    """One part of a condition."""

    text: str
    true: int  # cases
    false: int
    error: int


class RuleCoverage(Struct, frozen=True, kw_only=True):
    """One rule."""

    policy: str
    rule: str
    file: str
    line: int
    effect: Effect
    mode: Mode
    decided: int  # cases that it decided, or in shadow mode would have
    refused: int  # cases on its route that it did not match
    can_refuse: bool
    parts: tuple[PartCoverage, ...]

    @property
    def missing(self) -> list[str]:
        """What no case has shown, in words."""
        found = [] if self.decided else ["it never decides"]
        if self.can_refuse and not self.refused:
            found.append("no request on its route is refused by it")
        for part in self.parts:
            text = " ".join(part.text.split())
            found += [f"`{text}` is never {name}" for name in ("true", "false") if not getattr(part, name)]
        return found

    @property
    def points(self) -> int:
        """How many things there are to show."""
        return 1 + self.can_refuse + 2 * len(self.parts)


class Coverage(Struct, frozen=True):
    """All rules, in order of the documents."""

    rules: tuple[RuleCoverage, ...]

    @property
    def total(self) -> int:
        """How many things there are to show."""
        return sum(rule.points for rule in self.rules)

    @property
    def covered(self) -> int:
        """How many of them some case shows."""
        return self.total - sum(len(rule.missing) for rule in self.rules)

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means all."""
        return 100 * self.covered // self.total if self.total else 100


def see(case: Case, asked: Asked, decision: Decision, policies: PolicySet, closer: Closer) -> list[Seen]:
    """What a case has shown of the rules on its route."""
    if decision.reason not in _BY_POLICY:
        return []
    if isinstance(asked, Connection):
        traces = policies.explain_connection(asked, closer)
    elif isinstance(asked, Request):
        evidence = decision.evidence
        traces = policies.explain(asked, evidence.subject, evidence.tenant, case.now, closer)
    else:
        return []
    return [_seen(trace) for trace in traces if trace.on_route]


def _seen(trace: RuleTrace) -> Seen:
    parts = enumerate(trace.branches) if trace.asked else ()
    reached = {number: branch.result for number, branch in parts if branch.result != "not reached"}
    return Seen((trace.policy, trace.rule), trace.result != "match", reached)


def coverage(documents: Documents, decided: Iterable[RuleKey], seen: Iterable[Seen], closer: Closer) -> Coverage:
    """Everything together. `decided` has a rule once for each case that it decided."""
    times: dict[RuleKey, int] = {}
    for rule in decided:
        times[rule] = times.get(rule, 0) + 1
    refused: dict[RuleKey, int] = {}
    parts: dict[tuple[RuleKey, int, str], int] = {}
    for each in seen:
        refused[each.rule] = refused.get(each.rule, 0) + each.refused
        for number, result in each.parts.items():
            key = (each.rule, number, result)
            parts[key] = parts.get(key, 0) + 1
    rules = []
    for document in documents.by_kind["AccessPolicy"]:
        spec: AccessPolicySpec = document.spec
        for position, rule_spec in enumerate(spec.rules):
            name = (document.name, rule_name(rule_spec, position))
            rules.append(
                RuleCoverage(
                    policy=name[0],
                    rule=name[1],
                    file=document.tree.file,
                    line=document.tree.line(("spec", "rules", position)),
                    effect=spec.effect,
                    mode=spec.mode,
                    decided=times.get(name, 0),
                    refused=refused.get(name, 0),
                    can_refuse=_can_refuse(spec, rule_spec),
                    parts=tuple(
                        PartCoverage(
                            text=part.text,
                            true=parts.get((name, part.number, "true"), 0),
                            false=parts.get((name, part.number, "false"), 0),
                            error=parts.get((name, part.number, "error"), 0),
                        )
                        for part in (closer.branches(rule_spec.condition).parts if has_condition(rule_spec) else ())
                    ),
                )
            )
    return Coverage(tuple(rules))


def has_condition(rule: RuleSpec) -> bool:
    """Whether the condition says anything: `true` is how one says that anyone may."""
    return rule.condition.strip() not in {"", "true"}


def _can_refuse(spec: AccessPolicySpec, rule: RuleSpec) -> bool:
    """Whether the rule says anything beside its route."""
    return bool(spec.tenant or rule.from_ or rule.when or has_condition(rule))
