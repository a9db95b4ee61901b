"""Values of lowered expressions, what they equal and how they compare: as CEL's evaluator does, wherever it is odd.

Rule 1: the exact Python type tells CEL's type: `type(value)`, never isinstance, for True is an int to Python.
Rule 2: lists are lists or tuples, maps are dicts with texts as keys; nothing here changes one.
"""

from collections.abc import Callable
from typing import Any, Final

MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1
MAX_UINT: Final = 2**64 - 1


class UInt(int):
    """CEL's `uint`."""

    __slots__ = ()


class Timestamp(int):
    """Nanoseconds since the epoch."""

    __slots__ = ()


class Duration(int):
    """Nanoseconds."""

    __slots__ = ()


class FailedError(LookupError):
    """An evaluation erred; `&&` and `||` may absorb it. A LookupError, so that a missing key is one as it stands."""


class SpentError(Exception):
    """The loops of an expression took more steps than are allowed. Nothing absorbs it."""


class BeyondError(Exception):
    """Only CEL's own evaluator can tell the result. Nothing absorbs it."""


NUMBERS: Final = (int, float, UInt)
_LISTS: Final = (list, tuple)
_ORDERED: Final = frozenset((int, str, float, bool, UInt, bytes, Timestamp, Duration))


def is_list(value: object) -> bool:
    """Whether a value is a list to CEL."""
    return type(value) in _LISTS


def same(left: Any, right: Any) -> bool:
    """`==`: never an error; numbers compare across types, in floating point when one is a double."""
    kind = type(left)
    if kind is type(right):
        if kind is dict:
            return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
        if kind not in _LISTS:
            return bool(left == right)
    elif kind in NUMBERS and type(right) in NUMBERS:
        if kind is float or type(right) is float:
            return float(left) == float(right)
        return bool(left == right)
    if kind in _LISTS and type(right) in _LISTS:
        return len(left) == len(right) and all(map(same, left, right))
    return False


def compare(test: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """`test` is one of `<`, `<=`, `>`, `>=`. Raises FailedError for what has no order."""
    kind = type(left)
    if kind is type(right):
        if kind in _ORDERED:
            return test(left, right)
    elif kind in NUMBERS and type(right) in NUMBERS:
        if kind is float or type(right) is float:
            return test(float(left), float(right))
        return test(left, right)
    raise FailedError


def is_text(value: str) -> bool:
    """Whether CEL's evaluator would see all of a text: its binding ends one at a NUL and takes no lone surrogates."""
    if "\0" in value:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_plain(value: Any) -> bool:
    """Whether CEL holds a JSON value as it is: texts as `is_text` has them, integers of 64 bits."""
    kind = type(value)
    if kind is str:
        return is_text(value)
    if kind is int:
        return bool(MIN_INT <= value <= MAX_INT)
    if kind is dict:
        return all(type(key) is str and is_text(key) and is_plain(member) for key, member in value.items())
    if kind is list:
        for member in value:
            if not (type(member) is str and member.isascii() and "\0" not in member) and not is_plain(member):
                return False
        return True
    return kind is bool or kind is float or value is None


def result(value: Any) -> Any:
    """A value as CEL's binding hands it to Python. Raises BeyondError for those that have other forms there."""
    kind = type(value)
    if kind is UInt:
        return int(value)
    if kind in _LISTS:
        return [result(member) for member in value]
    if kind is dict:
        return {key: result(member) for key, member in value.items()}
    if kind in {bytes, Timestamp, Duration}:
        raise BeyondError
    return value
