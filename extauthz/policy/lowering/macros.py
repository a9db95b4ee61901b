"""The macros of CEL, recognised by what CEL's parser makes of them: loops over an accumulator."""

from typing import Any, Literal

from msgspec import Struct

Node = Any  # cel.expr.Expr; protobuf is not imported here


class Macro(Struct, frozen=True):
    """One macro. `map` and `filter` have a body, with or without a condition; the others a condition."""

    name: Literal["all", "exists", "exists_one", "map"]
    condition: Node = None
    body: Node = None


def read_macro(loop: Node) -> Macro | None:
    """The macro that a loop came from, None when it came from none of these."""
    if loop.iter_var2:
        return None
    accumulator = loop.accu_var
    begin = loop.accu_init.const_expr.WhichOneof("constant_kind")
    if begin == "bool_value":
        return _quantifier(loop, accumulator)
    if not loop.loop_condition.const_expr.bool_value:
        return None
    if begin == "int64_value":
        return _exists_one(loop, accumulator)
    if loop.accu_init.WhichOneof("expr_kind") == "list_expr" and not loop.accu_init.list_expr.elements:
        return _map(loop, accumulator)
    return None


def _quantifier(loop: Node, accumulator: str) -> Macro | None:
    is_all = loop.accu_init.const_expr.bool_value
    operands = _call(loop.loop_step, "_&&_" if is_all else "_||_", 2)
    condition = _call(loop.loop_condition, "@not_strictly_false", 1)
    if operands is None or condition is None or not _is(loop.result, accumulator):
        return None
    going = condition[0]
    if not is_all:
        negated = _call(going, "!_", 1)
        if negated is None:
            return None
        going = negated[0]
    if not _is(going, accumulator) or not _is(operands[0], accumulator):
        return None
    return Macro("all" if is_all else "exists", operands[1])


def _exists_one(loop: Node, accumulator: str) -> Macro | None:
    step, result = _call(loop.loop_step, "_?_:_", 3), _call(loop.result, "_==_", 2)
    more = None if step is None else _call(step[1], "_+_", 2)
    if step is None or more is None or result is None or loop.accu_init.const_expr.int64_value != 0:
        return None
    if not all(_is(node, accumulator) for node in (step[2], more[0], result[0])):
        return None
    if more[1].const_expr.int64_value != 1 or result[1].const_expr.int64_value != 1:
        return None
    return Macro("exists_one", step[0])


def _map(loop: Node, accumulator: str) -> Macro | None:
    condition, added = None, loop.loop_step
    if (step := _call(added, "_?_:_", 3)) is not None:
        if not _is(step[2], accumulator):
            return None
        condition, added = step[0], step[1]
    sum_of = _call(added, "_+_", 2)
    if sum_of is None or not _is(sum_of[0], accumulator) or not _is(loop.result, accumulator):
        return None
    elements = sum_of[1].list_expr.elements
    return Macro("map", condition, elements[0]) if len(elements) == 1 else None


def _is(node: Node, name: str) -> bool:
    return bool(node.ident_expr.name == name)


def _call(node: Node, function: str, count: int) -> list[Node] | None:
    """The operands of a call of this function."""
    call = node.call_expr
    if call.function != function or call.HasField("target") or len(call.args) != count:
        return None
    return list(call.args)
