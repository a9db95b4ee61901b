"""RE2 patterns as trees, as far as `re` of Python would read them alike once they are written anew.

Rule: what this grammar does not know raises UnknownError; nothing is guessed.
"""

import re
from typing import Final

from msgspec import Struct

_LAST: Final = 0x10FFFF
_MAX_COUNT: Final = 100  # RE2 takes 1000
_MAX_DEPTH: Final = 10

Ranges = tuple[tuple[int, int], ...]  # inclusive code points, ascending, apart

_CLASSES: Final[dict[str, Ranges]] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 10), (12, 13), (32, 32)),
    "t": ((9, 9),),
    "n": ((10, 10),),
    "v": ((11, 11),),
    "f": ((12, 12),),
    "r": ((13, 13),),
}
_NEGATED: Final = {"D": "d", "W": "w", "S": "s"}
_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~")
_SPECIAL: Final = frozenset("\\.+*?()|[]{}^$")
_COUNTS = re.compile(r"([0-9]{1,3})(?:(,)([0-9]{1,3})?)?\}", re.ASCII)


class UnknownError(Exception):
    """The pattern is outside of the grammar."""


class Char(Struct, frozen=True):
    """One character out of some."""

    ranges: Ranges


class Many(Struct, frozen=True):
    """`node{low,high}`; `high` None: without end."""

    node: "Node"
    low: int
    high: int | None


class Sequence(Struct, frozen=True):
    """One after the other."""

    nodes: tuple["Node", ...]


class Choice(Struct, frozen=True):
    """One of them."""

    nodes: tuple["Node", ...]


Node = Char | Many | Sequence | Choice


def read_pattern(pattern: str) -> Node:
    """The tree of a pattern without `^` and `$`. Raises UnknownError."""
    return _Reader(pattern).read()


class _Reader:
    """Recursive descent; every pattern that it takes means the same to RE2."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> Node:
        tree = self._sequence()  # a choice out here would divide `^` from `$`
        if self._at < len(self._text):
            raise UnknownError
        return tree

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        found = self._peek()
        if not found:
            raise UnknownError
        self._at += 1
        return found

    def _choice(self) -> Node:
        found = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            found.append(self._sequence())
        return found[0] if len(found) == 1 else Choice(tuple(found))

    def _sequence(self) -> Node:
        found = []
        while self._peek() not in {"", "|", ")"}:
            found.append(self._repeated())
        return found[0] if len(found) == 1 else Sequence(tuple(found))

    def _repeated(self) -> Node:
        node = self._one()
        mark = self._peek()
        if mark not in {"*", "+", "?", "{"}:
            return node
        self._at += 1
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1), "{": (0, 0)}[mark]
        if mark == "{":
            low, high = self._counts()
        if self._peek() in {"*", "+", "?", "{"}:
            raise UnknownError
        return Many(node, low, high)

    def _counts(self) -> tuple[int, int | None]:
        match = _COUNTS.match(self._text, self._at)
        if match is None:
            raise UnknownError
        self._at = match.end()
        low = int(match[1])
        high = int(match[3]) if match[3] else None if match[2] else low
        if max(low, high or 0) > _MAX_COUNT or (high is not None and high < max(low, 1)):
            raise UnknownError
        return low, high

    def _one(self) -> Node:
        char = self._take()
        if char == "(":
            if self._peek() == "?":
                if self._text[self._at : self._at + 2] != "?:":
                    raise UnknownError
                self._at += 2
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise UnknownError
            node = self._choice()
            self._depth -= 1
            if self._take() != ")":
                raise UnknownError
            return node
        if char == ".":
            return Char(_without(((10, 10),)))
        if char == "[":
            return Char(self._class())
        if char == "\\":
            return Char(self._escaped())
        if char in _SPECIAL:
            raise UnknownError
        return Char(((ord(char), ord(char)),))

    def _escaped(self) -> Ranges:
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char in _NEGATED:
            return _without(_CLASSES[_NEGATED[char]])
        if char not in _PUNCTUATION:
            raise UnknownError
        return ((ord(char), ord(char)),)

    def _class(self) -> Ranges:
        negated = self._peek() == "^"
        self._at += negated
        found: list[tuple[int, int]] = []
        while self._peek() != "]" or not found:
            found.extend(self._members())
        self._at += 1
        joined = _joined(found)
        return _without(joined) if negated else joined

    def _members(self) -> Ranges:
        char = self._take()
        if char == "\\":
            ranges = self._escaped()
        elif char == "-" and self._peek() == "]":
            return ((45, 45),)
        elif char in "[]-^":
            raise UnknownError
        else:
            ranges = ((ord(char), ord(char)),)
        if self._peek() != "-" or self._text[self._at + 1 : self._at + 2] == "]":
            return ranges
        self._at += 1
        end = self._take()
        last = self._escaped() if end == "\\" else ((ord(end), ord(end)),)
        single = len(ranges) == len(last) == 1 and ranges[0][0] == ranges[0][1] and last[0][0] == last[0][1]
        if not single or end in "[]^-" or last[0][0] < ranges[0][0]:
            raise UnknownError
        return ((ranges[0][0], last[0][0]),)


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def _without(ranges: Ranges) -> Ranges:
    found, at = [], 0
    for low, high in ranges:
        if at < low:
            found.append((at, low - 1))
        at = high + 1
    if at <= _LAST:
        found.append((at, _LAST))
    if not found:
        raise UnknownError
    return tuple(found)


def write_pattern(node: Node) -> str:
    """The tree in the syntax of `re`."""
    if isinstance(node, Char):
        return "[" + "".join(f"{_code(low)}-{_code(high)}" for low, high in node.ranges) + "]"
    if isinstance(node, Many):
        return f"(?:{write_pattern(node.node)}){{{node.low},{'' if node.high is None else node.high}}}"
    written = map(write_pattern, node.nodes)
    return "".join(written) if isinstance(node, Sequence) else f"(?:{'|'.join(written)})"


def _code(point: int) -> str:
    return f"\\U{point:08x}"
