"""Why each candidate rule did or did not match, part by part, for people at a terminal.

Rule 1: it runs the very tests that `evaluate` runs.
Rule 2: values that may identify or unlock something are masked.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from extauthz.policy.asked import Asked
from extauthz.policy.document import Effect, Mode
from extauthz.policy.operations import covering
from extauthz.policy.outcome import ERROR, NO, SCOPES, YES, Outcome
from extauthz.policy.parts import Part
from extauthz.policy.rule import Rule

Result = Literal["no match", "match", "error", "scope missing"]
_WORDS: dict[Outcome, Result] = {NO: "no match", YES: "match", ERROR: "error", SCOPES: "scope missing"}


class PartTrace(Struct, frozen=True):
    """One field of a rule."""

    field: str  # e.g. `from[0].roles`
    result: Result
    seen: str  # the value that was found, masked


class RuleTrace(Struct, frozen=True):
    """One rule that could have matched."""

    policy: str
    rule: str
    effect: Effect
    mode: Mode
    result: Result
    route: str  # the path pattern that matched, "" when none did
    parts: tuple[PartTrace, ...]  # in the order in which they are written

    @property
    def failed(self) -> tuple[PartTrace, ...]:
        """The parts that speak against a match."""
        return tuple(part for part in self.parts if part.result != "match")


def trace_rule(rule: Rule, asked: Asked) -> RuleTrace:
    """Try every part of a rule, also behind the first that fails."""
    outcome, route = rule.test(asked)
    parts = [*_scope(rule, asked), *_sources(rule, asked), *_operations(rule, asked), *_whens(rule, asked)]
    if outcome == YES and rule.plan is not None and rule.plan.resolve(asked) is None:
        outcome = ERROR
        parts.append(PartTrace("obligations", "error", "a value could not be computed"))
    return RuleTrace(rule.policy, rule.name, rule.effect, rule.mode, _WORDS[outcome], route, tuple(parts))


def _scope(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    if rule.tenant:
        yield PartTrace("tenant", "match" if rule.tenant == asked.tenant else "no match", asked.tenant or "absent")
    if rule.scope.hosts is not None:
        yield PartTrace("match.hosts", "match" if rule.scope.bind_hosts(asked) else "no match", asked.request.host)
    if rule.scope.paths is not None:
        found = covering(rule.scope.paths, asked)
        yield PartTrace("match.paths", "match" if found else "no match", asked.request.path)


def _sources(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    for position, source in enumerate(rule.sources or ()):
        for part in source.all_parts():
            yield _trace(f"from[{position}].", part, asked)


def _operations(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    for position, operation in enumerate(rule.operations or ()):
        for part in operation.parts:
            yield _trace(f"to[{position}].", part, asked)
        if operation.paths is not None:
            found = covering(operation.paths, asked)
            yield PartTrace(f"to[{position}].paths", "match" if found else "no match", asked.request.path)
        if operation.not_paths:
            excluded = operation.excludes_path(asked)
            yield PartTrace(f"to[{position}].notPaths", "no match" if excluded else "match", asked.request.path)


def _whens(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    """`when` and `condition`, with the captures of every way to match the path."""
    for way in rule.ways(asked):
        params = way.params(asked.request.segments)
        if params is None:
            yield PartTrace("params", "error", "two patterns captured one name with different values")
            continue
        asked.params = params
        for part in rule.whens:
            yield _trace("when: ", part, asked)
        if rule.condition is not None:
            value = rule.condition.value(asked)
            result: Result = "match" if value is True else "no match" if value is False else "error"
            yield PartTrace("condition", result, {"match": "true", "no match": "false"}.get(result, "it erred"))


def _trace(prefix: str, part: Part, asked: Asked) -> PartTrace:
    return PartTrace(prefix + part.field, _WORDS[part.test(asked)], part.seen(asked))
