"""The macros `all`, `exists`, `exists_one`, `map` and `filter`, with bounds on the work.

Rule 1: an evaluation takes fewer than MAX_STEPS steps in all of its loops; one more, and nothing absorbs the error.
Steps are counted as cel-cpp counts them, so that the same expressions end on the same inputs.
Rule 2: what would take longer than ALLOWANCE is left to CEL's evaluator, which is faster on bodies of much arithmetic.
Not so an expression with `map` or `filter`: that copies the list at each step, 3 s for 5,000 elements.
Rule 3: a map is walked by its keys in the order in which it was written. CEL leaves that order open, and its evaluator
takes another one from one evaluation to the next.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from extauthz.policy.lowering.nodes import ERROR, Frame, Kind, Lowered, Run, truth
from extauthz.policy.lowering.values import BeyondError, FailedError, SpentError, is_list

MAX_STEPS: Final = 10_000  # `comprehension_max_iterations` of cel-cpp
ALLOWANCE: Final = 40_000  # in units of `Lowered.cost`: 1 to 3 ms

Visit = Callable[[Frame, list[Any]], None]


class Place(Struct, frozen=True):
    """Where a loop keeps what it counts, and its variable: slots of the frame."""

    steps: int  # taken by all loops of the expression
    left: int  # of the allowance
    variable: int


def _spend(frame: Frame, place: Place, steps: int, cost: int) -> None:
    frame[place.left] -= steps * cost
    if frame[place.left] < 0:
        raise BeyondError
    frame[place.steps] += steps
    if frame[place.steps] >= MAX_STEPS:
        raise SpentError


def _cost(body: Lowered) -> int:
    """Of one step."""
    return 1 + body.cost + (0 if body.kind == "bool" else ERROR)


def _elements(value: Any) -> Sequence[Any]:
    """What is walked. Raises FailedError for what is no list and no map."""
    if is_list(value):
        return value  # type: ignore[no-any-return]
    if type(value) is dict:
        return tuple(value)
    raise FailedError


def quantifier(items: Lowered, body: Lowered, place: Place, decisive: bool) -> Lowered:  # noqa: FBT001 - False of `all`
    """`all` (False is decisive) and `exists` (True is)."""
    make = _outer if body.loops else _inner
    return Lowered(make(items.run, body, place, decisive), "bool", ERROR + items.cost, loops=True)


def _inner(source: Run, body: Lowered, place: Place, decisive: bool) -> Run:  # noqa: FBT001 - as in `quantifier`
    """Steps are counted at the end, for none are taken within."""
    test, cost = truth(body), _cost(body)
    variable, steps, allowance = place.variable, place.steps, place.left

    def run(frame: Frame) -> bool:
        elements = source(frame)
        if type(elements) is not tuple:
            elements = _elements(elements)
        size = len(elements)
        if size * cost > frame[allowance] or size + frame[steps] >= MAX_STEPS:
            elements = elements[: min(MAX_STEPS - 1 - frame[steps], frame[allowance] // cost)]
        failed = False
        for step, frame[variable] in enumerate(elements, 1):
            try:
                if test(frame) is decisive:
                    _spend(
                        frame, place, step + (step < len(elements)), cost
                    )  # with the step that finds that it is over
                    return decisive
            except LookupError:
                failed = True
        _spend(frame, place, size, cost)
        if failed:
            raise FailedError
        return not decisive

    return run


def _outer(source: Run, body: Lowered, place: Place, decisive: bool) -> Run:  # noqa: FBT001 - as in `quantifier`
    test, cost = truth(body), _cost(body)

    def run(frame: Frame) -> bool:
        elements = _elements(source(frame))
        failed = False
        for step, frame[place.variable] in enumerate(elements, 1):
            _spend(frame, place, 1, cost)
            try:
                if test(frame) is decisive:
                    _spend(frame, place, step < len(elements), cost)
                    return decisive
            except LookupError:
                failed = True
        if failed:
            raise FailedError
        return not decisive

    return run


def count_one(items: Lowered, body: Lowered, place: Place) -> Lowered:
    """`exists_one`: an error is never absorbed."""
    test = truth(body)

    def visit(frame: Frame, found: list[Any]) -> None:
        if test(frame):
            found.append(None)

    collected = _collector(items.run, place, visit, _cost(body))
    return Lowered(lambda frame: len(collected(frame)) == 1, "bool", ERROR + items.cost, loops=True)


def collect(items: Lowered, condition: Lowered | None, body: Lowered, place: Place, kind: Kind) -> Lowered:
    """`map` and `filter`, with or without a condition."""
    make = body.run
    test = None if condition is None else truth(condition)

    def visit(frame: Frame, found: list[Any]) -> None:
        if test is None or test(frame):
            found.append(make(frame))

    cost = _cost(body) + (0 if condition is None else _cost(condition))
    return Lowered(_collector(items.run, place, visit, cost), kind, ERROR + items.cost, loops=True)


def _collector(source: Run, place: Place, visit: Visit, cost: int) -> Run:
    """What runs through all elements, whatever errs: later ones have their steps, too."""

    def run(frame: Frame) -> list[Any]:
        found: list[Any] = []
        failed = False
        for element in _elements(source(frame)):
            frame[place.variable] = element
            _spend(frame, place, 1, cost)
            try:
                visit(frame, found)
            except LookupError:
                failed = True
        if failed:
            raise FailedError
        return found

    return run
