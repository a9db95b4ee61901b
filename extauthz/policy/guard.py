"""Headers that only policies may make: removed from every request that passes, unless the matching rule sets them.

An upstream that trusts a header cannot know by which rule a request came to it (T-27). Headers of shadow rules count:
they may be in force tomorrow. In another spelling of a header that the rule sets (`_` for `-`) nothing is removed here,
for the writer of answers removes those itself (T-28).
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from extauthz.model.problems import Problem
from extauthz.policy.obligations import one_spelling
from extauthz.policy.rule import Rule

MAX_UPSTREAM_HEADERS = 128  # different ones; every allow carries the names of all


def guarded_headers(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The upstream headers that any rule sets, sorted."""
    return tuple(sorted({name for rule in rules if rule.plan is not None for name, _ in rule.plan.upstream_headers}))


def with_guard(rule: Rule, guarded: tuple[str, ...]) -> Rule:
    """The rule, its obligations removing what it does not set."""
    plan = rule.plan
    if plan is None:
        return rule
    own = {one_spelling(name) for name, _ in plan.upstream_headers}
    removed = (*plan.removed_headers, *(name for name in guarded if one_spelling(name) not in own))
    return replace(rule, plan=replace(plan, removed_headers=tuple(dict.fromkeys(removed))))


def check_number(policies: Sequence[tuple[str, list[Rule], list[Problem]]]) -> None:
    """Note an error at the first policy, by name, that sets one header too many."""
    names: set[str] = set()
    for _, rules, problems in policies:
        for name in guarded_headers(rules):
            names.add(name)
            if len(names) > MAX_UPSTREAM_HEADERS:
                message = (
                    f"policies set more than {MAX_UPSTREAM_HEADERS} different upstream headers, `{name}` is one more"
                )
                problems.append(Problem(("spec", "rules"), message))
                return
