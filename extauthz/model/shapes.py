"""What patterns see of a path: segments that none of them names are all alike to them."""

from collections.abc import Iterable
from typing import Final

Shape = tuple[str | None, ...]
Segments = tuple[str, ...]

_SLASH: Final = "/"  # no segment is one


class Shapes:
    """The shapes of paths under one set of patterns: two paths of one shape are covered by the same of them."""

    def __init__(self, literals: Iterable[str]) -> None:
        """`literals`: every text that a pattern compares with a segment, as written or case-folded."""
        known = {spelling: spelling for literal in literals for spelling in (literal, literal.casefold())}
        self._known: Final = known.get

    def of(self, segments: Segments, folded: Segments) -> Shape:
        """The shape of a path; `folded` are its case-folded segments, the same object where they are the same."""
        shape: Shape = tuple(map(self._known, segments))
        return shape if folded is segments else (*shape, _SLASH, *map(self._known, folded))
