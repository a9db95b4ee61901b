"""Rules that never decide, because others that cover all of them come first.

Rule 1: rules are found by what they demand, so that no rule is compared with all others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from extauthz.model.paths import MANY, ONE, PathPattern
from extauthz.model.texts import is_safe_value
from extauthz.policy.document import ObligationsSpec
from extauthz.policy.reach.boxes import Box, Span
from extauthz.policy.reach.formula import Condition, Fixed
from extauthz.policy.reach.within import box_within, reads_params, same_world

MAX_CANDIDATES: Final = 1024  # boxes that one box is compared with
_MAX_VALUE: Final = 1024  # of an obligation that surely can be set

Feature = tuple[str, ...]
Conditions = Mapping[str, Condition | None]  # by text


class Shadowed(Struct, frozen=True):
    """A rule, and those that come first, one for each of its boxes."""

    span: Span
    by: tuple[Span, ...]


def shadowed(spans: list[Span], conditions: Conditions) -> Iterator[Shadowed]:
    """Every rule that never decides. `spans` in the order in which rules are tried."""
    index = _Index(spans, conditions)
    for place, span in enumerate(spans):
        by = [index.first_cover(place, box) for box in span.boxes]
        if by and all(by):
            yield Shadowed(span, tuple({outer.name: outer for outer in by if outer is not None}.values()))


class _Index:
    """The boxes of rules that can come first, each under the one of its demands that the fewest others share."""

    def __init__(self, spans: list[Span], conditions: Conditions) -> None:
        self._spans = spans
        self._conditions = conditions
        self._open: list[tuple[int, Box]] = []
        self._by_feature: dict[Feature, list[tuple[int, Box]]] = {}
        count: Counter[Feature] = Counter()
        entries = [
            (place, box, list(self._demands(span, box)))
            for place, span in enumerate(spans)
            if span.effect == "deny" or always_granted(span.spec.obligations)
            for box in span.boxes
        ]
        for _, _, demands in entries:
            count.update(feature for group in demands for feature in group)
        for place, box, demands in entries:
            rarest = min(demands, key=lambda group: max(count[feature] for feature in group), default=None)
            for bucket in [self._open] if rarest is None else [self._by_feature.setdefault(f, []) for f in rarest]:
                bucket.append((place, box))

    def first_cover(self, place: int, box: Box) -> Span | None:
        """The rule that comes before that at `place` for everything in the box."""
        span = self._spans[place]
        for other, wide in islice(self._candidates(span, box), MAX_CANDIDATES):
            outer = self._spans[other]
            if not _comes_first(other, outer, place, span) or not same_world(outer, span):
                continue
            if _says_the_same(outer, span, box, wide):
                return outer
            inside = not reads_params(outer) and box_within(box, span.effect, wide, outer.effect)
            if inside and self._condition_holds(outer, span):
                return outer
        return None

    def _candidates(self, span: Span, box: Box) -> Iterator[tuple[int, Box]]:
        yield from self._open
        for feature in self._offers(span, box):
            yield from self._by_feature.get(feature, ())

    def _demands(self, span: Span, box: Box) -> Iterator[list[Feature]]:
        """Of each list a box inside has to offer one."""
        if box.tenant:
            yield [("tenant", box.tenant)]
        for texts in box.all_texts:
            if texts.exact:
                yield [(texts.attribute, value) for value in texts.patterns]
        for group in box.paths:
            heads = [_head(path) for path in group]
            if all(heads):
                yield [("path", *head) for head in heads]
        condition = self._conditions.get(span.condition)
        if condition is not None and not _is_true(condition):
            yield [("condition", min(condition.conjuncts))]

    def _offers(self, span: Span, box: Box) -> Iterator[Feature]:
        if box.tenant:
            yield ("tenant", box.tenant)
        for texts in box.all_texts:
            if texts.exact:
                yield (texts.attribute, min(texts.patterns))
        for group in box.paths:
            head = _head(group[0])
            yield from (("path", *head[:length]) for length in range(1, len(head) + 1))
        condition = self._conditions.get(span.condition)
        if condition is not None:
            yield from (("condition", part) for part in sorted(condition.conjuncts))

    def _condition_holds(self, outer: Span, inner: Span) -> bool:
        """Whether the condition of `outer` holds, or errs against the caller, wherever that of `inner` does."""
        if not outer.condition:
            return True
        condition = self._conditions.get(outer.condition)
        if condition is None or condition.reads_params:
            return False
        if _is_true(condition) or outer.condition == inner.condition:
            return True
        mine = self._conditions.get(inner.condition)
        # A deny rule also denies what it cannot compute, and may read more than `outer` does.
        return mine is not None and inner.effect == "allow" and condition.conjuncts <= mine.conjuncts


def _comes_first(other: int, outer: Span, place: int, inner: Span) -> bool:
    """Whether `outer` is tried before `inner` and ends the evaluation if it matches."""
    if inner.mode == "shadow":
        return outer.mode == "shadow" and outer.policy == inner.policy and other < place
    if outer.mode == "shadow":
        return False
    if outer.effect == inner.effect:
        return other < place
    return outer.effect == "deny"


def _says_the_same(outer: Span, inner: Span, box: Box, wide: Box) -> bool:
    """Whether the rules differ in name and obligations alone, so that even captures are the same."""
    if outer.effect != inner.effect or box != wide:
        return False
    bare = replace(inner.spec, name="", obligations=None)
    return replace(outer.spec, name="", obligations=None) == bare


def always_granted(obligations: ObligationsSpec | None) -> bool:
    """Whether the obligations surely can be fulfilled, so that an allow rule which matches also allows."""
    if obligations is None:
        return True
    if obligations.set_query or obligations.remove_query:
        return False
    given = (obligations.upstream_headers, obligations.client_headers, obligations.metadata)
    return all(_is_text(expression) for group in given for expression in group.values())


def _is_text(expression: str) -> bool:
    """Whether it is a plain text constant or a truth value."""
    text = expression.strip()
    if text in {"true", "false"}:
        return True
    inner = text[1:-1]
    return (
        len(text) > 1
        and text[0] == text[-1]
        and text[0] in "'\""
        and text[0] not in inner
        and "\\" not in inner
        and len(inner) <= _MAX_VALUE
        and is_safe_value(inner)
    )


def _is_true(condition: Condition) -> bool:
    return isinstance(condition.formula, Fixed) and condition.formula.value is True


def _head(path: PathPattern) -> tuple[str, ...]:
    """The literals before the first wildcard, in any case."""
    head: list[str] = []
    for token in path.tokens:
        if token in {ONE, MANY}:
            break
        head.append(token.casefold())
    return tuple(head)


def names_of(spans: Iterable[Span]) -> str:
    """Rules as messages name them."""
    return " and ".join(f"`{span.name}`" for span in spans)
