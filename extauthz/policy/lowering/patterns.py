"""`matches`: the RE2 patterns that Python's `re` matches equally, in one pass over any text.

Rule 1: a pattern is read into a tree and written anew; CEL's evaluator matches what `pattern_syntax` does not know.
Rule 2: only what is deterministic passes: at each character at most one way leads on, so that whatever a text tries,
going back costs one step (a Glushkov automaton without two ways on one character, nor two ways to one place).
Rule 3: a pattern that may begin anywhere is a plain text, for anything else costs the square of the length.
"""

import re
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Final

from msgspec import Struct

from extauthz.policy.lowering.pattern_syntax import (
    Char,
    Choice,
    Many,
    Node,
    Ranges,
    Sequence,
    UnknownError,
    read_pattern,
    write_pattern,
)
from extauthz.policy.lowering.values import BeyondError

MAX_TEXT: Final = 1_000  # characters: RE2 is slower to begin and faster to go on
MAX_POSITIONS: Final = 300  # characters of a pattern when its repetitions are written out


def matcher(pattern: str) -> Callable[[str], bool] | None:
    """What tells whether the pattern is found in a text; None when CEL's evaluator is to tell."""
    starts, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    try:
        tree = read_pattern(pattern[starts : len(pattern) - ends])
        if (plain := _plain(tree)) is not None:
            return _of_text(plain, starts=starts, ends=ends)
        if not starts or not _is_deterministic(tree):
            return None
    except UnknownError:
        return None
    match = re.compile(write_pattern(tree) + (r"\Z" if ends else "")).match

    def found(text: str) -> bool:
        if len(text) > MAX_TEXT:
            raise BeyondError
        return match(text) is not None

    return found


def _of_text(plain: str, *, starts: bool, ends: bool) -> Callable[[str], bool]:
    if starts and ends:
        return lambda text: text == plain
    if starts:
        return lambda text: text.startswith(plain)
    if ends:
        return lambda text: text.endswith(plain)
    return lambda text: plain in text


def _plain(node: Node) -> str | None:
    """The one text that a pattern matches."""
    if isinstance(node, Char):
        low, high = node.ranges[0]
        return chr(low) if len(node.ranges) == 1 and low == high else None
    if isinstance(node, Sequence):
        parts = [_plain(part) for part in node.nodes]
        return None if None in parts else "".join(part or "" for part in parts)
    return None


def _is_deterministic(tree: Node) -> bool:
    automaton = _Automaton()
    ways = [automaton.part(tree).first, *automaton.after]
    return not any(
        _overlap(automaton.ranges[left], automaton.ranges[right])
        for following in ways
        for left, right in combinations(sorted(following), 2)
    )


def _overlap(left: Ranges, right: Ranges) -> bool:
    return any(low <= end and start <= high for low, high in left for start, end in right)


class _Part(Struct):
    """A part of the automaton: the positions it may begin and end with, and whether it may be empty."""

    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    empty: bool = True


class _Automaton:
    """Which positions of a pattern may come after which (Glushkov). Raises UnknownError where two ways are one."""

    def __init__(self) -> None:
        self.ranges: list[Ranges] = []
        self.after: list[set[int]] = []

    def part(self, node: Node) -> _Part:
        if isinstance(node, Char):
            return self._char(node)
        if isinstance(node, Sequence):
            return self._row(map(self.part, node.nodes))
        if isinstance(node, Choice):
            return self._choice([self.part(inner) for inner in node.nodes])
        return self._many(node)

    def _char(self, node: Char) -> _Part:
        if len(self.ranges) >= MAX_POSITIONS:
            raise UnknownError
        self.ranges.append(node.ranges)
        self.after.append(set())
        here = frozenset((len(self.ranges) - 1,))
        return _Part(here, here, empty=False)

    def _choice(self, parts: list[_Part]) -> _Part:
        if sum(part.empty for part in parts) > 1:
            raise UnknownError
        first = frozenset[int]().union(*(part.first for part in parts))
        last = frozenset[int]().union(*(part.last for part in parts))
        return _Part(first, last, any(part.empty for part in parts))

    def _row(self, parts: Iterable[_Part]) -> _Part:
        whole = _Part()
        for part in parts:
            self._lead(whole.last, part.first)
            whole = _Part(
                whole.first | part.first if whole.empty else whole.first,
                whole.last | part.last if part.empty else part.last,
                whole.empty and part.empty,
            )
        return whole

    def _lead(self, origins: frozenset[int], targets: frozenset[int]) -> None:
        for origin in origins:
            if self.after[origin] & targets:
                raise UnknownError
            self.after[origin] |= targets

    def _many(self, node: Many) -> _Part:
        """The copies that are needed, then one that repeats, or as many as are possible."""
        parts = [self._once(node) for _ in range(node.low)]
        if node.high is None:
            more = self._once(node)
            self._lead(more.last, more.first)
            return self._row([*parts, _Part(more.first, more.last)])
        rest = _Part()
        for _ in range(node.high - node.low):
            rest = self._row([self._once(node), rest])
            rest = _Part(rest.first, rest.last)
        return self._row([*parts, rest])

    def _once(self, node: Many) -> _Part:
        part = self.part(node.node)
        if part.empty:  # how often nothing was repeated could be told in many ways
            raise UnknownError
        return part
