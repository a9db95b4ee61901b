"""One compiled rule and how it is tried on a request.

Rule 1: `from`, `to`, `when` and `condition` must all hold; patterns that capture are tried one after the other.
Rule 2: an error counts only if nothing else speaks against the rule; then an allow does not match and a deny denies.
"""

from typing import Final

from msgspec import Struct

from extauthz.policy.asked import Asked
from extauthz.policy.condition import Program
from extauthz.policy.document import Effect, Mode
from extauthz.policy.obligations import Plan
from extauthz.policy.operations import NO_BINDING, Binding, Operation, Scope, bind_paths, names_http
from extauthz.policy.operations import without_http as operation_without_http
from extauthz.policy.outcome import ERROR, NO, SCOPES, YES, Outcome
from extauthz.policy.parts import Part
from extauthz.policy.sources import Source
from extauthz.policy.sources import without_http as source_without_http

CONDITION: Final = "condition"
_Route = tuple[dict[str, str] | None, str]  # None: two patterns captured the same name differently


class Rule(Struct, frozen=True, gc=False):
    """A rule with everything of its policy that it needs."""

    policy: str
    name: str
    effect: Effect
    mode: Mode
    tenant: str
    scope: Scope
    sources: tuple[Source, ...] | None
    operations: tuple[Operation, ...] | None
    whens: tuple[Part, ...]
    condition: Program | None
    plan: Plan | None
    captures: bool  # a capture is read, so every way to match the path counts
    headers: frozenset[str] = frozenset()  # request headers that are read, in lower case

    @property
    def full_name(self) -> str:
        """`policy/rule`, as recorded in `condition_errors`."""
        return f"{self.policy}/{self.name}"

    def test(self, asked: Asked) -> tuple[Outcome, str]:
        """The outcome and the path pattern that matched. Leaves the captures in `asked.params`."""
        if self.tenant and self.tenant != asked.tenant:
            return NO, ""
        source = self._test_sources(asked)
        if source == NO:
            return NO, ""
        erred = ""
        outcome: Outcome = NO
        for params, route in self.routes(asked):
            found = ERROR if params is None else self._test_whens(asked, params)
            if found == YES:
                return source, route
            if found == ERROR and outcome != ERROR:
                outcome, erred = ERROR, route
        return outcome, erred

    def _test_sources(self, asked: Asked) -> Outcome:
        if self.sources is None:
            return YES
        best: Outcome = NO
        for source in self.sources:
            outcome = source.test(asked)
            if outcome == YES:
                return YES
            if outcome == SCOPES and self.effect == "allow":
                best = SCOPES
        return best

    def _test_whens(self, asked: Asked, params: dict[str, str]) -> Outcome:
        asked.params = params
        outcome: Outcome = YES
        for part in self.whens:
            found = part.test(asked)
            if found == NO:
                return NO
            if found == ERROR:
                outcome = ERROR
        if self.condition is None:
            return outcome
        value = self.condition.value(asked)
        if value is True:
            return outcome
        return NO if value is False else ERROR

    def routes(self, asked: Asked) -> list[_Route]:
        """The ways in which the request's host, path and method are what the rule speaks about."""
        hosts = self.scope.bind_hosts(asked)
        if not hosts:
            return []
        scopes = bind_paths(self.scope.paths, asked)
        if not scopes:
            return []
        operations: list[Binding] = [NO_BINDING]
        if self.operations is not None:
            operations = [binding for operation in self.operations for binding in operation.bindings(asked)]
            if not operations:
                return []
        if not self.captures:
            return [({}, operations[0][1] or scopes[0][1])]
        return [
            (_merge(host, scope[0], operation[0]), operation[1] or scope[1])
            for host in hosts
            for scope in scopes
            for operation in operations
        ]

    def needed_scopes(self, asked: Asked) -> tuple[str, ...]:
        """After SCOPES: the scopes of which one is needed, from the first alternative that lacks nothing else."""
        found = (source.needed for source in self.sources or () if source.test(asked) == SCOPES)
        return next(found, ())

    @property
    def names_http(self) -> bool:
        """Whether the rule names what a connection without HTTP does not have."""
        return (
            any(part.http for source in self.sources or () for part in source.all_parts())
            or any(names_http(operation) for operation in self.operations or ())
            or any(part.http for part in self.whens)
            or (self.condition is not None and self.condition.http)
            or self.plan is not None
        )


def _merge(*captures: dict[str, str]) -> dict[str, str] | None:
    merged: dict[str, str] = {}
    for found in captures:
        for name, value in found.items():
            if merged.setdefault(name, value) != value:
                return None
    return merged


def for_connections(rule: Rule) -> Rule | None:
    """The rule as it applies to a Check without HTTP, None when it does not.

    A policy that is limited to hosts, paths or a tenant does not speak about connections. As in Istio, an allow rule
    that names an HTTP attribute never matches, and a deny rule is tried without its HTTP attributes: it denies more.
    """
    if rule.tenant or rule.scope.hosts is not None or rule.scope.paths is not None:
        return None
    if rule.effect == "allow":
        return None if rule.names_http else rule
    sources, operations = rule.sources, rule.operations
    return Rule(
        policy=rule.policy,
        name=rule.name,
        effect=rule.effect,
        mode=rule.mode,
        tenant="",
        scope=rule.scope,
        sources=None if sources is None else tuple(map(source_without_http, sources)),
        operations=None if operations is None else tuple(map(operation_without_http, operations)),
        whens=tuple(part for part in rule.whens if not part.http),
        condition=None if rule.condition is None or rule.condition.http else rule.condition,
        plan=None,
        captures=False,
    )
