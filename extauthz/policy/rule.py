"""One compiled rule and how it is tried on a request.

Rule 1: `from`, `to`, `when` and `condition` must all hold; patterns that capture are tried one after the other.
Rule 2: an error counts only if nothing else speaks against the rule; then an allow does not match and a deny denies.
"""

from copy import copy

from msgspec import Struct
from msgspec.structs import replace

from extauthz.policy.asked import Asked
from extauthz.policy.condition import Program
from extauthz.policy.document import Effect, Mode
from extauthz.policy.matchers import EVERY_PATH, Way
from extauthz.policy.obligations import Plan
from extauthz.policy.operations import Operation, Scope, covering, names_http
from extauthz.policy.operations import without_http as operation_without_http
from extauthz.policy.outcome import ERROR, NO, SCOPES, YES, Outcome
from extauthz.policy.parts import Part
from extauthz.policy.sources import Source
from extauthz.policy.sources import without_http as source_without_http


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
    claims: frozenset[str] = frozenset()  # claims that are read by name
    callers_by_kind: bool = False  # `from` reads nothing but what belongs to the kind of a request (see `kinds`)

    @property
    def full_name(self) -> str:
        """`policy/rule`, as recorded in `condition_errors`."""
        return f"{self.policy}/{self.name}"

    @property
    def programs(self) -> tuple[Program, ...]:
        """Every expression: the condition and those of the obligations."""
        return (*((self.condition,) if self.condition else ()), *(self.plan.programs() if self.plan else ()))

    def test(self, asked: Asked) -> tuple[Outcome, str]:
        """The outcome and the path pattern that matched. Leaves the captures in `asked.params`."""
        candidate = self.candidate(asked)
        return (NO, "") if candidate is None else candidate.test(asked)

    def candidate(self, asked: Asked) -> "Candidate | None":
        """The rule as far as the kind of the request decides it (see `kinds`); None when it cannot match."""
        if self.tenant and self.tenant != asked.tenant:
            return None
        source = self.test_sources(asked) if self.callers_by_kind else None
        ways = () if source == NO else self.ways(asked)
        return Candidate(self, ways, source) if ways else None

    def test_sources(self, asked: Asked) -> Outcome:
        """Whether the caller is one that the rule speaks of: YES, NO, or SCOPES when only a scope is missing."""
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

    def test_whens(self, asked: Asked, params: dict[str, str]) -> Outcome:
        """Whether the rest holds, with these captures: YES, NO or ERROR."""
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

    def ways(self, asked: Asked) -> tuple[Way, ...]:
        """The ways in which the request's host, path and method are what the rule speaks about."""
        hosts = self.scope.bind_hosts(asked)
        if not hosts:
            return ()
        scopes = covering(self.scope.paths, asked)
        if not scopes:
            return ()
        operations = [EVERY_PATH]
        if self.operations is not None:
            operations = [path for operation in self.operations for path in operation.covering(asked)]
            if not operations:
                return ()
        if not self.captures:
            return (Way(operations[0].text or scopes[0].text),)
        return tuple(
            Way(operation.text or scope.text, tuple(host.items()), (*scope.captures, *operation.captures))
            for host in hosts
            for scope in scopes
            for operation in operations
        )

    def needed_scopes(self, asked: Asked) -> tuple[str, ...]:
        """After SCOPES: the scopes of which one would make the rule match, from the first alternative that has some.

        Empty when none helps: elsewhere the rule excludes those that it demands.
        """
        for source in self.sources or ():
            if source.test(asked) == SCOPES:
                helpful = tuple(scope for scope in source.needed if self._would_match(asked, scope))
                if helpful:
                    return helpful
        return ()

    def _would_match(self, asked: Asked, scope: str) -> bool:
        supposed = copy(asked)
        supposed.subject = replace(asked.subject, scopes=(*asked.subject.scopes, scope), likeness=None)
        return self.test(supposed)[0] == YES

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


class Candidate(Struct, frozen=True, gc=False):
    """A rule that covers the route of a request, and what is left to find out about it."""

    rule: Rule
    ways: tuple[Way, ...]
    source: Outcome | None  # of `from`; None: depends on more than the kind of the request

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left: its outcome is the same for every request of the kind."""
        rule = self.rule
        if self.source is None or rule.captures or rule.plan is not None:
            return False
        return not rule.whens and rule.condition is None

    @property
    def decides(self) -> bool:
        """Whether no request of the kind gets to the rules behind this one."""
        return self.is_settled and self.source == YES and self.rule.mode == "enforce"

    def test(self, asked: Asked) -> tuple[Outcome, str]:
        """As `Rule.test`."""
        rule = self.rule
        source = rule.test_sources(asked) if self.source is None else self.source
        if source == NO:
            return NO, ""
        erred = ""
        outcome: Outcome = NO
        for way in self.ways:
            params = way.params(asked.request.segments) if rule.captures else {}
            found = ERROR if params is None else rule.test_whens(asked, params)
            if found == YES:
                return source, way.route
            if found == ERROR and outcome != ERROR:
                outcome, erred = ERROR, way.route
        return outcome, erred


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
