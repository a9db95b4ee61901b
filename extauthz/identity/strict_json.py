"""JSON with exactly one reading: what two parsers could read differently is refused.

Rule 1: errors never quote what was read.
"""

import json
from math import isfinite
from typing import NoReturn

# Twice as deep as the claims of the presets nest; a limit keeps every later walk small.
MAX_DEPTH = 12
_MAX_INTEGER = 2**63  # what conditions can hold; RFC 8259 section 6 promises less


class AmbiguousJsonError(ValueError):
    """The text is not JSON with exactly one reading; the message says why, without its content."""


def read_object(raw: bytes) -> dict[str, object]:
    """Read a JSON object (RFC 8259) in UTF-8 without BOM; raise AmbiguousJsonError when there is no single reading."""
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except AmbiguousJsonError:
        raise
    except UnicodeDecodeError:
        _refuse("not UTF-8")
    except (ValueError, RecursionError):
        _refuse("not JSON")
    if type(value) is not dict:
        _refuse("not a JSON object")
    _walk(value)
    return value


def _walk(value: object) -> None:
    """Refuse depth beyond the limit, and texts that end early or cannot be encoded elsewhere."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                below += item
                below += item.values()
            elif type(item) is list:
                below += item
            elif type(item) is str and not item.isalnum():
                _check_text(item)
        if not below:
            return
        level = below
    _refuse("nested too deeply")


def _check_text(text: str) -> None:
    if "\0" in text:
        _refuse("a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        _refuse("half of a surrogate pair")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _refuse("a member name used twice")
    return members


def _integer(text: str) -> int:
    number = int(text)
    if not -_MAX_INTEGER <= number < _MAX_INTEGER:
        _refuse("an integer beyond 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse("a number beyond double precision")
    return number


def _constant(_: str) -> NoReturn:
    _refuse("a number that JSON does not have")


def _refuse(why: str) -> NoReturn:
    raise AmbiguousJsonError(why) from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_finite, parse_constant=_constant
)
