"""A closer look at conditions: their parts, and what each part read, for people. Beside the path.

Rule 1: what may identify or unlock something is masked.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from extauthz.policy.asked import Asked
from extauthz.policy.branches import Branches, Result, branches
from extauthz.policy.condition import FAILED, Conditions, Program
from extauthz.policy.parts import mask
from extauthz.policy.syntax import children

_CLEAR: Final = frozenset(
    {
        "request.method",
        "request.host",
        "request.port",
        "request.scheme",
        "resource.tenant",
        "subject.authenticated",
        "subject.roles",
        "subject.scopes",
        "subject.tenant",
        "source.namespace",
        "destination.port",
        "now",
    }
)
_MAX_SHOWN: Final = 80  # characters of a value that is shown as it is


class BranchTrace(Struct, frozen=True):
    """One part of a condition."""

    text: str  # as written
    result: str  # "true", "false", "error" or "not reached"
    values: tuple[tuple[str, str], ...]  # what it read and what was found, masked


_WORDS: Final[dict[Result, str]] = {True: "true", False: "false", None: "error"}


class Closer:
    """Takes the conditions of one bundle apart, each once."""

    def __init__(self, data: Mapping[str, object]) -> None:
        """`data` by file name, as the bundle's conditions read it."""
        self._conditions = Conditions(data)
        self._branches: dict[str, Branches] = {}
        self._reads: dict[str, tuple[tuple[str, Program], ...]] = {}

    def branches(self, text: str) -> Branches:
        """The parts of a condition that has compiled."""
        if text not in self._branches:
            self._branches[text] = branches(text, self._conditions)
        return self._branches[text]

    def trace(self, text: str, asked: Asked) -> tuple[BranchTrace, ...]:
        """What came of each part; `asked.params` are those of the way that is looked at."""
        taken = self.branches(text)
        results = taken.results(asked)
        return tuple(
            BranchTrace(
                part.text,
                _WORDS[results[part.number]] if part.number in results else "not reached",
                tuple(self._values(part.text, asked)) if part.number in results else (),
            )
            for part in taken.parts
        )

    def _values(self, text: str, asked: Asked) -> Iterator[tuple[str, str]]:
        for name, program in self._read(text):
            yield name, _show(name, program.value(asked))

    def _read(self, text: str) -> tuple[tuple[str, Program], ...]:
        """What a part reads, as expressions of their own."""
        if text not in self._reads:
            tree = self._conditions.tree(text)
            if tree is None:
                return ()
            known = {id_ for id_, found in tree.reference_map.items() if found.name in self._conditions.names}
            names = dict.fromkeys(_chains(tree.expr, known))
            compiled = [(name, self._conditions.expression(name)[0]) for name in names]
            self._reads[text] = tuple((name, program) for name, program in compiled if program is not None)
        return self._reads[text]


def _chains(node: Any, known: set[int]) -> Iterator[str]:  # noqa: ANN401 - a cel.expr.Expr, as below
    """The longest `name.a["b"]` in an expression, in CEL's syntax."""
    text = _chain(node, known)
    if text:
        yield text
    for child in children(node):
        if not text or not _chain(child, known):
            yield from _chains(child, known)


def _chain(node: Any, known: set[int]) -> str:  # noqa: ANN401
    """The node as text if it is a variable, or a member of one by a constant or by another of these; else ""."""
    match node.WhichOneof("expr_kind"):
        case "ident_expr":
            return str(node.ident_expr.name) if node.id in known else ""
        case "select_expr":
            operand = _chain(node.select_expr.operand, known)
            return f"{operand}.{node.select_expr.field}" if operand else ""
        case "call_expr" if node.call_expr.function == "_[_]":
            operand, key = _chain(node.call_expr.args[0], known), _key(node.call_expr.args[1], known)
            return f"{operand}[{key}]" if operand and key else ""
    return ""


def _key(node: Any, known: set[int]) -> str:  # noqa: ANN401
    match node.const_expr.WhichOneof("constant_kind") if node.HasField("const_expr") else "":
        case "string_value":
            return json.dumps(node.const_expr.string_value)
        case "int64_value":
            return str(node.const_expr.int64_value)
    return _chain(node, known)


def _show(name: str, value: object) -> str:
    if value is FAILED:
        return "absent or not readable"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, dict | list) and not (name in _CLEAR and all(isinstance(each, str) for each in value)):
        return f"{'map' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = ", ".join(value) if isinstance(value, list) else str(value)
    if name not in _CLEAR and not name.startswith("data."):
        return mask(text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
