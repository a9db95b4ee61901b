"""Functions of texts: CEL's own, and those of its strings extension. Positions are code points.

At the edges (an index at the end of a text, an empty separator) releases of CEL's evaluator differ: it is asked.
"""

from collections.abc import Callable
from typing import Any, Final

from extauthz.policy.lowering.values import BeyondError, FailedError, is_list

# Unicode's White_Space, which is not quite what Python strips.
_BLANK: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if not separator:
        raise BeyondError
    if limit == 0:
        return []
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _char_at(text: str, position: int) -> str:
    if 0 <= position < len(text):
        return text[position]
    raise BeyondError


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is None and 0 <= start < len(text):
        return text[start:]
    if end is not None and 0 <= start <= end < len(text):
        return text[start:end]
    raise BeyondError


def _join(parts: Any, separator: str = "") -> str:
    if not is_list(parts) or type(separator) is not str or not all(type(part) is str for part in parts):
        raise FailedError
    return separator.join(parts)


Function = Callable[..., Any]
# By name and number of arguments, the text before the dot included.
FUNCTIONS: Final[dict[tuple[str, int], tuple[Function, tuple[type, ...]]]] = {
    ("contains", 2): (str.__contains__, (str, str)),
    ("startsWith", 2): (str.startswith, (str, str)),
    ("endsWith", 2): (str.endswith, (str, str)),
    ("lowerAscii", 1): (lambda text: text.encode().lower().decode(), (str,)),  # bytes know the letters of ASCII alone
    ("upperAscii", 1): (lambda text: text.encode().upper().decode(), (str,)),
    ("trim", 1): (lambda text: text.strip(_BLANK), (str,)),
    ("replace", 3): (str.replace, (str, str, str)),
    ("split", 2): (_split, (str, str)),
    ("split", 3): (_split, (str, str, int)),
    ("indexOf", 2): (str.find, (str, str)),
    ("lastIndexOf", 2): (str.rfind, (str, str)),
    ("charAt", 2): (_char_at, (str, int)),
    ("substring", 2): (_substring, (str, int)),
    ("substring", 3): (_substring, (str, int, int)),
}


def typed(function: Function, types: tuple[type, ...]) -> Function:
    """`function`, which errs unless its arguments are of exactly these types."""

    def call(*values: Any) -> Any:
        for value, wanted in zip(values, types, strict=True):
            if type(value) is not wanted:
                raise FailedError
        return function(*values)

    return call


JOIN: Final = _join
