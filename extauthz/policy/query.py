"""The query as upstreams may read it: strictly, and with every spelling of a name recognised.

Rule: where parsers differ, nothing is read: None.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AROUND: Final = " \t\r\n\v\f"  # what some frameworks drop around a name

_TURKISH: Final = {0x130: "i", 0x131: "i"}  # both are `i` to comparisons that ignore case, as Java's do


class Query(Struct, frozen=True):
    """Decoded query parameters."""

    values: dict[str, str]
    repeated: frozenset[str]  # names sent more than once, also when they differ only by case


NO_QUERY: Final = Query({}, frozenset())


def read_query(raw: str) -> Query | None:
    """Read `application/x-www-form-urlencoded` strictly; None for `;`, NUL, broken percent-encoding or bad UTF-8."""
    if not raw:
        return NO_QUERY
    if not _has_one_reading(raw):
        return None
    values: dict[str, str] = {}
    seen: set[str] = set()
    repeated: set[str] = set()
    try:
        for name, value in _pairs(raw):
            folded = name.casefold()
            if folded in seen:
                repeated.add(folded)
            seen.add(folded)
            values.setdefault(name, value)
    except UnicodeDecodeError:
        return None
    return Query(values, frozenset(repeated))


class Governed(Struct, frozen=True):
    """Parameters that an allow sets or removes. Envoy finds them by one spelling, upstreams by many."""

    spelled: frozenset[str]  # as the answer writes them
    folded: tuple[str, ...]

    def leaves_none(self, raw: str) -> bool:
        """Whether no parameter of a query can be read as one of these once Envoy has done its part."""
        if not raw or not self.folded:
            return True
        if not _has_one_reading(raw):
            return False
        try:
            return not any(self._survives(name) for name in (piece.partition("=")[0] for piece in raw.split("&")))
        except UnicodeDecodeError:
            return False

    def _survives(self, spelling: str) -> bool:
        if spelling in self.spelled:
            return False
        name = _decode(spelling).translate(_TURKISH).casefold().strip(_AROUND)
        return any(name == ours or name.startswith(ours + "[") for ours in self.folded)


def governed(names: Iterable[str]) -> Governed:
    """The parameters of these names. In the answer everything but letters, digits and `-._~` is percent-encoded."""
    known = tuple(dict.fromkeys(names))
    return Governed(
        frozenset(quote(name, safe="") for name in known), tuple(dict.fromkeys(name.casefold() for name in known))
    )


def _has_one_reading(raw: str) -> bool:
    return ";" not in raw and "%00" not in raw and "\0" not in raw and not _BROKEN_PERCENT.search(raw)


def _pairs(raw: str) -> Iterator[tuple[str, str]]:
    for piece in raw.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            yield _decode(name), _decode(value)


def _decode(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "strict")
