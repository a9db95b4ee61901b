"""JSON read in small steps: in one call into C, 100,000 entries take 80 ms in which no other thread decides anything.

Rule 1: what is read is exactly what the strict parser (see `data`) would have read. Where that is in doubt nothing is,
and the strict parser says what is wrong, or that nothing is.
Rule 2: between two steps an entry of the outermost levels is read, or an object within it.
"""

import json
import re
import sys
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed does not list it
from math import isfinite
from typing import Any, Final, NoReturn

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NEXT: Final = re.compile(r"[ \t\n\r]*(.?)", re.DOTALL)
# Characters: a list or object that is not closed within so many is read entry by entry.
_SMALL: Final = 4096
_SHARED_LENGTH: Final = 64  # of names and texts that are likely to be there more than once
_WINDOW: Final = 1 << 16
_MAX_DIGITS: Final = 18  # numbers with more may be beyond 64 bits


class InDoubtError(Exception):
    """Another parser has to say."""


def read_in_steps(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a JSON text. Raises InDoubtError."""
    for start in range(0, len(text), _WINDOW):
        part = text[start : start + _WINDOW + 2]
        if "\\ud" in part or "\\uD" in part:  # may be half of a surrogate pair
            raise InDoubtError
    try:
        value, end = _value(text, _SPACE.match(text).end())  # type: ignore[union-attr]  # it always matches
    except (ValueError, StopIteration, IndexError, RecursionError):
        raise InDoubtError from None
    if _NEXT.match(text, end)[1]:  # type: ignore[index]  # likewise
        raise InDoubtError
    return value


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends."""
    first = text[at]
    if first == "{" and text.find("}", at, at + _SMALL) < 0:
        return _object(text, at + 1)
    if first == "[" and (text.find("]", at, at + _SMALL) < 0 or _mark(text, at + 1)[0] == "["):
        return _list(text, at + 1)
    value, end = _scan(text, at)
    return (sys.intern(value) if type(value) is str and len(value) <= _SHARED_LENGTH else value), end


def _object(text: str, at: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    mark, at = _mark(text, at)
    if mark == "}":
        return found, at
    while True:
        if mark != '"':
            raise InDoubtError
        key, at = scanstring(text, at, True)  # noqa: FBT003 - the signature is Python's
        mark, at = _mark(text, at)
        if mark != ":" or key in found:
            raise InDoubtError
        found[key], at = _value(text, _SPACE.match(text, at).end())  # type: ignore[union-attr]  # it always matches
        mark, at = _mark(text, at)
        if mark == "}":
            return found, at
        if mark != ",":
            raise InDoubtError
        mark, at = _mark(text, at)


def _list(text: str, at: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    mark, end = _mark(text, at)
    if mark == "]":
        return found, end
    while True:
        value, at = _value(text, _SPACE.match(text, at).end())  # type: ignore[union-attr]  # it always matches
        found.append(value)
        mark, at = _mark(text, at)
        if mark == "]":
            return found, at
        if mark != ",":
            raise InDoubtError


def _mark(text: str, at: int) -> tuple[str, int]:
    """The next character that is no space, "" at the end, and where it ends."""
    found = _NEXT.match(text, at)
    return (found[1], found.end()) if found is not None else ("", at)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A small object; as a function of Python's it is where another thread gets its turn."""
    found = {sys.intern(key): value for key, value in pairs}
    if len(found) != len(pairs):
        raise InDoubtError
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise InDoubtError
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise InDoubtError
    return number


def _constant(_: str) -> NoReturn:
    raise InDoubtError


_scan: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_float, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]  # likewise
