"""The query as upstreams may read it: strictly, and with every spelling of a name recognised.

Rule 1: where parsers differ, nothing is read: None.
Rule 2: a name in another spelling than ours is neither our parameter nor its absence (T-07).
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from extauthz.model.texts import is_safe_value

_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TURKISH: Final = {0x130: "i", 0x131: "i"}  # both are `i` to comparisons that ignore case, as Java's do
_ONE_WORD: Final = str.maketrans(". ", "__")  # PHP's variables have neither dots nor blanks


class Query(Struct, frozen=True):
    """Decoded query parameters."""

    values: dict[str, str]  # the first of each name
    spelled: dict[str, list[str]]  # every name as often as it came, by what is left of it when it is folded and cut

    def find(self, name: str) -> tuple[str, ...] | None:
        """The value of a parameter, nothing when it is absent, None when upstreams may differ about it."""
        root, folded = _names(name)
        found = self.spelled.get(root)
        if found and "[" in name:  # `filter[owner]` lives beside `filter[size]`
            found = [other for other in found if _reads_as(_fold(other), folded)]
        if not found:
            return ()
        return (self.values[name],) if found == [name] else None

    @property
    def is_repeated(self) -> bool:
        """Whether some upstream may read two parameters as one."""
        return any(len(names) > 1 for names in self.spelled.values())


NO_QUERY: Final = Query({}, {})


def read_query(raw: str) -> Query | None:
    """Read `application/x-www-form-urlencoded` strictly.

    None for `;`, NUL, broken percent-encoding, bad UTF-8 and names with control characters.
    """
    if not raw:
        return NO_QUERY
    if not _has_one_reading(raw):
        return None
    values: dict[str, str] = {}
    spelled: dict[str, list[str]] = {}
    try:
        for name, value in _pairs(raw):
            if not is_safe_value(name):
                return None
            spelled.setdefault(_root(_fold(name)), []).append(name)
            values.setdefault(name, value)
    except UnicodeDecodeError:
        return None
    return Query(values, spelled)


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
        name = _decode(spelling)
        if not is_safe_value(name):
            return True
        folded = _fold(name)
        return any(_reads_as(folded, ours) for ours in self.folded)


def governed(names: Iterable[str]) -> Governed:
    """The parameters of these names. In the answer everything but letters, digits and `-._~` is percent-encoded."""
    known = tuple(dict.fromkeys(names))
    return Governed(frozenset(quote(name, safe="") for name in known), tuple(dict.fromkeys(map(_fold, known))))


def _fold(name: str) -> str:
    """What servers make of a name that ignore case, drop blanks around it or make one word of it.

    Behind the first `[` begins what is a key or an index to some.
    """
    head, bracket, inner = name.translate(_TURKISH).casefold().partition("[")
    return head.strip().translate(_ONE_WORD) + bracket + inner


def _root(folded: str) -> str:
    return folded.partition("[")[0]


def _reads_as(folded: str, ours: str) -> bool:
    """Whether a server may read a parameter of the first name as ours: `tenant[]` is a list called `tenant`."""
    return folded == ours or folded.startswith(ours + "[")


@lru_cache(maxsize=1024)  # names come from the bundle
def _names(name: str) -> tuple[str, str]:
    folded = _fold(name)
    return _root(folded), folded


def _has_one_reading(raw: str) -> bool:
    return ";" not in raw and "%00" not in raw and "\0" not in raw and not _BROKEN_PERCENT.search(raw)


def _pairs(raw: str) -> Iterator[tuple[str, str]]:
    for piece in raw.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            yield _decode(name), _decode(value)


def _decode(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "strict")
