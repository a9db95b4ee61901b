"""What an expression of CEL is made of, for whoever walks its syntax tree (cel.expr.Expr)."""

from typing import Any


def children(node: Any) -> list[Any]:  # noqa: ANN401 - a cel.expr.Expr
    """The parts right below a node, in the order in which they are written; of a loop, what a macro comes to."""
    match node.WhichOneof("expr_kind"):
        case "select_expr":
            return [node.select_expr.operand]
        case "call_expr":
            call = node.call_expr
            return [*([call.target] if call.HasField("target") else []), *call.args]
        case "list_expr":
            return list(node.list_expr.elements)
        case "struct_expr":
            return [part for entry in node.struct_expr.entries for part in (entry.map_key, entry.value)]
        case "comprehension_expr":
            loop = node.comprehension_expr
            return [loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result]
    return []
