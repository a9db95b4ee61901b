"""What no upstream gets as the client made it, whichever rule let the request pass.

Rule 1: headers that policies set are removed unless the matching rule sets them: an upstream that trusts a header
cannot know by which rule a request came to it (T-27). In another spelling of a header that the rule sets (`_` for `-`)
nothing is removed here, for the writer of answers removes those itself (T-28).
Rule 2: headers that decide, in a policy or a guard, reach upstreams in the spelling that was read and in no other, for
many upstreams would take the other for it (T-28).
Rule 3: shadow rules count: they may be in force tomorrow.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from extauthz.model.problems import Problem
from extauthz.policy.header_names import has_twins, one_spelling
from extauthz.policy.rule import Rule

MAX_UPSTREAM_HEADERS = 128  # different ones; every allow carries the names of all
MAX_READ_HEADERS = 128  # different ones that have other spellings; every allow carries those of all


def guarded_headers(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The upstream headers that any rule sets, sorted."""
    return tuple(sorted({name for rule in rules if rule.plan is not None for name, _ in rule.plan.upstream_headers}))


def without_twins(rules: Iterable[Rule], others: Iterable[str] = ()) -> tuple[str, ...]:
    """The headers by which any rule decides, and `others`, as far as they have other spellings; sorted."""
    names = {name for rule in rules for name in rule.headers}.union(others)
    return tuple(sorted(filter(has_twins, names)))


def with_guard(rule: Rule, guarded: tuple[str, ...], sole: tuple[str, ...]) -> Rule:
    """The rule, its obligations removing what it does not set, and the other spellings of `sole`."""
    plan = rule.plan
    if plan is None:
        return rule
    own = {one_spelling(name) for name, _ in plan.upstream_headers}
    removed = (*plan.removed_headers, *(name for name in guarded if one_spelling(name) not in own))
    return replace(rule, plan=replace(plan, removed_headers=tuple(dict.fromkeys(removed)), removed_twins=sole))


def check_numbers(policies: Iterable[tuple[str, list[Rule], list[Problem]]], read_elsewhere: Iterable[str]) -> bool:
    """Note an error at the first policy, by name, that sets or reads one header too many; true when there is none."""
    fits = True
    written: set[str] = set()
    read = set(without_twins((), read_elsewhere))
    for _, rules, problems in policies:
        for verb, names, found, limit in (
            ("set", written, guarded_headers(rules), MAX_UPSTREAM_HEADERS),
            ("read", read, without_twins(rules), MAX_READ_HEADERS),
        ):
            new = [name for name in found if name not in names]
            if new and len(names) <= limit < len(names) + len(new):
                kind = "upstream headers" if verb == "set" else "request headers with `-` or `_`"
                one = new[limit - len(names)]
                message = f"policies {verb} more than {limit} different {kind}, `{one}` is one more"
                problems.append(Problem(("spec", "rules"), message))
                fits = False
            names.update(new)
    return fits
