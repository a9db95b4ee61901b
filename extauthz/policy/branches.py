"""A condition taken apart at its `&&`, `||`, `!` and `? :`: which of its parts were true, false or in error.

Beside the path: for explanations, coverage and mutants. A decision is made by `condition` alone.
Rule 1: the text has compiled, so that only its structure is left to find; each part is compiled by CEL again.
Rule 2: parts count as they are reached from left to right: behind `false &&` nothing is asked.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from extauthz.policy.asked import Asked
from extauthz.policy.condition import FAILED, Conditions, Program

# CEL's lexical rules, as far as they say where an operator can stand.
_TOKEN: Final = re.compile(
    r"""[bBrR]{0,2}(?:\"{3}(?:\\.|.)*?\"{3}|'{3}(?:\\.|.)*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"|//[^\n]*|\s+|&&|\|\||!=|[()\[\]{}?:!]|[A-Za-z_]\w*|.",
    re.DOTALL,
)
_RAW: Final = re.compile(r"""(?:[rR][bB]?|[bB][rR])(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*')""", re.DOTALL)
_OPEN, _CLOSE = "([{", ")]}"

Result = bool | None  # None: it errs
Shape = tuple[Any, ...]  # operators alone, for comparison


class Part(Struct, frozen=True):
    """A part that has no parts: what is asked, and where it stands in the condition."""

    number: int  # of the part, from 0
    text: str
    start: int  # offset in the condition
    end: int


class Both(Struct, frozen=True):
    """`&&`."""

    operands: tuple["Node", ...]


class Either(Struct, frozen=True):
    """`||`."""

    operands: tuple["Node", ...]


class Negated(Struct, frozen=True):
    """`!`."""

    operand: "Node"


class Chosen(Struct, frozen=True):
    """`? :`."""

    test: "Node"
    then: "Node"
    otherwise: "Node"


Node = Part | Both | Either | Negated | Chosen


class Branches(Struct, frozen=True):
    """A condition's structure, and each part compiled."""

    node: Node
    parts: tuple[Part, ...]
    programs: tuple[Program | None, ...]  # of the parts

    def results(self, asked: Asked) -> dict[int, Result]:
        """What came of each part that was reached, by number."""
        found: dict[int, Result] = {}
        self._evaluate(self.node, asked, found)
        return found

    def _evaluate(self, node: Node, asked: Asked, found: dict[int, Result]) -> Result:
        match node:
            case Part(number=number):
                program = self.programs[number]
                value = FAILED if program is None else program.value(asked)
                found[number] = value if isinstance(value, bool) else None
                return found[number]
            case Both(operands):
                return self._until(operands, asked, found, ends=False)
            case Either(operands):
                return self._until(operands, asked, found, ends=True)
            case Negated(operand):
                result = self._evaluate(operand, asked, found)
                return None if result is None else not result
            case Chosen(test, then, otherwise):
                chosen = self._evaluate(test, asked, found)
                return None if chosen is None else self._evaluate(then if chosen else otherwise, asked, found)

    def _until(self, operands: tuple[Node, ...], asked: Asked, found: dict[int, Result], *, ends: bool) -> Result:
        """`&&` ends at the first that is false, `||` at the first that is true; errors are carried along."""
        result: Result = not ends
        for operand in operands:
            value = self._evaluate(operand, asked, found)
            if value is ends:
                return ends
            if value is None:
                result = None
        return result


def branches(text: str, conditions: Conditions) -> Branches:
    """Take a condition apart that has compiled; one that reads differently than CEL reads it stays whole."""
    node, parts = split(text)
    tree = conditions.tree(text)
    if tree is None or _shape(node) != _tree_shape(tree.expr):
        whole = Part(0, text, 0, len(text))
        node, parts = whole, (whole,)
    return Branches(node, parts, tuple(conditions.expression(part.text)[0] for part in parts))


def _shape(node: Node) -> Shape:
    match node:
        case Both(operands):
            return ("_&&_", *map(_shape, operands))
        case Either(operands):
            return ("_||_", *map(_shape, operands))
        case Negated(operand):
            return ("!_", _shape(operand))
        case Chosen(test, then, otherwise):
            return ("_?_:_", *map(_shape, (test, then, otherwise)))
        case Part():
            return ()


def _tree_shape(node: Any) -> Shape:  # noqa: ANN401 - a cel.expr.Expr
    """The same of CEL's own tree."""
    function = node.call_expr.function
    match function:
        case "_&&_" | "_||_":
            return (function, *(_tree_shape(each) for each in flatten(node, function)))
        case "_?_:_":
            return (function, *map(_tree_shape, node.call_expr.args))
        case "!_":
            inner = _tree_shape(node.call_expr.args[0])
            return (function, inner) if inner else ()
    return ()


