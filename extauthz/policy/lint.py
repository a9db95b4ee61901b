"""Defects that only show when a policy is looked at as a whole. Rules beside others: `reach`.

Rule 1: an error is what can never be meant; what is only suspicious is a warning.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from extauthz.model.problems import Location, Problem
from extauthz.policy.document import AccessPolicySpec, Names, RuleSpec, SourceSpec, rule_name

_RULES: Location = ("spec", "rules")
_POSITIVE = [name for name in SourceSpec.__struct_fields__ if not name.startswith("not_")]
_MAX_LISTED = 12  # names that a message can list


def lint(spec: AccessPolicySpec, names: Names) -> list[Problem]:
    """What is wrong with a policy."""
    found = [*_policy(spec, names), *_rule_names(spec)]
    for position, rule in enumerate(spec.rules):
        found += _rule(spec, rule, names, (*_RULES, position))
    return found


def _policy(spec: AccessPolicySpec, names: Names) -> Iterator[Problem]:
    if spec.tenant and names.tenants and spec.tenant not in names.tenants:
        yield Problem(("spec", "tenant"), unknown("tenant", spec.tenant, names.tenants), code="unknown-name")
    if not spec.rules:
        verb = "allows" if spec.effect == "allow" else "denies"
        yield Problem(_RULES, f"a policy without rules {verb} nothing; `rules: [{{}}]` matches everything")


def _rule_names(spec: AccessPolicySpec) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for position, rule in enumerate(spec.rules):
        name = rule_name(rule, position)
        if first.setdefault(name, position) != position:
            yield Problem(
                (*_RULES, position, "name"), f"`{name}` is also the name of rule {first[name]}", code="duplicate-name"
            )
        if "/" in name:
            yield Problem((*_RULES, position, "name"), f"`{name}` has a `/`, which stands between policy and rule")


def _rule(spec: AccessPolicySpec, rule: RuleSpec, names: Names, location: Location) -> Iterator[Problem]:
    for position, source in enumerate(rule.from_ or ()):
        yield from _source(spec, source, names, (*location, "from", position))
    if rule.when is not None:
        yield from _whens(spec, rule, location)
    if spec.effect == "allow" and not rule.from_ and not rule.when and not rule.condition:
        scope = "" if rule.to or spec.match.paths else " to everything"
        message = f"allows anyone{scope}: name who may in `from`, or say `from: [{{principals: ['*']}}]` or the like"
        yield Problem(location, message, "warning", "allows-anyone")


def _source(spec: AccessPolicySpec, source: SourceSpec, names: Names, location: Location) -> Iterator[Problem]:
    known = {"roles": names.roles, "tenants": names.tenants or None, "issuers": names.issuers or None}
    for field, allowed in known.items():
        for written, values in ((field, getattr(source, field)), (_not(field), getattr(source, f"not_{field}"))):
            for position, value in enumerate(values or ()):
                if allowed is not None and value and "*" not in value and value not in allowed:
                    yield Problem(
                        (*location, written, position), unknown(field[:-1], value, allowed), code="unknown-name"
                    )
    if (
        spec.tenant
        and source.tenants
        and spec.tenant not in source.tenants
        and not any("*" in t for t in source.tenants)
    ):
        message = f"the policy speaks about `{spec.tenant}`, only subjects that may cross tenants can match"
        yield Problem((*location, "tenants"), message, "warning", "foreign-tenant")
    if not any(getattr(source, field) for field in SourceSpec.__struct_fields__):
        yield Problem(
            location, "names nobody, so it matches anyone: leave `from` out if that is meant", "warning", "names-nobody"
        )
    elif spec.effect == "allow" and not any(getattr(source, field) for field in _POSITIVE):
        message = "only excludes, so whoever sends no credential matches: also name who is meant"
        yield Problem(location, message, "warning", "only-excludes")


def _whens(spec: AccessPolicySpec, rule: RuleSpec, location: Location) -> Iterator[Problem]:
    for position, when in enumerate(rule.when or ()):
        if spec.effect == "allow" and when.not_values and not when.values:
            message = f"also matches when `{when.key}` is absent: add `values: ['*']` if it must be there"
            yield Problem((*location, "when", position, "notValues"), message, "warning", "absent-matches")


def _not(field: str) -> str:
    return f"not{field.capitalize()}"


def unknown(what: str, found: str, allowed: frozenset[str]) -> str:
    """An error about an unknown name; long lists of allowed ones are not printed."""
    if near := get_close_matches(found, allowed, n=1):
        return f"unknown {what} `{found}`, did you mean `{near[0]}`?"
    if len(allowed) > _MAX_LISTED:
        return f"unknown {what} `{found}`"
    return f"unknown {what} `{found}`: allowed are {', '.join(f'`{name}`' for name in sorted(allowed))}"
