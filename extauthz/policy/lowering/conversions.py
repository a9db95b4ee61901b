"""`int()`, `uint()`, `double()`, `string()`, `bytes()`, `bool()`, `timestamp()`, `duration()` of any value.

All raise FailedError where CEL errs, and BeyondError for texts that CEL reads or writes in ways of its own.
"""

import re
from typing import Any, Final

from extauthz.policy.lowering.operators import within_int, within_uint
from extauthz.policy.lowering.times import NANOS, checked_timestamp, read_duration, read_timestamp, write_timestamp
from extauthz.policy.lowering.values import BeyondError, Duration, FailedError, Timestamp, UInt, is_text

_INTEGER = re.compile(r"[ \t\n\v\f\r]*+([+-]?[0-9]++)[ \t\n\v\f\r]*+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}+(?:\.[0-9]{1,40}+)?(?:[eE][+-]?[0-9]{1,3}+)?", re.ASCII)
_NUMERIC = re.compile(r"[0-9nN]")  # one of these is in every text that may be a double, `inf` and `nan` included
_MAX_DIGITS: Final = 40  # leading zeros included: more are no number that fits
_TRUTHS: Final = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
}


def to_int(value: Any) -> int:
    """`int(value)`."""
    kind = type(value)
    if kind is int:
        return int(value)
    if kind is str:
        return within_int(_integer(value))
    if kind is float:
        if -(2.0**63) < value < 2.0**63:
            return int(value)
    elif kind is UInt or kind is bool:
        return within_int(int(value))
    elif kind is Timestamp:
        return int(value // NANOS)
    raise FailedError


def to_uint(value: Any) -> UInt:
    """`uint(value)`."""
    kind = type(value)
    if kind is UInt or kind is int:
        return within_uint(value)
    if kind is str:
        if "-" in value:
            raise FailedError
        return within_uint(_integer(value))
    if kind is float and 0 <= value < 2.0**64:
        return UInt(value)
    raise FailedError


def _integer(text: str) -> int:
    if text.isdecimal() and text.isascii() and len(text) <= _MAX_DIGITS:
        return int(text)
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise FailedError
    if len(match[1]) > _MAX_DIGITS:
        raise BeyondError
    return int(match[1])


def to_double(value: Any) -> float:
    """`double(value)`."""
    kind = type(value)
    if kind is float or kind is int or kind is UInt:
        return float(value)
    if kind is str:
        if _DECIMAL.fullmatch(value):
            return float(value)
        if _NUMERIC.search(value):
            raise BeyondError
    raise FailedError


def to_string(value: Any) -> str:
    """`string(value)`."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int or kind is UInt:
        return str(int(value))
    if kind is bool:
        return "true" if value else "false"
    if kind is bytes:
        return _decoded(value)
    if kind is Timestamp:
        return write_timestamp(value)
    if kind is float or kind is Duration:
        raise BeyondError
    raise FailedError


def _decoded(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise FailedError from None
    if not is_text(text):
        raise BeyondError
    return text


def to_bytes(value: Any) -> bytes:
    """`bytes(value)`."""
    if type(value) is str:
        return value.encode()
    if type(value) is bytes:
        return value
    raise FailedError


def to_bool(value: Any) -> bool:
    """`bool(value)`."""
    if type(value) is bool:
        return value
    if type(value) is str and value in _TRUTHS:
        return _TRUTHS[value]
    raise FailedError


def to_timestamp(value: Any) -> Timestamp:
    """`timestamp(value)`: a number is whole seconds since the epoch."""
    kind = type(value)
    if kind is Timestamp:
        return Timestamp(value)
    if kind is int:
        return checked_timestamp(value * NANOS)
    if kind is str:
        return read_timestamp(value)
    raise FailedError


def to_duration(value: Any) -> Duration:
    """`duration(value)`."""
    if type(value) is Duration:
        return value
    if type(value) is str:
        return read_duration(value)
    raise FailedError
