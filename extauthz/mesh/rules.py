"""A rule of Istio → rules of ours that together match the same requests."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from extauthz.mesh.alternatives import Alternative, from_operation, from_source
from extauthz.mesh.api import From, Rule, To
from extauthz.mesh.context import Context
from extauthz.mesh.documents import unknown_fields
from extauthz.mesh.texts import all_of
from extauthz.mesh.whens import from_conditions
from extauthz.model.problems import Location
from extauthz.policy.condition import MAX_LENGTH

_EVERYTHING: Final = Alternative({})
_OUR_HTTP_FIELDS: Final = frozenset(
    {"requestPrincipals", "notRequestPrincipals", "hosts", "notHosts", "methods", "notMethods", "paths"}
)
_HTTP_FIELDS: Final = ("hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths")


def to_rules(rule: Rule, at: int, context: Context) -> list[dict[str, Any]]:
    """Our rules for `rules[at]`, none when it is left out or matches nothing."""
    location: Location = ("rules", at)
    for name in unknown_fields(context.document.raw(location), Rule):
        context.lose(
            (*location, name),
            f"`{name}` is not known to extauthz; "
            + ("without it this rule denies more than in Istio" if context.denies else "the rule is left out"),
            "write the rule by hand, or leave the field out if it restricts nothing",
            denial=context.denies,
        )
        if not context.denies:
            return []
    sources = _sources(rule.from_ or [], location, context)
    operations = _operations(rule.to or [], location, context)
    whens = from_conditions(rule.when or [], (*location, "when"), context)
    if whens is None or not sources or not operations:
        return []
    entries, expressions = whens
    found = [
        _rule(from_group, to_group, entries, expressions)
        for from_group in _groups(sources)
        for to_group in _groups(operations)
    ]
    for number, each in enumerate(found):
        each["name"] = f"rule-{at}" if len(found) == 1 else f"rule-{at}-part-{number}"
        if not context.denies and _speaks_of_http(rule):
            _keep_to_http(each)
    return _within_length(found, location, context)


def _sources(entries: Sequence[From], location: Location, context: Context) -> list[Alternative]:
    if not entries:
        return [_EVERYTHING]
    found = (
        from_source(entry.source, (*location, "from", at, "source"), context)
        for at, entry in enumerate(entries)
        if _is_known((*location, "from", at), From, context)
    )
    return [alternative for alternative in found if alternative is not None]


def _operations(entries: Sequence[To], location: Location, context: Context) -> list[Alternative]:
    if not entries:
        return [_EVERYTHING]
    found = (
        from_operation(entry.operation, (*location, "to", at, "operation"), context)
        for at, entry in enumerate(entries)
        if _is_known((*location, "to", at), To, context)
    )
    return [alternative for alternative in found if alternative is not None]


def _is_known(location: Location, struct: type[From | To], context: Context) -> bool:
    for name in unknown_fields(context.document.raw(location), struct):
        message = f"`{name}` is not known to extauthz"
        context.lose((*location, name), message, "write the rule by hand", denial=context.denies)
        if not context.denies:
            return False
    return True


def _groups(found: Sequence[Alternative]) -> Iterator[tuple[list[dict[str, list[str]]], tuple[str, ...]]]:
    """Alternatives without an expression stay together; each of the others is a rule of its own."""
    plain = [alternative.fields for alternative in found if not alternative.cel]
    if plain:
        yield plain, ()
    for alternative in found:
        if alternative.cel:
            yield [alternative.fields], alternative.cel


def _rule(
    from_group: tuple[list[dict[str, list[str]]], tuple[str, ...]],
    to_group: tuple[list[dict[str, list[str]]], tuple[str, ...]],
    entries: list[dict[str, object]],
    expressions: tuple[str, ...],
) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": ""}
    for name, (alternatives, _) in (("from", from_group), ("to", to_group)):
        if all(alternatives):  # an alternative without fields is every caller, or every request
            rule[name] = alternatives
    if entries:
        rule["when"] = entries
    if condition := all_of([*from_group[1], *to_group[1], *expressions]):
        rule["condition"] = condition
    return rule


def _speaks_of_http(rule: Rule) -> bool:
    """Whether Istio leaves an ALLOW rule out for connections without HTTP: the whole rule, whatever else it says."""
    return (
        any(entry.source.request_principals or entry.source.not_request_principals for entry in rule.from_ or [])
        or any(getattr(entry.operation, name) for entry in rule.to or [] for name in _HTTP_FIELDS)
        or any(entry.key.startswith("request.") for entry in rule.when or [])
    )


def _keep_to_http(rule: dict[str, Any]) -> None:
    """Let a part name HTTP where only another part of Istio's rule did; every request has a method."""
    fields = {name for entry in (*rule.get("from", ()), *rule.get("to", ())) for name in entry}
    keys = [entry["key"] for entry in rule.get("when", ())]
    if fields & _OUR_HTTP_FIELDS or any(key.startswith("request.") for key in keys):
        return
    if any(name in rule.get("condition", "") for name in ("request.", "subject.")):
        return
    rule["to"] = [{**operation, "methods": ["*"]} for operation in rule.get("to", [{}])]


def _within_length(found: list[dict[str, Any]], location: Location, context: Context) -> list[dict[str, Any]]:
    kept = []
    for rule in found:
        if len(rule.get("condition", "")) <= MAX_LENGTH:
            kept.append(rule)
            continue
        context.lose(
            location,
            f"its expression is longer than {MAX_LENGTH} characters",
            "split the rule into several with fewer values each",
            denial=context.denies,
        )
        if context.denies:
            kept.append({name: value for name, value in rule.items() if name != "condition"})
    return kept
