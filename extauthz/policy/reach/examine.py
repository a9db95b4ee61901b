"""What rules say that cannot be meant: no request matches them, or others always come first.

Rule 1: without errors only. A rule is reported once, for the first of these that holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from extauthz.model.problems import Location, Problem
from extauthz.policy.condition import Conditions
from extauthz.policy.document import NamedPolicy
from extauthz.policy.reach.boxes import Box, Span, spans
from extauthz.policy.reach.empty import emptiness
from extauthz.policy.reach.facts import NO_FACTS, Facts, facts
from extauthz.policy.reach.formula import Condition, read_condition
from extauthz.policy.reach.shadow import names_of, shadowed
from extauthz.policy.reach.solve import ERROR, TRUE, possible_results


class Examined:
    """The rules of a bundle as boxes, and their conditions as formulas."""

    def __init__(self, policies: Sequence[NamedPolicy], data: Mapping[str, object]) -> None:
        """`policies` without errors; `data` as conditions read it."""
        compiler = Conditions(data)
        self.spans = spans(list(policies))
        self.conditions: dict[str, Condition | None] = {span.condition: None for span in self.spans if span.condition}
        for text in self.conditions:
            self.conditions[text] = read_condition(text, compiler)

    def problems(self, outside: Callable[[Span, Box], str]) -> Iterator[tuple[int, Problem]]:
        """Findings about rules, each with the index of its policy as given.

        `outside` says why no request comes to a box whatever the rule says, "" when one may.
        """
        live: list[Span] = []
        for span in self.spans:
            found, reported = self._rule(span, outside)
            yield from ((span.document, problem) for problem in reported)
            if found is not None:
                live.append(found)
        for each in shadowed(live, self.conditions):
            span = each.span
            verb = "is recorded" if span.mode == "shadow" else "decides"
            denies = each.by[0].effect != span.effect
            if len(each.by) == 1:
                how = f"{'denies' if denies else 'is tried before'} and covers all of it"
            else:
                how = f"{'deny' if denies else 'are tried before'} and together cover all of it"
            message = f"never {verb}: {names_of(each.by)} {how}: remove it, or narrow what comes before"
            yield span.document, Problem(_at(span), message, "warning", "shadowed-rule")

    def _rule(self, span: Span, outside: Callable[[Span, Box], str]) -> tuple[Span | None, list[Problem]]:
        """The rule with the boxes that requests can be in; None when there are none."""
        if not span.boxes:
            return None, []
        connections = span.decides_connections
        reasons = [emptiness(box, span.effect, connections=connections) or outside(span, box) for box in span.boxes]
        if all(reasons):
            message = f"no request can match: {reasons[0]}"
            return None, [
                Problem(_at(span), f"{message}: correct it or remove the rule", "warning", "unreachable-rule")
            ]
        boxes = tuple(box for box, reason in zip(span.boxes, reasons, strict=True) if not reason)
        problems = list(_dead_alternatives(span, reasons))
        if why := self._never_true(span, boxes):
            problems.append(Problem((*_at(span), "condition"), why, "warning", "never-true-condition"))
            return None, problems
        return replace(span, boxes=boxes), problems

    def _never_true(self, span: Span, boxes: tuple[Box, ...]) -> str:
        condition = self.conditions.get(span.condition)
        if condition is None:
            return ""
        known = [facts(box, span.effect) for box in boxes]
        if any(possible_results(condition.formula, each) & TRUE for each in known):
            return ""
        alone = possible_results(condition.formula, NO_FACTS)
        if not alone & TRUE:
            why = "whatever the request"
            if alone == ERROR:
                why = "for it always errs"
        else:
            why = f"for it contradicts {_culprit(condition, known)}"
        if span.effect == "deny":
            return f"can never be true, {why}: only what cannot be computed is denied, correct it or remove the rule"
        return f"can never be true, {why}: correct it or remove the rule"


def _culprit(condition: Condition, known: Sequence[Facts]) -> str:
    """The field that alone makes the condition impossible in every box, or the rule as a whole."""
    names = {name for each in known for name in each}
    for name in sorted(names):
        fields = []
        for each in known:
            one = {name: each[name]} if name in each else {}
            if possible_results(condition.formula, one) & TRUE:
                break
            fields += [fact.field for fact in each[name]]
        else:
            return " and ".join(f"`{field}`" for field in dict.fromkeys(fields))
    return "the rest of the rule"


def _dead_alternatives(span: Span, reasons: list[str]) -> Iterator[Problem]:
    """Alternatives that no request can be, beside others that some can."""
    for what, index in (("from", "source"), ("to", "operation")):
        for at in sorted({getattr(box, index) for box in span.boxes} - {-1}):
            own = [reason for box, reason in zip(span.boxes, reasons, strict=True) if getattr(box, index) == at]
            if all(own):
                message = f"no request can be this: {own[0]}: correct it or remove it"
                yield Problem((*_at(span), what, at), message, "warning", "dead-alternative")


def _at(span: Span) -> Location:
    return ("spec", "rules", span.position)
