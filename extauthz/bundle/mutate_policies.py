"""What can be changed in an AccessPolicy: its rules dropped, turned round and widened, one place at a time.

Rule 1: a change that no request under the profiles can see is left out, as far as hosts and paths tell.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from extauthz.bundle.above import Above, vouching
from extauthz.bundle.change import Change
from extauthz.bundle.coverage import has_condition
from extauthz.bundle.mutate_elements import Element, operation_elements, source_elements, when_elements
from extauthz.bundle.mutate_routes import adds_hosts, adds_match_paths, adds_path, rule_paths, wider
from extauthz.model.problems import Location
from extauthz.policy import AccessPolicySpec
from extauthz.policy.branches import Both, Chosen, Either, Negated, Node, Part, split
from extauthz.policy.document import ObligationsSpec, RuleSpec, rule_name

_MAPS = ("upstream_headers", "client_headers", "set_query", "metadata")
_LISTS = ("remove_headers", "remove_query")
_WRITTEN = {
    "upstream_headers": "upstreamHeaders",
    "client_headers": "clientHeaders",
    "set_query": "setQuery",
    "metadata": "metadata",
    "remove_headers": "removeHeaders",
    "remove_query": "removeQuery",
}
_EXPECTED = {"removeHeaders": "removedHeaders", "removeQuery": "removedQuery"}


def policy_changes(name: str, spec: AccessPolicySpec, above: Above) -> Iterator[Change]:
    """Every change of one policy."""
    yield from _policy(name, spec, above)
    for position in range(len(spec.rules)):
        yield from _Rule(name, spec, position, above).changes()


def _policy(name: str, spec: AccessPolicySpec, above: Above) -> Iterator[Change]:
    def change(operator: str, at: Location, what: str, kill: str, *specs: AccessPolicySpec) -> Change:
        return Change(operator, at, "", what, kill, tuple((name, each) for each in specs))  # type: ignore[arg-type]  # one of Operator

    if spec.effect == "deny" and len(spec.rules) > 1:
        kill = f"a case that another policy allows and `{name}` denies"
        yield change("drop-policy", ("metadata", "name"), "the deny policy is dropped", kill)
    if spec.mode == "shadow":
        kill = f"a case with `shadow: [{name}/…]` and the `outcome` that comes without it"
        yield change(
            "enforce", ("spec", "mode"), "`mode: shadow` becomes `enforce`", kill, replace(spec, mode="enforce")
        )
    if spec.tenant:
        kill = f"a case about another tenant than `{spec.tenant}` that the policy would otherwise decide"
        yield change(
            "drop-tenant", ("spec", "tenant"), f"`tenant: {spec.tenant}` is dropped", kill, replace(spec, tenant="")
        )
    match = spec.match
    if match.hosts is not None and adds_hosts(spec, above):
        kill = "a case on a host that `match.hosts` does not name"
        wide = replace(spec, match=replace(match, hosts=None))
        yield change("drop-match", ("spec", "match", "hosts"), "`match.hosts` is dropped", kill, wide)
    if match.paths is not None and adds_match_paths(spec, above.cover):
        kill = "a case on a path that `match.paths` does not cover"
        wide = replace(spec, match=replace(match, paths=None))
        yield change("drop-match", ("spec", "match", "paths"), "`match.paths` is dropped", kill, wide)
    for field in ("hosts", "paths"):
        values: tuple[str, ...] = getattr(match, field) or ()
        for index, value in enumerate(values if len(values) > 1 else ()):
            left = replace(match, **{field: values[:index] + values[index + 1 :]})
            kill = f"a case on `{value}` that the policy decides"
            at: Location = ("spec", "match", field, index)
            yield change(
                "drop-value", at, f"`{value}` is dropped from `match.{field}`", kill, replace(spec, match=left)
            )


class _Rule:
    """The changes of one rule."""

    def __init__(self, policy: str, spec: AccessPolicySpec, position: int, above: Above) -> None:
        self._policy, self._spec, self._position, self._above = policy, spec, position, above
        self._rule = spec.rules[position]
        self._name = rule_name(self._rule, position)
        self._at: Location = ("spec", "rules", position)
        self._who = f"`{policy}/{self._name}`"
        self._does = {"allow": "allows", "deny": "denies"}[spec.effect]

    def changes(self) -> Iterator[Change]:
        """Every change of the rule."""
        yield self._drop()
        yield self._swap()
        if has_condition(self._rule):
            yield from self._condition()
        yield from self._elements()
        yield from self._paths()
        if self._rule.obligations is not None:
            yield from self._obligations(self._rule.obligations)

    def _change(self, operator: str, at: Location, what: str, kill: str, rule: RuleSpec) -> Change:
        rules = list(self._spec.rules)
        # Rules without a name are called by their place, which stays.
        rules[self._position] = replace(rule, name=self._name)
        spec = replace(self._spec, rules=tuple(rules))
        return Change(operator, (*self._at, *at), self._name, what, kill, ((self._policy, spec),))  # type: ignore[arg-type]  # one of Operator

    def _others(self) -> tuple[RuleSpec, ...]:
        named = [replace(rule, name=rule_name(rule, at)) for at, rule in enumerate(self._spec.rules)]
        return tuple(rule for at, rule in enumerate(named) if at != self._position)

    def _drop(self) -> Change:
        others = self._others()
        left = ((self._policy, replace(self._spec, rules=others)),) if others else ()
        kill = f"a case that {self._who} {self._does}: expect its `policy` and `rule`"
        if self._spec.effect == "deny":
            kill = f"a case that another rule allows and {self._who} denies"
        return Change("drop-rule", self._at, self._name, "the rule is dropped", kill, left)

    def _swap(self) -> Change:
        """The rule with the other effect, in a policy of its own."""
        effect = "deny" if self._spec.effect == "allow" else "allow"
        rule = replace(self._rule, name=self._name, obligations=None if effect == "deny" else self._rule.obligations)
        swapped = (f"{self._policy}-swapped", replace(self._spec, effect=effect, rules=(rule,)))
        others = self._others()
        left = ((self._policy, replace(self._spec, rules=others)),) if others else ()
        what = f"the rule's effect becomes `{effect}`"
        kill = f"a case that {self._who} {self._does}"
        return Change("swap-effect", self._at, self._name, what, kill, (*left, swapped))

    def _condition(self) -> Iterator[Change]:
        at: Location = ("condition",)
        text = self._rule.condition
        holds = f"a case in which everything of {self._who} holds but its condition"
        negated = replace(self._rule, condition=f"!({text})")
        yield self._change("negate-condition", at, "the condition is negated", holds, negated)
        yield self._change("drop-condition", at, "the condition is dropped", holds, replace(self._rule, condition=""))
        node, parts = split(text)
        if len(parts) > 1:
            for part, neutral in _neutral(node):
                words = " ".join(part.text.split())
                what = f"`{words}` becomes `{neutral}`"
                kill = f"a case of {self._who} in which only `{words}` is {'false' if neutral == 'true' else 'true'}"
                changed = text[: part.start] + neutral + text[part.end :]
                yield self._change("drop-part", at, what, kill, replace(self._rule, condition=changed))

    def _elements(self) -> Iterator[Change]:
        for element in (*source_elements(self._rule), *operation_elements(self._rule), *when_elements(self._rule)):
            if element.is_hosts_or_paths and not self._is_seen(element):
                continue
            if element.issuers and self._vouching() <= element.issuers:
                continue
            kill = element.kill.replace("{who}", self._who).replace("{does}", self._does)
            yield self._change(element.operator, element.location, element.what, kill, element.rule)

    def _vouching(self) -> set[str]:
        """Who vouches for callers under the profiles above the rule."""
        hosts = self._spec.match.hosts or ("*",)
        paths = rule_paths(self._spec, self._rule)
        return vouching(profile for path in paths for profile in self._above.profiles(hosts, path))

    def _is_seen(self, element: Element) -> bool:
        return adds_path(self._spec, self._rule, element.rule, self._above.cover)

    def _paths(self) -> Iterator[Change]:
        operations = self._rule.to or ()
        for index, operation in enumerate(operations):
            paths = operation.paths or ()
            for place, path in enumerate(paths):
                wide = wider(path)
                if wide is None:
                    continue
                widened = replace(operation, paths=(*paths[:place], wide, *paths[place + 1 :]))
                changed = replace(self._rule, to=(*operations[:index], widened, *operations[index + 1 :]))
                if adds_path(self._spec, self._rule, changed, self._above.cover):
                    what = f"path `{path}` becomes `{wide}`"
                    kill = f"a case under `{wide}` that `{path}` does not cover, and that {self._who} must not decide"
                    yield self._change("widen-path", ("to", index, "paths", place), what, kill, changed)

    def _obligations(self, obligations: ObligationsSpec) -> Iterator[Change]:
        for field in _MAPS:
            entries: dict[str, str] = getattr(obligations, field)
            for name in entries:
                left = {key: value for key, value in entries.items() if key != name}
                yield self._obligation(obligations, field, name, left)
        for field in _LISTS:
            names: tuple[str, ...] = getattr(obligations, field)
            for name in names:
                yield self._obligation(obligations, field, name, tuple(each for each in names if each != name))

    def _obligation(self, obligations: ObligationsSpec, field: str, name: str, left: object) -> Change:
        written = _WRITTEN[field]
        expected = _EXPECTED.get(written, written)
        kill = f"`{expected}` with `{name}` in what a case expects that {self._who} allows"
        changed = replace(self._rule, obligations=replace(obligations, **{field: left}))
        at: Location = ("obligations", written, *((name,) if field in _MAPS else ()))
        return self._change("drop-obligation", at, f"`{name}` is dropped from `{written}`", kill, changed)


def _neutral(node: Node, constant: str = "") -> Iterator[tuple[Part, str]]:
    """Each part with the constant that makes it as if it were not there."""
    match node:
        case Part():
            if constant:
                yield node, constant
        case Both(operands):
            for operand in operands:
                yield from _neutral(operand, "true")
        case Either(operands):
            for operand in operands:
                yield from _neutral(operand, "false")
        case Negated(operand):
            yield from _neutral(operand)
        case Chosen(test, then, otherwise):
            for neutral in ("true", "false"):
                yield from _neutral(test, neutral) if isinstance(test, Part) else ()
            yield from _neutral(then)
            yield from _neutral(otherwise)
