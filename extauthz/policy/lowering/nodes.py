"""Closures of single nodes: a lowered expression is a tree of Python closures over one frame.

A frame is a list: what the expression reads, then what its loops count and the variables of its loops.
Rule 1: a closure returns a value or raises; `&&`, `||` and loops are where LookupError, CEL's error, may end.
Rule 2: what a node is known to be (`kind`) comes from what its operands are known to be, never from the type checker:
to the checker a value of any type is an int where an int is wanted, and the evaluator looks at the value itself.
Rule 3: all operands of a function are evaluated, as CEL does, where one that is skipped would have had a loop.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from extauthz.policy.lowering.values import BeyondError, FailedError

Frame = list[Any]
Run = Callable[[Frame], Any]
Test = Callable[[Frame], bool]
# `strings`: a list that holds nothing but texts; `map`: a dict of anything, `string_map`: of texts.
Kind = Literal[
    "bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "strings", "list", "map", "string_map",
    "dyn",
]  # fmt: skip
LISTS: Final = ("strings", "list")
MAPS: Final = ("map", "string_map")
_NONE: Final = object()
ERROR: Final = 25  # the cost of raising and catching


class Lowered(Struct, frozen=True):
    """A node as a closure, and what is known of it."""

    run: Run
    kind: Kind = "dyn"
    cost: int = 1  # what one evaluation takes at most, loops left out; one is about 0.1 us
    loops: bool = False  # there is a loop in it
    slot: int = -1  # it is but a read of this slot
    const: Any = _NONE
    fact: int = -1  # it is but a read of this place of the data (see `lookup`)
    pin: Callable[[], object] | None = None  # of data: its value now, which from then on is part of the expression

    @property
    def is_const(self) -> bool:
        """Whether the value is known."""
        return self.const is not _NONE


KINDS: Final[dict[type, Kind]] = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes"}


def constant(value: Any, kind: Kind | None = None) -> Lowered:
    """A value that is known."""
    return Lowered(lambda _: value, kind or KINDS.get(type(value), "dyn"), cost=0, const=value)


def read(slot: int, kind: Kind) -> Lowered:
    """A slot of the frame."""
    return Lowered(lambda frame: frame[slot], kind, slot=slot)


def strict(
    function: Callable[..., Any], arguments: Sequence[Lowered], kind: Kind = "dyn", *, errs: bool = True
) -> Lowered:
    """A function of one or more values that errs when an argument does; computed now when all are known.

    `errs`: it may also err by itself.
    """
    if all(argument.is_const for argument in arguments):
        try:
            return constant(function(*(argument.const for argument in arguments)), kind)
        except (LookupError, BeyondError):
            pass  # again and again
    cost = 1 + cost_of(arguments) + (ERROR if errs else 0)
    if any(argument.loops for argument in arguments[1:]):
        return Lowered(_careful(function, [argument.run for argument in arguments]), kind, cost, loops=True)
    return Lowered(_call(function, arguments), kind, cost, loops=any(argument.loops for argument in arguments))


def cost_of(operands: Sequence[Lowered]) -> int:
    """What all of them take."""
    return sum(operand.cost for operand in operands)


def _call(function: Callable[..., Any], arguments: Sequence[Lowered]) -> Run:
    first, *rest = (argument.run for argument in arguments)
    if not rest:
        return lambda frame: function(first(frame))
    if len(rest) == 1:
        (second,) = rest
        slot, other, value = arguments[0].slot, arguments[1].slot, arguments[1].const
        if arguments[1].is_const:
            if slot >= 0:
                return lambda frame: function(frame[slot], value)
            return lambda frame: function(first(frame), value)
        if arguments[0].is_const and other >= 0:
            known = arguments[0].const
            return lambda frame: function(known, frame[other])
        if slot >= 0 and other >= 0:
            return lambda frame: function(frame[slot], frame[other])
        return lambda frame: function(first(frame), second(frame))
    if len(rest) == 2:  # noqa: PLR2004
        second, third = rest
        return lambda frame: function(first(frame), second(frame), third(frame))
    runs = (first, *rest)
    return lambda frame: function(*[run(frame) for run in runs])


def _careful(function: Callable[..., Any], runs: Sequence[Run]) -> Run:
    """All arguments are evaluated, whichever errs: their loops count."""

    def run(frame: Frame) -> Any:
        values = []
        for argument in runs:
            try:
                values.append(argument(frame))
            except LookupError:
                values.append(_NONE)
        if any(value is _NONE for value in values):
            raise FailedError
        return function(*values)

    return run


def truth(operand: Lowered) -> Test:
    """The operand, which errs unless it is true or false."""
    if operand.kind == "bool":
        return operand.run
    inner = operand.run

    def run(frame: Frame) -> bool:
        value: bool = inner(frame)
        if value is True or value is False:
            return value
        raise FailedError

    return run


def negation(operand: Lowered) -> Lowered:
    """`!a`."""
    inner = truth(operand)
    return Lowered(lambda frame: not inner(frame), "bool", 1 + operand.cost, loops=operand.loops)


def junction(operands: Sequence[Lowered], decisive: bool) -> Lowered:  # noqa: FBT001 - False of `&&`, True of `||`
    """`a && b && …`: what is decisive wins over an error, wherever either stands."""
    runs = tuple(map(truth, operands))
    left, right = runs[:2]
    run = _many(runs, decisive) if len(runs) > 2 else _either(left, right) if decisive else _both(left, right)  # noqa: PLR2004
    cost = len(runs) * (1 if all(operand.kind == "bool" for operand in operands) else 1 + ERROR) + cost_of(operands)
    return Lowered(run, "bool", cost, loops=any(operand.loops for operand in operands))


def _both(left: Test, right: Test) -> Test:
    def run(frame: Frame) -> bool:
        try:
            if not left(frame):
                return False
        except LookupError:
            if right(frame):
                raise
            return False
        return right(frame)

    return run


def _either(left: Test, right: Test) -> Test:
    def run(frame: Frame) -> bool:
        try:
            if left(frame):
                return True
        except LookupError:
            if not right(frame):
                raise
            return True
        return right(frame)

    return run


def _many(tests: tuple[Test, ...], decisive: bool) -> Test:  # noqa: FBT001 - as in `junction`
    def run(frame: Frame) -> bool:
        failed = False
        for test in tests:
            try:
                if test(frame) is decisive:
                    return decisive
            except LookupError:
                failed = True
        if failed:
            raise FailedError
        return not decisive

    return run


def choice(condition: Lowered, yes: Lowered, no: Lowered) -> Lowered:
    """`a ? b : c`."""
    test, first, second = truth(condition), yes.run, no.run
    return Lowered(
        lambda frame: first(frame) if test(frame) else second(frame),
        yes.kind if yes.kind == no.kind else "dyn",
        1 + cost_of((condition, yes, no)),
        loops=condition.loops or yes.loops or no.loops,
    )


def list_of(elements: Sequence[Lowered]) -> Lowered:
    """`[a, b]`."""
    kind: Kind = "strings" if all(element.kind == "string" for element in elements) else "list"
    if all(element.is_const for element in elements):
        return constant(tuple(element.const for element in elements), kind)
    runs = [element.run for element in elements]
    if any(element.loops for element in elements):
        return Lowered(_careful(lambda *values: list(values), runs), kind, 1 + cost_of(elements), loops=True)
    return Lowered(lambda frame: [run(frame) for run in runs], kind, 1 + cost_of(elements))


def map_of(entries: dict[str, Lowered]) -> Lowered:
    """`{'a': b}`."""
    names = tuple(entries)
    kind: Kind = "string_map" if all(entry.kind == "string" for entry in entries.values()) else "map"
    whole = list_of(tuple(entries.values()))
    return strict(lambda values: dict(zip(names, values, strict=True)), [whole], kind, errs=False)
