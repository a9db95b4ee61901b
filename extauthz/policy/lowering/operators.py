"""CEL's operators and `size`, for values of any type. All raise FailedError where CEL errs.

Integers have 64 bits and overflow is an error; division truncates towards zero; doubles follow IEEE 754.
"""

from math import copysign, inf, isnan, nan
from typing import Any

from extauthz.policy.lowering.times import checked_timestamp
from extauthz.policy.lowering.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    NUMBERS,
    BeyondError,
    Duration,
    FailedError,
    Timestamp,
    UInt,
    is_list,
    same,
)


def within_int(value: int) -> int:
    """`value` as CEL's `int`."""
    if MIN_INT <= value <= MAX_INT:
        return value
    raise FailedError


def within_uint(value: int) -> UInt:
    """`value` as CEL's `uint`."""
    if 0 <= value <= MAX_UINT:
        return UInt(value)
    raise FailedError


def within_duration(value: int) -> Duration:
    """`value` nanoseconds. CEL's limits differ from one operator to the other, so that it decides beyond 64 bits."""
    if MIN_INT <= value <= MAX_INT:
        return Duration(value)
    raise BeyondError


def add(left: Any, right: Any) -> Any:
    """`+`."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return within_int(left + right)
        if kind is str or kind is float or kind is bytes:
            return left + right
        if kind is UInt:
            return within_uint(left + right)
        if kind is Duration:
            return within_duration(left + right)
    if is_list(left) and is_list(right):
        return [*left, *right]
    if {kind, type(right)} == {Timestamp, Duration}:
        return checked_timestamp(left + right)
    raise FailedError


def subtract(left: Any, right: Any) -> Any:
    """`-`."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return within_int(left - right)
        if kind is float:
            return left - right
        if kind is UInt:
            return within_uint(left - right)
        if kind is Duration or kind is Timestamp:
            return within_duration(left - right)
    if kind is Timestamp and type(right) is Duration:
        return checked_timestamp(left - right)
    raise FailedError


def multiply(left: Any, right: Any) -> Any:
    """`*`."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return within_int(left * right)
        if kind is float:
            return left * right
        if kind is UInt:
            return within_uint(left * right)
    raise FailedError


def divide(left: Any, right: Any) -> Any:
    """`/`."""
    kind = type(left)
    if kind is type(right):
        if kind is int and right:
            return within_int(left // right if (left < 0) is (right < 0) else -(-left // right))
        if kind is UInt and right:
            return UInt(left // right)
        if kind is float:
            if right:
                return left / right
            return nan if left == 0 or isnan(left) else copysign(inf, left) * copysign(1.0, right)
    raise FailedError


def modulo(left: Any, right: Any) -> Any:
    """`%`: of the sign of the left side. The smallest integer and -1 overflow, as in a division."""
    kind = type(left)
    if kind is type(right) and right:
        if kind is int and not (left == MIN_INT and right == -1):
            return abs(left) % abs(right) * (-1 if left < 0 else 1)
        if kind is UInt:
            return UInt(left % right)
    raise FailedError


def negate(value: Any) -> Any:
    """`-value`."""
    if type(value) is int:
        return within_int(-value)
    if type(value) is float:
        return -value
    raise FailedError


def index(container: Any, key: Any) -> Any:
    """`container[key]`."""
    if type(container) is dict:
        if type(key) is str and key in container:
            return container[key]
        raise FailedError
    if is_list(container) and type(key) in NUMBERS and 0 <= key < len(container) and (position := int(key)) == key:
        return container[position]
    raise FailedError


def select(container: Any, field: str) -> Any:
    """`container.field`."""
    if type(container) is dict and field in container:
        return container[field]
    raise FailedError


def has(container: Any, field: str) -> bool:
    """`has(container.field)`."""
    if type(container) is dict:
        return field in container
    raise FailedError


def member(wanted: Any, container: Any) -> bool:
    """`wanted in container`."""
    if type(container) is dict:
        if type(wanted) is str:
            return wanted in container
        if type(wanted) in NUMBERS or type(wanted) is bool:
            return False
    elif is_list(container):
        if type(wanted) is str:
            return wanted in container
        return any(same(wanted, element) for element in container)
    raise FailedError


def size(value: Any) -> int:
    """`size(value)`: of a text in code points."""
    if type(value) is str or type(value) is bytes or type(value) is dict or is_list(value):
        return len(value)
    raise FailedError
