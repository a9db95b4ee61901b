"""Why each candidate rule did or did not match, part by part, for people at a terminal.

Rule 1: it runs the very tests that `evaluate` runs.
Rule 2: values that may identify or unlock something are masked.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from extauthz.policy.asked import Asked
from extauthz.policy.closer import BranchTrace, Closer
from extauthz.policy.document import Effect, Mode
from extauthz.policy.matchers import PathMatcher
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
    wanted: str = ""  # what the policy asks for, as it is written


class RuleTrace(Struct, frozen=True):
    """One rule that could have matched."""

    policy: str
    rule: str
    effect: Effect
    mode: Mode
    result: Result
    route: str  # the path pattern that matched, "" when none did
    parts: tuple[PartTrace, ...]  # in the order in which they are written
    branches: tuple[BranchTrace, ...] = ()  # the parts of the condition, as far as anybody asked to see them
    on_route: bool = True  # host, path and method are what the rule speaks about
    asked: bool = False  # everything before the condition holds, so that the condition was asked

    @property
    def failed(self) -> tuple[PartTrace, ...]:
        """The parts that speak against a match."""
        return tuple(part for part in self.parts if part.result != "match")


def trace_rule(rule: Rule, asked: Asked, closer: Closer | None = None) -> RuleTrace:
    """Try every part of a rule, also behind the first that fails; with `closer` the parts of its condition, too."""
    outcome, route = rule.test(asked)
    parts = [*_scope(rule, asked), *_sources(rule, asked), *_operations(rule, asked), *_whens(rule, asked)]
    ways = _ways(rule, asked)
    branches: tuple[BranchTrace, ...] = ()
    if closer is not None and rule.condition is not None and ways:
        asked.params = ways[0][0]
        branches = closer.trace(rule.condition.text, asked)
    if outcome == YES and rule.plan is not None and rule.plan.resolve(asked) is None:
        outcome = ERROR
        parts.append(PartTrace("obligations", "error", "a value could not be computed"))
    return RuleTrace(
        policy=rule.policy,
        rule=rule.name,
        effect=rule.effect,
        mode=rule.mode,
        result=_WORDS[outcome],
        route=route,
        parts=tuple(parts),
        branches=branches,
        on_route=bool(rule.ways(asked)),
        asked=any(held for _, held in ways) and _is_caller(rule, asked),
    )


def _ways(rule: Rule, asked: Asked) -> list[tuple[dict[str, str], bool]]:
    """The captures of each way to match the path, and whether `when` holds with them; first where it does."""
    found = []
    for way in rule.ways(asked):
        params = way.params(asked.request.segments)
        if params is not None:
            asked.params = params
            found.append((params, all(part.test(asked) == YES for part in rule.whens)))
    return sorted(found, key=lambda each: not each[1])


def _is_caller(rule: Rule, asked: Asked) -> bool:
    return rule.tenant in {"", asked.tenant} and rule.test_sources(asked) == YES


def _scope(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    if rule.tenant:
        result: Result = "match" if rule.tenant == asked.tenant else "no match"
        yield PartTrace("tenant", result, asked.tenant or "absent", rule.tenant)
    if rule.scope.hosts is not None:
        wanted = ", ".join(host.text for host in rule.scope.hosts)
        covered: Result = "match" if rule.scope.bind_hosts(asked) else "no match"
        yield PartTrace("match.hosts", covered, asked.request.host, wanted)
    if rule.scope.paths is not None:
        yield _path("match.paths", rule.scope.paths, asked)


def _path(field: str, paths: tuple[PathMatcher, ...], asked: Asked) -> PartTrace:
    result: Result = "match" if covering(paths, asked) else "no match"
    return PartTrace(field, result, asked.request.path, ", ".join(path.text for path in paths))


def _sources(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    for position, source in enumerate(rule.sources or ()):
        for part in source.all_parts():
            yield _trace(f"from[{position}].", part, asked)


def _operations(rule: Rule, asked: Asked) -> Iterator[PartTrace]:
    for position, operation in enumerate(rule.operations or ()):
        for part in operation.parts:
            yield _trace(f"to[{position}].", part, asked)
        if operation.paths is not None:
            yield _path(f"to[{position}].paths", operation.paths, asked)
        if operation.not_paths:
            excluded: Result = "no match" if operation.excludes_path(asked) else "match"
            wanted = f"none of {', '.join(path.text for path in operation.not_paths)}"
            yield PartTrace(f"to[{position}].notPaths", excluded, asked.request.path, wanted)


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
            seen = {"match": "true", "no match": "false"}.get(result, "it erred")
            yield PartTrace("condition", result, seen, rule.condition.text)


def _trace(prefix: str, part: Part, asked: Asked) -> PartTrace:
    return PartTrace(prefix + part.field, _WORDS[part.test(asked)], part.seen(asked), part.wanted)
