"""The verdict of all policies on one request: default deny, deny over allow, the first allow by name and order.

Rule 1: the order of files never matters: policies are tried by name, their rules as written.
Rule 2: shadow policies are recorded and change nothing.
Rule 3: only rules that the index names are visited.
Rule 4: a header that any rule sets for upstreams reaches none of them as the client made it (T-27), and one that any
rule reads, only in the spelling that was read (T-28).
"""

from collections.abc import Sequence

from msgspec import Struct

from extauthz.model.decision import NO_OBLIGATIONS, Obligations, ShadowMatch
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Request
from extauthz.model.subject import Subject
from extauthz.policy.asked import Asked, asked_of_connection
from extauthz.policy.document import Effect, Mode
from extauthz.policy.explain import RuleTrace, trace_rule
from extauthz.policy.guard import guarded_headers, with_guard, without_twins
from extauthz.policy.index import PortIndex, RouteIndex
from extauthz.policy.outcome import ERROR, NO, SCOPES, YES
from extauthz.policy.rule import Rule, for_connections


class Verdict(Struct, frozen=True, gc=False):
    """What the policies say. `route` is the text of the matched path pattern, "" when the rule names none."""

    reason: Reason
    policy: str = ""
    rule: str = ""
    route: str = ""
    obligations: Obligations = NO_OBLIGATIONS
    shadow: tuple[ShadowMatch, ...] = ()
    condition_errors: tuple[str, ...] = ()  # "policy/rule"
    scopes: tuple[str, ...] = ()  # for SCOPE_INSUFFICIENT: one of these is needed


class PolicySummary(Struct, frozen=True):
    """A policy as status and coverage name it."""

    name: str
    effect: Effect
    mode: Mode
    tenant: str
    rules: tuple[str, ...]


_RANK = {("deny", "shadow"): 0, ("allow", "shadow"): 0, ("deny", "enforce"): 1, ("allow", "enforce"): 2}


class PolicySet:
    """All policies of a bundle, compiled and indexed."""

    def __init__(
        self,
        rules: Sequence[Rule],
        policies: tuple[PolicySummary, ...] = (),
        read_headers: frozenset[str] = frozenset(),
    ) -> None:
        """`rules` in order of policy name, then as written; `read_headers` decide elsewhere."""
        self.policies = policies
        # Shadow, deny, allow: one pass over the candidates then ends at the first match that is enforced.
        ordered = sorted(rules, key=lambda rule: _RANK[rule.effect, rule.mode])
        guarded = guarded_headers(ordered)
        sole = without_twins(ordered, read_headers)
        self._rules = tuple(with_guard(rule, guarded, sole) for rule in ordered)
        # For rules without obligations: one object for all.
        bare = Obligations(removed_headers=guarded, removed_twins=sole)
        self._bare = NO_OBLIGATIONS if bare == NO_OBLIGATIONS else bare
        self._routes = RouteIndex(self._rules)
        self._connection_rules = tuple(found for rule in self._rules if (found := for_connections(rule)) is not None)
        self._ports = PortIndex(self._connection_rules)

    def evaluate(self, request: Request, subject: Subject, tenant: str, now: int) -> Verdict:
        """The verdict on a request to a resource of `tenant` ("" when none); `now` in whole seconds since the epoch."""
        asked = Asked(request, subject, tenant, now)
        candidates = self._routes.candidates(tenant, request.host, asked.folded, request.method, asked)
        return _decide([self._rules[position] for position in candidates], asked, self._bare)

    def evaluate_connection(self, connection: Connection) -> Verdict:
        """The verdict on a connection without HTTP; see `for_connections` for the rules that apply."""
        asked = asked_of_connection(connection)
        candidates = self._ports.candidates(connection.destination.port, asked)
        return _decide([self._connection_rules[position] for position in candidates], asked, NO_OBLIGATIONS)

    def explain(self, request: Request, subject: Subject, tenant: str, now: int) -> list[RuleTrace]:
        """What became of each rule on this route, whoever it is for, in the order in which they are tried."""
        asked = Asked(request, subject, tenant, now)
        candidates = self._routes.candidates(tenant, request.host, asked.folded, request.method)
        return [trace_rule(self._rules[position], asked) for position in candidates]


def _decide(rules: list[Rule], asked: Asked, bare: Obligations) -> Verdict:
    """`bare` is what an allow without obligations of its own adds."""
    shadow: tuple[ShadowMatch, ...] = ()
    errors: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    for rule in rules:
        if rule.mode == "shadow" and shadow and shadow[-1].policy == rule.policy:
            continue  # the first rule of a shadow policy speaks for it, as it would when enforced
        outcome, route = rule.test(asked)
        if outcome == NO:
            continue
        obligations: Obligations | None = bare
        if outcome == YES and rule.plan is not None:
            obligations = rule.plan.resolve(asked)
        if outcome == ERROR or obligations is None:
            outcome = ERROR
            errors = (*errors, rule.full_name)
        if rule.mode == "shadow":
            if outcome == YES or (outcome == ERROR and rule.effect == "deny"):
                shadow = (*shadow, ShadowMatch(rule.policy, rule.name, rule.effect))
        elif rule.effect == "deny":
            reason = Reason.CONDITION_ERROR if outcome == ERROR else Reason.POLICY_DENIED
            return Verdict(reason, rule.policy, rule.name, route, shadow=shadow, condition_errors=errors)
        elif outcome == YES and obligations is not None:
            return Verdict(
                Reason.POLICY_ALLOWED, rule.policy, rule.name, route, obligations, shadow, condition_errors=errors
            )
        elif outcome == SCOPES and not scopes:
            scopes = rule.needed_scopes(asked)
    reason = Reason.SCOPE_INSUFFICIENT if scopes else Reason.NO_POLICY_MATCHED
    return Verdict(reason, shadow=shadow, condition_errors=errors, scopes=scopes)
