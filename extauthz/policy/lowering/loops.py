"""The macros `all`, `exists`, `exists_one`, `map` and `filter`, with the evaluator's own bound on the work.

Rule 1: an evaluation takes fewer than MAX_STEPS steps in all of its loops; one more, and nothing absorbs the error.
Steps are counted as cel-cpp counts them, so that the same expressions end on the same inputs.
Rule 2: a map is walked by its keys in the order in which it was written. CEL leaves that order open, and its evaluator
takes another one from one evaluation to the next.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from extauthz.policy.lowering.nodes import Frame, Kind, Lowered, Run, Test, truth
from extauthz.policy.lowering.values import FailedError, SpentError, is_list

MAX_STEPS: Final = 10_000  # `comprehension_max_iterations` of cel-cpp


Visit = Callable[[Frame, list[Any]], None]


class Place(Struct, frozen=True):
    """Where a loop keeps what it counts, and its variable: slots of the frame."""

    steps: int  # of all loops of the expression
    variable: int


def _spend(frame: Frame, place: Place, steps: int) -> None:
    frame[place.steps] += steps
    if frame[place.steps] >= MAX_STEPS:
        raise SpentError


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
    return Lowered(make(items.run, truth(body), place, decisive), "bool", loops=True)


def _inner(source: Run, test: Test, place: Place, decisive: bool) -> Run:  # noqa: FBT001 - as in `quantifier`
    """Steps are counted at the end, for none are taken within."""
    variable, steps = place.variable, place.steps

    def run(frame: Frame) -> bool:
        elements = _elements(source(frame))
        left = MAX_STEPS - 1 - frame[steps]
        failed = False
        for step, frame[variable] in enumerate(elements if len(elements) <= left else elements[:left], 1):
            try:
                if test(frame) is decisive:
                    _spend(frame, place, step + (step < len(elements)))  # with the step that finds that it is over
                    return decisive
            except LookupError:
                failed = True
        _spend(frame, place, len(elements))
        if failed:
            raise FailedError
        return not decisive

    return run


def _outer(source: Run, test: Test, place: Place, decisive: bool) -> Run:  # noqa: FBT001 - as in `quantifier`
    def run(frame: Frame) -> bool:
        elements = _elements(source(frame))
        failed = False
        for step, frame[place.variable] in enumerate(elements, 1):
            _spend(frame, place, 1)
            try:
                if test(frame) is decisive:
                    _spend(frame, place, step < len(elements))
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
    collected = _collector(items.run, place, lambda frame, found: found.append(1) if test(frame) else None)
    return Lowered(lambda frame: len(collected(frame)) == 1, "bool", loops=True)


def collect(items: Lowered, condition: Lowered | None, body: Lowered, place: Place, kind: Kind) -> Lowered:
    """`map` and `filter`, with or without a condition."""
    make = body.run
    test = None if condition is None else truth(condition)

    def visit(frame: Frame, found: list[Any]) -> None:
        if test is None or test(frame):
            found.append(make(frame))

    return Lowered(_collector(items.run, place, visit), kind, loops=True)


def _collector(source: Run, place: Place, visit: Visit) -> Run:
    """What runs through all elements, whatever errs: later ones have their steps, too."""

    def run(frame: Frame) -> list[Any]:
        found: list[Any] = []
        failed = False
        for element in _elements(source(frame)):
            frame[place.variable] = element
            _spend(frame, place, 1)
            try:
                visit(frame, found)
            except LookupError:
                failed = True
        if failed:
            raise FailedError
        return found

    return run
