"""Whether what is left to decide in two bundles is the same, so that both say the same whatever the request is.

Rule 1: compared by value, expressions by their text and by the data that they name. What is not the same for certain is
not the same: compiled functions only where they are one function over the same values.
Rule 2: it takes a bounded time, whatever the size of the data: large data counts as other data.
"""

import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final

from msgspec import Struct

from extauthz.policy import Candidate, PolicySet, Program, Rule, Shortlist

_DATA: Final = re.compile(r"\bdata\b(?:\s*\.\s*([A-Za-z_][A-Za-z0-9_]*))?")
_MOST_COMPARED: Final = 1_000  # parts of a rule, with the data that it names: half a millisecond


class SameRules:
    """Compares the rules of two sets, each pair of rules once."""

    def __init__(self, before: PolicySet, after: PolicySet) -> None:
        self._before, self._after = before, after
        self._known: dict[tuple[int, int], bool] = {}  # by ids of rules, which the sets hold

    def decide(self, one: Shortlist, other: Shortlist) -> bool:
        """Whether two shortlists, each of its set, give the same verdict on every request that they are for."""
        if one.is_long or other.is_long or one.otherwise != other.otherwise or self._before.bare != self._after.bare:
            return False
        return self._all(one.candidates, other.candidates) and self._all(one.first, other.first)

    def _all(self, some: tuple[Candidate, ...], others: tuple[Candidate, ...]) -> bool:
        return len(some) == len(others) and all(
            one.source == other.source and one.ways == other.ways and self._rule(one.rule, other.rule)
            for one, other in zip(some, others, strict=True)
        )

    def _rule(self, one: Rule, other: Rule) -> bool:
        place = (id(one), id(other))
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = _Comparing(self._before.files, self._after.files).same(one, other)
        return found


class _Comparing:
    """One comparison, as far as it may go."""

    def __init__(self, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        self._before, self._after = before, after
        self._left = _MOST_COMPARED

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401 - whatever rules and data are made of
        self._left -= 1
        if one is other:
            return True
        if self._left < 0 or type(one) is not type(other):
            return False
        if isinstance(one, Program):
            return one.text == other.text and self._read_the_same(one.text)
        if isinstance(one, Struct):
            return all(self.same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
        if isinstance(one, tuple | list):
            return len(one) == len(other) and all(map(self.same, one, other))
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(self.same(value, other[key]) for key, value in one.items())
        if isinstance(one, FunctionType):
            return self._call_the_same(one, other)
        return bool(one == other)

    def _read_the_same(self, text: str) -> bool:
        """Whether the data that an expression names, if it does, is the same in both."""
        for found in _DATA.finditer(text):
            name = found[1]
            if name is None or name not in self._before or name not in self._after:
                return False
            if not self.same(self._before[name], self._after[name]):
                return False
        return True

    def _call_the_same(self, one: FunctionType, other: FunctionType) -> bool:
        if one.__code__ is not other.__code__ or one.__defaults__ != other.__defaults__:
            return False
        cells, others = one.__closure__ or (), other.__closure__ or ()
        return len(cells) == len(others) and all(
            self.same(cell.cell_contents, another.cell_contents) for cell, another in zip(cells, others, strict=True)
        )
