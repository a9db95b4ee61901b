"""Which closure a call of CEL becomes, by the function's name, as CEL's evaluator finds it: by what the values are."""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from extauthz.policy.lowering import conversions, operators
from extauthz.policy.lowering.nodes import LISTS, MAPS, Kind, Lowered, constant, negation, strict
from extauthz.policy.lowering.patterns import matcher
from extauthz.policy.lowering.texts import FUNCTIONS, JOIN, typed
from extauthz.policy.lowering.times import GETTERS, part_of
from extauthz.policy.lowering.values import compare, same


class NotLoweredError(Exception):
    """An expression, or a call in it, is CEL's own evaluator's; the text says what it holds, for people."""


def leave(what: str) -> NoReturn:
    """Leave an expression to CEL's evaluator, for it holds `what`."""
    raise NotLoweredError(what)


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}
_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "_+_": operators.add,
    "_-_": operators.subtract,
    "_*_": operators.multiply,
    "_/_": operators.divide,
    "_%_": operators.modulo,
}
# Where Python does what CEL does, and neither errs.
_NATIVE: Final[dict[tuple[str, Kind], Callable[[Any, Any], Any]]] = {
    ("_+_", "string"): operator.add,
    ("_+_", "bytes"): operator.add,
    ("_+_", "double"): operator.add,
    ("_-_", "double"): operator.sub,
    ("_*_", "double"): operator.mul,
}
_CONVERSIONS: Final[dict[str, tuple[Callable[[Any], Any], Kind]]] = {
    "int": (conversions.to_int, "int"),
    "uint": (conversions.to_uint, "uint"),
    "double": (conversions.to_double, "double"),
    "string": (conversions.to_string, "string"),
    "bytes": (conversions.to_bytes, "bytes"),
    "bool": (conversions.to_bool, "bool"),
    "timestamp": (conversions.to_timestamp, "timestamp"),
    "duration": (conversions.to_duration, "duration"),
}
_NUMBERS: Final = ("int", "uint", "double")
_TEXT_RESULTS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("contains", "startsWith", "endsWith"), "bool"),
    **dict.fromkeys(("indexOf", "lastIndexOf"), "int"),
    "split": "strings",
}
_KINDS_OF: Final[dict[type, Kind]] = {str: "string", int: "int"}
_SET_FROM: Final = 8  # members: fewer are compared as fast
_DYNAMIC: Final = ("dyn", *LISTS, *MAPS)  # kinds of which one value may equal one of another kind


def call(function: str, arguments: Sequence[Lowered]) -> Lowered:
    """A call of a function that errs when an argument does. Raises NotLoweredError for one that is not known here."""
    count = len(arguments)
    if count == 1 and function in _CONVERSIONS:
        convert, kind = _CONVERSIONS[function]
        return arguments[0] if arguments[0].kind == kind else strict(convert, arguments, kind)
    if (function, count) in FUNCTIONS:
        return _text(function, arguments)
    if (function, count) in _OPERATORS:
        return _OPERATORS[function, count](*arguments)
    if function in _COMPARISONS:
        return _comparison(_COMPARISONS[function], arguments)
    if function in _ARITHMETIC:
        return _arithmetic(function, arguments)
    if count == 1 and function in GETTERS:
        return strict(part_of(function), arguments, "int")
    if function == "join":
        return strict(JOIN, arguments, "string")
    leave(f"`{function}`")


def _text(function: str, arguments: Sequence[Lowered]) -> Lowered:
    run, types = FUNCTIONS[function, len(arguments)]
    known = all(argument.kind == _KINDS_OF[wanted] for argument, wanted in zip(arguments, types, strict=True))
    kind = _TEXT_RESULTS.get(function, "string")
    if not known:
        return strict(typed(run, types), arguments, kind)
    return strict(run, arguments, kind, errs=function in {"split", "charAt", "substring"})


def _comparison(test: Callable[[Any, Any], bool], arguments: Sequence[Lowered]) -> Lowered:
    left, right = arguments
    if left.kind == right.kind and left.kind not in _DYNAMIC:
        return strict(test, arguments, "bool", errs=False)
    return strict(partial(compare, test), arguments, "bool")


def _arithmetic(name: str, arguments: Sequence[Lowered]) -> Lowered:
    left, right = arguments
    function = _ARITHMETIC[name]
    if left.kind == right.kind and (name, left.kind) in _NATIVE:
        return strict(_NATIVE[name, left.kind], arguments, left.kind, errs=False)
    known = left.kind == right.kind and left.kind in {*_NUMBERS, "string", "strings", "bytes"}
    return strict(function, arguments, left.kind if known else "dyn")


def _equal(left: Lowered, right: Lowered) -> Lowered:
    # A Python text equals nothing but texts, whatever the other side is.
    native = "string" in {left.kind, right.kind} or (left.kind == right.kind and left.kind not in _DYNAMIC)
    return strict(operator.eq if native else same, (left, right), "bool", errs=False)


def _unequal(left: Lowered, right: Lowered) -> Lowered:
    return negation(_equal(left, right))


def _member(wanted: Lowered, container: Lowered) -> Lowered:
    if container.kind in MAPS and wanted.kind == "string":
        return strict(operator.contains, (container, wanted), "bool", errs=False)
    if container.kind == "strings":  # nothing but texts equals one of these
        if container.is_const and wanted.kind == "string" and len(container.const) > _SET_FROM:
            container = constant(frozenset(container.const), "dyn")
        return strict(operator.contains, (container, wanted), "bool", errs=False)
    return strict(operators.member, (wanted, container), "bool")


def _index(container: Lowered, key: Lowered) -> Lowered:
    kind: Kind = "string" if container.kind in {"strings", "string_map"} else "dyn"
    if container.kind in MAPS and key.kind == "string":
        return strict(operator.getitem, (container, key), kind)
    return strict(operators.index, (container, key), kind)


def _size(value: Lowered) -> Lowered:
    known = value.kind in {"string", "bytes", *LISTS, *MAPS}
    return strict(len if known else operators.size, (value,), "int", errs=not known)


def _matches(text: Lowered, pattern: Lowered) -> Lowered:
    known = pattern.const if pattern.is_const else pattern.pin() if pattern.pin is not None else None
    if type(known) is not str:
        leave("`matches` with a pattern that is computed")
    match = matcher(known)
    if match is None:
        leave(f"`matches({known!r})`")
    known = text.kind == "string"
    return strict(match if known else typed(match, (str,)), (text,), "bool", errs=not known)


_OPERATORS: Final[dict[tuple[str, int], Callable[..., Lowered]]] = {
    ("_==_", 2): _equal,
    ("_!=_", 2): _unequal,
    ("!_", 1): negation,
    ("-_", 1): lambda value: strict(operators.negate, (value,), value.kind if value.kind in _NUMBERS else "dyn"),
    ("@in", 2): _member,
    ("_[_]", 2): _index,
    ("size", 1): _size,
    ("matches", 2): _matches,
    ("dyn", 1): lambda value: value,
}
