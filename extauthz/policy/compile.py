"""Documents to rules: every policy of a bundle at once, with every defect noted where it is.

Rule 1: never raises for bad input. A set compiled with errors must not be put in force.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from extauthz.model.letting_go import in_order_of, let_go
from extauthz.model.problems import Location, Problem, suggestion
from extauthz.policy.attributes import claim_read, compile_when, header_read
from extauthz.policy.condition import Conditions, Program
from extauthz.policy.document import NamedPolicy, Names, RuleSpec, rule_name
from extauthz.policy.evaluate import PolicySet, PolicySummary
from extauthz.policy.guard import check_numbers
from extauthz.policy.kinds import callers_by_kind
from extauthz.policy.lint import lint
from extauthz.policy.obligations import compile_obligations
from extauthz.policy.operations import Operation, Scope, compile_operation, compile_scope
from extauthz.policy.parts import Draft
from extauthz.policy.rule import Rule
from extauthz.policy.sources import compile_source

# Expressions that no policy has any more are kept up to this number, and up to as many as there are others.
_OLD_EXPRESSIONS: Final = 1_000


class _Known:
    """One policy."""

    __slots__ = ("doubts", "problems", "rules", "spec", "summary")

    def __init__(self, policy: NamedPolicy, rules: list[Rule], problems: list[Problem]) -> None:
        self.spec, self.rules, self.problems = policy.spec, rules, problems
        self.summary = _summary(policy)
        self.doubts: list[Problem] | None = None  # of `lint`, for the names that there are


class PolicyMemory:
    """The rules of policies as they were compiled last, with what was said about them."""

    def __init__(self) -> None:
        self._conditions: Conditions | None = None
        self._needed = 0  # expressions, when all were compiled last
        self._known: dict[str, _Known] = {}
        self._names = Names()
        self._last: tuple[list[_Known], frozenset[str], PolicySet] | None = None

    def conditions(self, data: Mapping[str, object]) -> Conditions:
        """What compiles expressions. With data that what is known was not compiled for, nothing is known any more."""
        conditions = self._conditions
        if conditions is None or conditions.count > 2 * self._needed + _OLD_EXPRESSIONS or not conditions.replace(data):
            let_go(self._known, *(self._last[:1] if self._last is not None else ()))
            conditions, self._last, self._needed = Conditions(data), None, 0
        self._conditions = conditions
        return conditions

    def keep(self, policies: Iterable[NamedPolicy]) -> None:
        """Forget policies that are no longer there."""
        names = {policy.name for policy in policies}
        for name in [name for name in self._known if name not in names]:
            del self._known[name]

    def find(
        self, policies: Iterable[NamedPolicy], conditions: Conditions, names: Names, problems: list[list[Problem]]
    ) -> list[_Known]:
        """Each policy compiled and linted now, unless this very document was before."""
        if names != self._names:
            self._names = names
            for known in self._known.values():
                known.doubts = None
        found = []
        for policy, told in zip(policies, problems, strict=True):
            known = self._compile(policy, conditions)
            if known.doubts is None:
                known.doubts = lint(policy.spec, names)
            told.extend((*known.problems, *known.doubts))
            found.append(known)
        self._needed = self._needed or conditions.count
        return found

    def _compile(self, policy: NamedPolicy, conditions: Conditions) -> _Known:
        known = self._known.get(policy.name)
        if known is None or known.spec is not policy.spec:
            problems: list[Problem] = []
            rules = _compile_policy(policy, conditions, problems)
            known = self._known[policy.name] = _Known(policy, rules, problems)
        return known

    def same(self, found: list[_Known], read_headers: frozenset[str]) -> PolicySet | None:
        """The set that was made of exactly these."""
        if self._last is None or self._last[1] != read_headers or len(found) != len(self._last[0]):
            return None
        for mine, last in zip(found, self._last[0], strict=True):  # `all(map(...))` keeps others waiting for its end
            if mine is not last:
                return None
        return self._last[2]

    def note(self, found: list[_Known], read_headers: frozenset[str], made: PolicySet) -> None:
        """Remember what was made of these."""
        before, self._last = self._last, (found, read_headers, made)
        if before is not None:
            let_go(before[0])  # those that changed are nobody's any more


def compile_policies(
    policies: Sequence[NamedPolicy],
    names: Names,
    data: Mapping[str, object],
    problems: list[list[Problem]],
    read_headers: frozenset[str] = frozenset(),
    memory: PolicyMemory | None = None,
) -> PolicySet:
    """Compile and lint. `problems` has one list for each policy, in the same order, and is appended to.

    `data` by file name, as lists, maps with text keys and scalars; it must not change any more. `read_headers`, in
    lower case, are those by which guards decide. `memory` knows policies from the last time.
    """
    memory = memory or PolicyMemory()
    conditions = memory.conditions(data)
    memory.keep(policies)
    known = memory.find(policies, conditions, names, problems)
    if (same := memory.same(known, read_headers)) is not None:
        other = same.over(conditions.facts)
        memory.note(known, read_headers, other)  # or the data of the first would never be freed
        return other
    named = [*in_order_of(zip(known, problems, strict=True), lambda entry: entry[0].summary.name)]
    fits = check_numbers(((each.summary.name, each.rules, told) for each, told in named), read_headers)
    made = PolicySet(
        [rule for each, _ in named for rule in each.rules],
        tuple(each.summary for each, _ in named),
        read_headers,
        conditions.facts,
    )
    let_go(named)
    if fits:
        memory.note(known, read_headers, made)
    return made


def _summary(policy: NamedPolicy) -> PolicySummary:
    spec = policy.spec
    rules = tuple(rule_name(rule, position) for position, rule in enumerate(spec.rules))
    return PolicySummary(policy.name, spec.effect, spec.mode, spec.tenant, rules)


def _compile_policy(policy: NamedPolicy, conditions: Conditions, problems: list[Problem]) -> list[Rule]:
    draft = Draft(policy.spec.effect, problems)
    scope = compile_scope(policy.spec.match, draft)
    return [
        _compile_rule(policy, rule, position, scope, conditions, draft)
        for position, rule in enumerate(policy.spec.rules)
    ]


def _compile_rule(
    policy: NamedPolicy, spec: RuleSpec, position: int, scope: Scope, conditions: Conditions, draft: Draft
) -> Rule:
    location: Location = ("spec", "rules", position)
    sources = None
    if spec.from_ is not None:
        _refuse_empty(spec.from_, draft, (*location, "from"))
        places = enumerate(spec.from_)
        sources = tuple(compile_source(source, draft, (*location, "from", at)) for at, source in places)
    operations = None
    if spec.to is not None:
        _refuse_empty(spec.to, draft, (*location, "to"))
        places_to = enumerate(spec.to)
        operations = tuple(compile_operation(operation, draft, (*location, "to", at)) for at, operation in places_to)
    captures = _captures(scope, operations)
    whens = [
        part
        for at, when in enumerate(spec.when or ())
        for part in compile_when(when, captures, draft, (*location, "when", at))
    ]
    condition = _compile_condition(spec.condition, conditions, draft, (*location, "condition"))
    plan = None
    if spec.obligations is not None:
        plan = compile_obligations(spec.obligations, conditions, draft, (*location, "obligations"))
    programs = [*([condition] if condition else []), *(plan.programs() if plan else [])]
    for program in programs:
        _check_params(program, captures, draft, location)
    return Rule(
        policy=policy.name,
        name=rule_name(spec, position),
        effect=policy.spec.effect,
        mode=policy.spec.mode,
        tenant=policy.spec.tenant,
        scope=scope,
        sources=sources,
        operations=operations,
        whens=tuple(whens),
        condition=condition,
        plan=plan,
        captures=any(part.field.startswith("params[") for part in whens)
        or any(program.params is None or program.params for program in programs),
        headers=frozenset(name for part in whens if (name := header_read(part))).union(
            *(program.headers for program in programs)
        ),
        claims=frozenset(name for part in whens if (name := claim_read(part))).union(
            *(program.claims or () for program in programs)
        ),
        callers_by_kind=callers_by_kind(sources),
    )


def _refuse_empty(alternatives: tuple[object, ...], draft: Draft, location: Location) -> None:
    if not alternatives:
        draft.fault(location, "an empty list matches nothing: leave the field out to match anything")


def _captures(scope: Scope, operations: tuple[Operation, ...] | None) -> frozenset[str]:
    """Every name that a pattern of the rule can capture."""
    names = {host.capture for host in scope.hosts or ()}
    patterns = [*(scope.patterns or ())]
    for operation in operations or ():
        patterns += operation.patterns or ()
    return frozenset(names.union(*(pattern.names for pattern in patterns)) - {""})


def _compile_condition(text: str, conditions: Conditions, draft: Draft, location: Location) -> Program | None:
    if not text:
        return None
    program, flaws = conditions.condition(text)
    for flaw in flaws:
        draft.note(location, flaw.message, flaw.severity, flaw.code)
    return program


def _check_params(program: Program, captures: frozenset[str], draft: Draft, location: Location) -> None:
    for name in sorted((program.params or frozenset()) - captures):
        hint = suggestion(name, sorted(captures)) or ": no path or host pattern of this rule captures anything"
        draft.fault(location, f"`{program.text}` reads `params.{name}` but nothing captures it{hint}")
