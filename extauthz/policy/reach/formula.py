"""A condition as a formula over terms that are compared with constants, read from CEL's checked syntax tree.

Rule 1: a part that reads nothing is computed by CEL itself; what is not understood is a truth value of its own.
Rule 2: two terms are one exactly if they are spelled alike, however the text spells them (`a.b`, `a["b"]`).
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, Literal

from msgspec import Struct

from extauthz.policy.branches import flatten
from extauthz.policy.condition import FAILED, Conditions
from extauthz.policy.reach.spelling import spell, walk

Scalar = str | float | bool | None
Kind = Literal["text", "int", "float", "any", "truth"]
_ORDER: Final = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_PRIMITIVES: Final[dict[int, Kind]] = {1: "truth", 2: "int", 4: "float", 5: "text"}  # cel.expr.Type.PrimitiveType
_TESTS: Final = frozenset({"startsWith", "endsWith", "contains"})


class Term(Struct, frozen=True):
    """Something that has one value in each evaluation, or none because it errs."""

    name: str  # e.g. `request.method`, `request.headers[x-channel]`, `int(request.query[amount])`
    kind: Kind


class Fixed(Struct, frozen=True):
    """A part that reads nothing; None: it errs."""

    value: bool | None


class All(Struct, frozen=True):
    """`&&`."""

    parts: tuple["Formula", ...]


class Some(Struct, frozen=True):
    """`||`."""

    parts: tuple["Formula", ...]


class Not(Struct, frozen=True):
    """`!`."""

    part: "Formula"


class Choice(Struct, frozen=True):
    """`? :`."""

    test: "Formula"
    then: "Formula"
    otherwise: "Formula"


class Compared(Struct, frozen=True):
    """A term beside a constant."""

    term: Term
    operator: str
    value: Scalar


class Listed(Struct, frozen=True):
    """Whether a term is one of these constants."""

    term: Term
    values: tuple[Scalar, ...]


class Tested(Struct, frozen=True):
    """`startsWith`, `endsWith` or `contains` of a term and a constant."""

    term: Term
    function: str
    value: str


class Member(Struct, frozen=True):
    """Whether a constant is in the list or map that `container` names."""

    term: Term  # of the answer
    container: str  # e.g. `subject.roles`
    value: Scalar


class Truth(Struct, frozen=True):
    """A term that is true or false."""

    term: Term


Atom = Compared | Listed | Tested | Member | Truth
Formula = Fixed | All | Some | Not | Choice | Atom


class Condition(Struct, frozen=True):
    """What can be said of a condition without a request."""

    formula: Formula
    conjuncts: frozenset[str]  # the parts of its outermost `&&`, as they are spelled
    names: frozenset[str]  # of the variables that it reads

    @property
    def reads_params(self) -> bool:
        """Whether it compares captures: what they are depends on the rule's own patterns."""
        return "params" in self.names


def read_condition(text: str, conditions: Conditions) -> Condition | None:
    """The condition as a formula; None when it does not compile."""
    tree = conditions.tree(text)
    if tree is None:
        return None
    reader = _Reader(tree, conditions)
    return Condition(
        formula=reader.read(tree.expr),
        conjuncts=frozenset(spell(node) for node in flatten(tree.expr, "_&&_")),
        names=frozenset(reader.names),
    )


def atoms(formula: Formula) -> Iterator[Atom]:
    """Everything in a formula that compares or asks, in order."""
    match formula:
        case All(parts) | Some(parts):
            for part in parts:
                yield from atoms(part)
        case Not(part):
            yield from atoms(part)
        case Choice(test, then, otherwise):
            for part in (test, then, otherwise):
                yield from atoms(part)
        case Fixed():
            return
        case _:
            yield formula


class _Reader:
    def __init__(self, tree: Any, conditions: Conditions) -> None:  # noqa: ANN401 - a CheckedExpr
        self._tree = tree
        self._conditions = conditions
        self._variables = {id_ for id_, reference in tree.reference_map.items() if reference.name in conditions.names}
        self.names = {reference.name for id_, reference in tree.reference_map.items() if id_ in self._variables}

    def read(self, node: Any) -> Formula:  # noqa: ANN401 - a cel.expr.Expr, as below
        if not self._reads(node):
            value = self._conditions.constant(self._tree, node)
            return Fixed(value if isinstance(value, bool) else None)
        call = node.call_expr
        match call.function if node.WhichOneof("expr_kind") == "call_expr" else "":
            case "_&&_":
                return All(tuple(map(self.read, flatten(node, "_&&_"))))
            case "_||_":
                return Some(tuple(map(self.read, flatten(node, "_||_"))))
            case "!_":
                return Not(self.read(call.args[0]))
            case "_?_:_":
                return Choice(*map(self.read, call.args))
            case function if function in _ORDER:
                return self._compared(_ORDER[function], *call.args) or self._truth(node)
            case "@in":
                return self._member(call.args[0], call.args[1], node) or self._truth(node)
            case function if function in _TESTS and len(call.args) == 1 and call.HasField("target"):
                value = self._constant(call.args[0])
                term = self._term(call.target)
                if isinstance(value, str) and term is not None and term.kind == "text":
                    return Tested(term, function, value)
        return self._truth(node)

    def _compared(self, operator: str, left: Any, right: Any) -> Formula | None:  # noqa: ANN401
        for term_node, value_node, turned in ((left, right, operator), (right, left, _TURNED[operator])):
            if self._reads(term_node) and not self._reads(value_node):
                term, value = self._term(term_node), self._constant(value_node)
                return None if term is None or value is FAILED else Compared(term, turned, value)  # type: ignore[arg-type]  # not FAILED
        return None

    def _member(self, left: Any, right: Any, node: Any) -> Formula | None:  # noqa: ANN401
        if self._reads(left) and not self._reads(right) and right.HasField("list_expr"):
            values = tuple(map(self._constant, right.list_expr.elements))
            term = self._term(left)
            return None if term is None or FAILED in values else Listed(term, values)  # type: ignore[arg-type]
        if not self._reads(left) and (value := self._constant(left)) is not FAILED:
            return Member(Term(spell(node), "truth"), spell(right), value)  # type: ignore[arg-type]
        return None

    def _truth(self, node: Any) -> Truth:  # noqa: ANN401
        return Truth(Term(spell(node), "truth"))

    def _term(self, node: Any) -> Term | None:  # noqa: ANN401
        """The node as a term; None when its values cannot be listed."""
        kind = self._tree.type_map[node.id]
        if kind.WhichOneof("type_kind") == "dyn":
            return Term(spell(node), "any")
        primitive = _PRIMITIVES.get(kind.primitive)
        return Term(spell(node), primitive) if primitive is not None else None

    def _constant(self, node: Any) -> object:  # noqa: ANN401
        """A scalar, or FAILED for anything else."""
        value = FAILED if self._reads(node) else self._conditions.constant(self._tree, node)
        if isinstance(value, float) and not isfinite(value):
            return FAILED
        return value if value is None or isinstance(value, str | int | float | bool) else FAILED

    def _reads(self, node: Any) -> bool:  # noqa: ANN401
        """Whether the node reads a variable."""
        return any(inner.id in self._variables for inner in walk(node))
