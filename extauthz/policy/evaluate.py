"""The verdict of all policies on one request: default deny, deny over allow, the first allow by name and order.

Rule 1: the order of files never matters: policies are tried by name, their rules as written.
Rule 2: shadow policies are recorded and change nothing.
Rule 3: only rules that the index names are visited, and for a kind of requests that was seen before only those of them
that are left to decide (see `kinds`).
Rule 4: a header that any rule sets for upstreams reaches none of them as the client made it (T-27), and one that any
rule reads, only in the spelling that was read (T-28).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from itertools import chain, takewhile
from typing import Final

from msgspec import Struct

from extauthz.model.decision import NO_OBLIGATIONS, Obligations, ShadowMatch
from extauthz.model.memo import Memo
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Request
from extauthz.model.subject import Subject
from extauthz.policy.asked import Ask, Asked, asked_of_connection
from extauthz.policy.claims import ClaimsReader
from extauthz.policy.closer import Closer
from extauthz.policy.document import Effect, Mode
from extauthz.policy.explain import RuleTrace, trace_rule
from extauthz.policy.facts import NO_FACTS, Facts
from extauthz.policy.gates import Look, caller, kind_of_caller
from extauthz.policy.guard import guarded_headers, with_guard, without_twins
from extauthz.policy.index import PortIndex, RouteIndex
from extauthz.policy.keep import PolicyReads, policy_reads
from extauthz.policy.kinds import Kind, Kinds
from extauthz.policy.outcome import ERROR, NO, SCOPES, YES, Outcome
from extauthz.policy.rule import Candidate, Rule, for_connections


class Verdict(Struct, frozen=True, gc=False, cache_hash=True):
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


class Shortlist(Struct, frozen=True, gc=False):
    """What is left to decide for every request of a kind."""

    candidates: tuple[Candidate, ...] = ()  # in the order in which they are tried; none when `otherwise` says it all
    first: tuple[Candidate, ...] = ()  # those of them at the beginning that must be tried on each request
    otherwise: Verdict | None = None  # when none of these matches; None: others must be tried, too
    is_long: bool = False  # too many to be kept: they are looked up each time, for each caller


Tried = tuple[Rule, tuple[Outcome, str]]

_FEW: Final = 16
_LONG: Final = Shortlist(is_long=True)
_MAX_CANDIDATES: Final = 64
# Shortlists of a set: a bank with a thousand tenants on hosts of their own has some ten thousand.
_MAX_SHORTLISTS: Final = 32_768
_MAX_BYTES: Final = 32 << 20
_ENTRY_BYTES, _CANDIDATE_BYTES = 800, 250  # measured: 620 without texts and candidates, 190 each


class PolicySet:
    """All policies of a bundle, compiled and indexed."""

    def __init__(
        self,
        rules: Sequence[Rule],
        policies: tuple[PolicySummary, ...] = (),
        read_headers: frozenset[str] = frozenset(),
        facts: Facts = NO_FACTS,
    ) -> None:
        """`rules` in order of policy name, then as written; `read_headers` decide elsewhere; `facts`: the data."""
        self.policies = policies
        # By policy, for whoever must tell a name from something made up; of many rules a set.
        self.rule_names = {
            policy.name: policy.rules if len(policy.rules) <= _FEW else frozenset(policy.rules) for policy in policies
        }
        self._facts = facts
        self._ask: Ask = Asked
        # Shadow, deny, allow: one pass over the candidates then ends at the first match that is enforced.
        ranks: tuple[list[Rule], ...] = ([], [], [])
        for rule in rules:
            ranks[_RANK[rule.effect, rule.mode]].append(rule)
        ordered = [*chain.from_iterable(ranks)]
        guarded = guarded_headers(ordered)
        sole = without_twins(ordered, read_headers)
        self._rules = tuple(with_guard(rule, guarded, sole) for rule in ordered)
        # For rules without obligations: one object for all.
        bare = Obligations(removed_headers=guarded, removed_twins=sole)
        self._bare = NO_OBLIGATIONS if bare == NO_OBLIGATIONS else bare
        self._routes = RouteIndex(self._rules)
        self._connection_rules = tuple(found for rule in self._rules if (found := for_connections(rule)) is not None)
        self._ports = PortIndex(self._connection_rules)
        self._kinds = Kinds(self._rules)
        self._claims = ClaimsReader(name for rule in rules for name in rule.claims)
        self._shortlists: Memo[Kind, Shortlist] = Memo(_MAX_SHORTLISTS, _MAX_BYTES, _weigh)

    def over(self, facts: Facts) -> "PolicySet":
        """The same policies over other data. All else is shared, what is remembered of kinds of requests too."""
        other = copy(self)
        other._facts = facts  # noqa: SLF001 - our own
        return other

    def rebuilt(self, change: Callable[[Rule], Rule], ask: Ask) -> "PolicySet":
        """The same policies with every rule changed, asked by what `ask` makes of a request."""
        other = PolicySet([change(rule) for rule in self._rules], self.policies, facts=self._facts)
        other._ask = ask
        return other

    def parts(self) -> tuple[object, ...]:
        """What of it is large, and may be shared with the set that comes next (see `letting_go`)."""
        return self._rules, self._connection_rules, self.policies, self.rule_names, self._routes, self._shortlists

    @property
    def texts(self) -> frozenset[str]:
        """Every text that is written in an expression."""
        return frozenset[str]().union(*(program.texts for rule in self._rules for program in rule.programs))

    @property
    def slow_conditions(self) -> tuple[tuple[str, str], ...]:
        """Rules (`policy/rule`) with an expression that is left to CEL's evaluator at each request, and for what."""
        return tuple(
            sorted((rule.full_name, program.slow) for rule in self._rules for program in rule.programs if program.slow)
        )

    @cached_property
    def reads(self) -> PolicyReads:
        """What the rules read of a request, for the journal; the same over other data."""
        return policy_reads(self._rules)

    @property
    def files(self) -> Mapping[str, object]:
        """The data that the rules are decided over, by file name."""
        return self._facts.files

    @property
    def kinds(self) -> Kinds:
        """What the rules can tell apart."""
        return self._kinds

    @property
    def bare(self) -> Obligations:
        """What an allow adds that no rule gave: nothing that a client sent under a guarded name passes with it."""
        return self._bare

    def evaluate(self, request: Request, subject: Subject, tenant: str, now: int) -> Verdict:
        """The verdict on a request to a resource of `tenant` ("" when none); `now` in whole seconds since the epoch."""
        return self.judge(self.shortlist(request, subject, tenant, now), request, subject, tenant, now)

    def shortlist(self, request: Request, subject: Subject, tenant: str, now: int) -> Shortlist:
        """What is left to decide: the same for all requests that `Kinds` cannot tell apart."""
        asked = self._ask(request, subject, tenant, now, self._claims, self._facts)
        kind = self._kinds.of(asked)
        return _LONG if kind is None else self._shortlists.get(kind) or self._find(kind, asked)

    def judge(self, found: Shortlist, request: Request, subject: Subject, tenant: str, now: int) -> Verdict:
        """The verdict on a request whose shortlist is known."""
        first, otherwise = found.first, found.otherwise
        if otherwise is not None and not first:
            return otherwise
        asked = self._ask(request, subject, tenant, now, self._claims, self._facts)
        for place, candidate in enumerate(first):
            tried = candidate.test(asked)
            if tried[0] != NO:
                behind = _try(found.candidates[place + 1 :], asked)
                return _decide(chain(((candidate.rule, tried),), behind), asked, self._bare)
        if otherwise is not None:
            return otherwise
        candidates = self._candidates(asked, caller) if found.is_long else found.candidates
        return _decide(_try(candidates, asked), asked, self._bare)

    def _find(self, kind: Kind, asked: Asked) -> Shortlist:
        """The shortlist of a kind, by the example of one request."""
        candidates: list[Candidate] = []
        for candidate in self._candidates(asked, kind_of_caller):
            candidates.append(candidate)
            if candidate.decides:
                break
        found = _LONG
        if len(candidates) <= _MAX_CANDIDATES:
            first = tuple(takewhile(lambda candidate: not candidate.is_settled, candidates))
            settled = candidates[len(first) :]
            otherwise = None
            if all(candidate.is_settled for candidate in settled):
                otherwise = _decide(_try(settled, asked), asked, self._bare)
            found = Shortlist(tuple(candidates) if first or otherwise is None else (), first, otherwise)
        self._shortlists.put(kind, found)
        return found

    def _candidates(self, asked: Asked, of: Callable[[Asked], Look]) -> Iterator[Candidate]:
        """Rules that cover the route, in the order in which they are tried."""
        request = asked.request
        for position in self._routes.candidates(asked.tenant, request.host, asked.folded, request.method, of(asked)):
            candidate = self._rules[position].candidate(asked)
            if candidate is not None:
                yield candidate

    def evaluate_connection(self, connection: Connection) -> Verdict:
        """The verdict on a connection without HTTP; see `for_connections` for the rules that apply."""
        asked = asked_of_connection(connection, self._facts, self._ask)
        positions = self._ports.candidates(connection.destination.port, caller(asked))
        rules = (self._connection_rules[position].candidate(asked) for position in positions)
        candidates = (candidate for candidate in rules if candidate is not None)
        return _decide(_try(candidates, asked), asked, NO_OBLIGATIONS)

    def explain(
        self, request: Request, subject: Subject, tenant: str, now: int, closer: Closer | None = None
    ) -> list[RuleTrace]:
        """What became of each rule on this route, whoever it is for, in the order in which they are tried."""
        asked = Asked(request, subject, tenant, now, self._claims, self._facts)
        candidates = self._routes.candidates(tenant, request.host, asked.folded, request.method)
        return [trace_rule(self._rules[position], asked, closer) for position in candidates]

    def explain_connection(self, connection: Connection, closer: Closer | None = None) -> list[RuleTrace]:
        """What became of each rule that is tried on a connection without HTTP."""
        asked = asked_of_connection(connection, self._facts)
        return [trace_rule(rule, asked, closer) for rule in self._connection_rules]


def _weigh(kind: Kind, found: Shortlist) -> int:
    return _ENTRY_BYTES + kind.size + _CANDIDATE_BYTES * len(found.candidates)


def _try(candidates: Iterable[Candidate], asked: Asked) -> Iterator[Tried]:
    """Each in its turn, only when it is its turn."""
    for candidate in candidates:
        yield candidate.rule, candidate.test(asked)


def _decide(tried: Iterable[Tried], asked: Asked, bare: Obligations) -> Verdict:
    """`bare` is what an allow without obligations of its own adds."""
    shadow: tuple[ShadowMatch, ...] = ()
    errors: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    for rule, (found, route) in tried:
        if found == NO:
            continue
        if rule.mode == "shadow" and shadow and shadow[-1].policy == rule.policy:
            continue  # the first rule of a shadow policy speaks for it, as it would when enforced
        obligations: Obligations | None = bare
        if found == YES and rule.plan is not None:
            obligations = rule.plan.resolve(asked)
        outcome = ERROR if obligations is None else found
        if outcome == ERROR:
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