def flatten(node: Any, function: str) -> list[Any]:  # noqa: ANN401 - a cel.expr.Expr
    """The operands of `a && b && c`, however CEL nests them."""
    if node.WhichOneof("expr_kind") == "call_expr" and node.call_expr.function == function:
        return [part for operand in node.call_expr.args for part in flatten(operand, function)]
    return [node]


def split(text: str) -> tuple[Node, tuple[Part, ...]]:
    """The structure of a condition and its parts in order of their place."""
    parser = _Parser(text)
    node = parser.expression(0, len(parser.tokens))
    return node, tuple(parser.parts)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Everything but blanks and comments, with its place."""
    at = 0
    while at < len(text):
        match = _RAW.match(text, at) or _TOKEN.match(text, at)
        if match is None:  # `.` matches anything
            return
        token = match[0]
        if not token.isspace() and not token.startswith("//"):
            yield token, at
        at = match.end()


class _Parser:
    """Precedence by splitting: the conditional binds least, then `||`, then `&&`, then `!`."""

    def __init__(self, text: str) -> None:
        self.parts: list[Part] = []
        self._text = text
        self.tokens = list(_tokens(text))

    def expression(self, start: int, end: int) -> Node:
        """The node of the tokens from `start` to before `end`."""
        if (question := self._find("?", start, end)) is not None:
            colon = self._colon(question + 1, end)
            return Chosen(
                self.expression(start, question),
                self.expression(question + 1, colon),
                self.expression(colon + 1, end),
            )
        for operator, node in (("||", Either), ("&&", Both)):
            pieces = list(self._pieces(operator, start, end))
            if len(pieces) > 1:
                operands = [self.expression(*piece) for piece in pieces]
                flat = [each.operands if isinstance(each, node) else (each,) for each in operands]
                return node(tuple(operand for group in flat for operand in group))
        return self._unary(start, end)

    def _unary(self, start: int, end: int) -> Node:
        if self._is(start, "!") and self._is(start + 1, "!") and self._is_whole(start + 2, end):
            return self.expression(start + 2, end)  # CEL drops them, too
        if self._is(start, "!") and self._is_whole(start + 1, end):
            inner = self.expression(start + 1, end)
            if not isinstance(inner, Part):
                return Negated(inner)
            self.parts.pop()  # `!(a)` is a part like `!a`
            return self._part(start, end)
        if self._is(start, "(") and self._closing(start) == end - 1:
            return self.expression(start + 1, end - 1)
        return self._part(start, end)

    def _part(self, start: int, end: int) -> Part:
        first, (last, place) = self.tokens[start][1], self.tokens[end - 1]
        part = Part(len(self.parts), self._text[first : place + len(last)], first, place + len(last))
        self.parts.append(part)
        return part

    def _is_whole(self, start: int, end: int) -> bool:
        """Whether `!` in front of these tokens is about all of them, as in `!(a && b)` and not in `!a == b`."""
        if self._is(start, "!"):
            return self._is_whole(start + 1, end)
        return self._is(start, "(") and self._closing(start) == end - 1

    def _is(self, at: int, token: str) -> bool:
        return self.tokens[at][0] == token

    def _find(self, token: str, start: int, end: int) -> int | None:
        return next((at for at in self._top(start, end) if self._is(at, token)), None)

    def _colon(self, start: int, end: int) -> int:
        """The `:` of a conditional, behind those of conditionals within."""
        depth = 0
        for at in self._top(start, end):
            if self._is(at, "?"):
                depth += 1
            elif self._is(at, ":"):
                if not depth:
                    return at
                depth -= 1
        return end  # not in a text that compiles

    def _pieces(self, operator: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        begin = start
        for at in self._top(start, end):
            if self._is(at, operator):
                yield begin, at
                begin = at + 1
        yield begin, end

    def _top(self, start: int, end: int) -> Iterator[int]:
        """The tokens that are in no bracket."""
        at = start
        while at < end:
            yield at
            at = self._closing(at) + 1 if self.tokens[at][0] in _OPEN else at + 1

    def _closing(self, at: int) -> int:
        depth = 0
        while at < len(self.tokens):
            token = self.tokens[at][0]
            depth += (token in _OPEN) - (token in _CLOSE)
            if not depth:
                return at
            at += 1
        return at
