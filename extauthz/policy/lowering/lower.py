"""From CEL's checked syntax tree to closures.

Rule 1: a result is CEL's own to the last bit, errors included, or the expression is not lowered (NotLoweredError), or
the closure says while it runs that CEL's evaluator must be asked (BeyondError). It is never an approximation.
Rule 2: closures, not generated code. Written as functions, simple conditions took 0.11 to 0.28 us instead of 0.18 to
0.44, to make them took as long, and here no text of a policy ever becomes code.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from extauthz.policy.claims import ABSENT
from extauthz.policy.lookups import GET, HAS, IN
from extauthz.policy.lowering import operators
from extauthz.policy.lowering.calls import call, leave
from extauthz.policy.lowering.clock import NOW, kind_by_clock, of_the_second
from extauthz.policy.lowering.lookup import Data
from extauthz.policy.lowering.loops import Place, collect, count_one, quantifier
from extauthz.policy.lowering.macros import read_macro
from extauthz.policy.lowering.nodes import (
    ERROR,
    MAPS,
    Frame,
    Kind,
    Lowered,
    choice,
    constant,
    junction,
    list_of,
    map_of,
    read,
    strict,
)
from extauthz.policy.lowering.values import FailedError, UInt, is_text

Node = Any  # cel.expr.Expr; protobuf is not imported here

_JUNCTIONS: Final = {"_&&_": False, "_||_": True}
_LOOKUPS: Final = frozenset((GET, HAS, IN))


class Scope(Struct, frozen=True):
    """What an expression may read, and where it is in the frame."""

    names: Mapping[int, str]  # of the nodes that are variables, by id
    slots: Mapping[tuple[str, str | None], tuple[int, Kind]]  # by variable and key, None: all of it
    data: Data
    facts: int  # the slot with what there is of data
    part_of_now: Callable[[Node], Callable[[Any], Any]]  # CEL's evaluator on a part that reads nothing but `now`
    free: int  # the first slot that nothing is read into


class Expression(Struct, frozen=True):
    """A lowered expression."""

    root: Lowered
    variables: int  # of its loops; with any, the frame goes on with what the loops may take, and these


def lower(node: Node, scope: Scope) -> Expression:
    """Lower a whole expression. Raises NotLoweredError."""
    walk = _Walk(scope)
    root = walk.visit(node)
    return Expression(root, walk.variables)


class _Walk:
    def __init__(self, scope: Scope) -> None:
        self.variables = 0
        self._scope = scope
        self._around: dict[str, Lowered] = {}  # variables of the loops around

    def visit(self, node: Node) -> Lowered:
        """The closure of a node."""
        match node.WhichOneof("expr_kind"):
            case "const_expr":
                return _literal(node.const_expr)
            case "ident_expr":
                return self._name(node)
            case "select_expr":
                return self._select(node.select_expr)
            case "call_expr":
                return self._call(node)
            case "list_expr":
                if node.list_expr.optional_indices:
                    leave("optional elements")
                return list_of([self.visit(element) for element in node.list_expr.elements])
            case "struct_expr":
                return self._map(node.struct_expr)
            case "comprehension_expr":
                return self._loop(node.comprehension_expr)
            case other:
                return leave(f"{other}")

    def _name(self, node: Node) -> Lowered:
        written = node.ident_expr.name
        if written in self._around:
            return self._around[written]
        name = self._scope.names.get(node.id, "")
        if (found := self._scope.slots.get((name, None))) is not None:
            return read(*found)
        if name in self._scope.data:
            return self._scope.data.whole(name, self._scope.facts)
        return leave(f"`{written}`")

    def _slot(self, operand: Node, key: str) -> tuple[int, Kind] | None:
        """Where one key of a variable is; None when this is no variable that is read key by key."""
        if operand.WhichOneof("expr_kind") != "ident_expr" or operand.ident_expr.name in self._around:
            return None
        return self._scope.slots.get((self._scope.names.get(operand.id, ""), key))

    def _select(self, select: Node) -> Lowered:
        field = select.field
        if (found := self._slot(select.operand, field)) is not None:
            return _is_present(found[0]) if select.test_only else _present(*found)
        operand = self.visit(select.operand)
        if select.test_only:
            return strict(operators.has, [operand, constant(field)], "bool")
        if operand.kind in MAPS:
            return call("_[_]", [operand, constant(field)])
        return strict(operators.select, [operand, constant(field)])

    def _call(self, node: Node) -> Lowered:
        name = node.call_expr.function
        if name in _LOOKUPS:
            return self._scope.data.look_up(name, node.call_expr.args, self._scope.facts, self.visit)
        if (kind := kind_by_clock(node, self._scope.names)) is not None and NOW not in self._around:
            return of_the_second(self._scope.part_of_now(node), self._scope.slots[NOW, None][0], kind)
        operands = [*([node.call_expr.target] if node.call_expr.HasField("target") else []), *node.call_expr.args]
        if name in {"_[_]", "@in"}:
            container, key = operands if name == "_[_]" else reversed(operands)
            if key.const_expr.WhichOneof("constant_kind") == "string_value":
                found = self._slot(container, key.const_expr.string_value)
                if found is not None:
                    return _is_present(found[0]) if name == "@in" else _present(*found)
        if name in _JUNCTIONS:
            return junction([self.visit(operand) for operand in _flat(node, name)], _JUNCTIONS[name])
        lowered = [self.visit(operand) for operand in operands]
        return choice(*lowered) if name == "_?_:_" else call(name, lowered)

    def _map(self, struct: Node) -> Lowered:
        entries = {}
        for entry in struct.entries:
            key = entry.map_key.const_expr
            if struct.message_name or entry.optional_entry or key.WhichOneof("constant_kind") != "string_value":
                leave("a map with keys that are no literal texts")
            if key.string_value in entries or not is_text(key.string_value):
                leave("a map with a key twice")
            entries[key.string_value] = self.visit(entry.value)
        return map_of(entries)

    def _loop(self, node: Node) -> Lowered:
        macro = read_macro(node)
        if macro is None:
            leave("a loop that is none of the macros")
        items = self.visit(node.iter_range)
        first = self._scope.free
        place = Place(first, first + 1, first + 2 + self.variables)
        self.variables += 1
        hidden = self._around.get(node.iter_var)
        texts = items.kind in {"strings", *MAPS}  # a map is walked by its keys
        self._around[node.iter_var] = read(place.variable, "string" if texts else "dyn")
        condition = None if macro.condition is None else self.visit(macro.condition)
        body = None if macro.body is None else self.visit(macro.body)
        if hidden is None:
            del self._around[node.iter_var]
        else:
            self._around[node.iter_var] = hidden
        if macro.name == "exists_one" and condition is not None:
            return count_one(items, condition, place)
        if body is not None:
            return collect(items, condition, body, place, "strings" if body.kind == "string" else "list")
        if condition is None:
            leave("a loop that is none of the macros")
        return quantifier(items, condition, place, macro.name == "exists")


def _literal(const: Node) -> Lowered:
    match const.WhichOneof("constant_kind"):
        case "null_value":
            return constant(None)
        case "uint64_value":
            return constant(UInt(const.uint64_value), "uint")
        case "string_value" if not is_text(const.string_value):
            return leave("a literal with a NUL")
        case "bool_value" | "int64_value" | "double_value" | "string_value" | "bytes_value" as kind:
            return constant(getattr(const, kind))
        case other:
            return leave(f"{other}")


def _present(slot: int, kind: Kind) -> Lowered:
    def run(frame: Frame) -> Any:
        value = frame[slot]
        if value is ABSENT:
            raise FailedError
        return value

    return Lowered(run, kind, ERROR)


def _is_present(slot: int) -> Lowered:
    return Lowered(lambda frame: frame[slot] is not ABSENT, "bool")


def _flat(node: Node, name: str) -> list[Node]:
    """The operands of `a && b && …`, which CEL's parser nests."""
    if node.call_expr.function != name or node.WhichOneof("expr_kind") != "call_expr":
        return [node]
    return [operand for argument in node.call_expr.args for operand in _flat(argument, name)]
