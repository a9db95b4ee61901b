"""One spelling for all ways to write an expression of CEL, read from its checked syntax tree (cel.expr.Expr)."""

from collections.abc import Iterator
from typing import Any, Final

from extauthz.policy.syntax import children

# What stands between its arguments.
_INFIX: Final = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_", "_&&_", "_||_", "@in"}
)


def walk(node: Any) -> Iterator[Any]:  # noqa: ANN401
    """The node and all below."""
    yield node
    for child in children(node):
        yield from walk(child)


def spell(node: Any) -> str:  # noqa: ANN401
    """One spelling for all ways to write an expression."""
    match node.WhichOneof("expr_kind"):
        case "const_expr":
            constant = node.const_expr
            return repr(getattr(constant, constant.WhichOneof("constant_kind")))
        case "ident_expr":
            return str(node.ident_expr.name)
        case "select_expr":
            select = node.select_expr
            inner = _keyed(spell(select.operand), select.field)
            return f"has({inner})" if select.test_only else inner
        case "call_expr":
            return _spell_call(node.call_expr)
        case "list_expr":
            return f"[{', '.join(map(spell, node.list_expr.elements))}]"
        case "comprehension_expr":
            loop = node.comprehension_expr
            return f"loop {loop.iter_var}, {loop.accu_var} ({'; '.join(map(spell, children(node)))})"
        case _:
            return f"{{{', '.join(map(spell, children(node)))}}}"


def _spell_call(call: Any) -> str:  # noqa: ANN401
    arguments = [spell(argument) for argument in call.args]
    if call.function == "_[_]":
        key = call.args[1].const_expr
        if key.WhichOneof("constant_kind") == "string_value":
            return _keyed(arguments[0], key.string_value)
        return f"{arguments[0]}[({arguments[1]})]"
    if call.function in _INFIX:
        return f"({arguments[0]} {call.function.strip('_@')} {arguments[1]})"
    target = f"{spell(call.target)}." if call.HasField("target") else ""
    return f"{target}{call.function}({', '.join(arguments)})"


def _keyed(operand: str, key: str) -> str:
    """`request.headers[x]`, as keys of `when` are written; headers in lower case (T-74)."""
    return f"{operand}[{key.lower() if operand == 'request.headers' else key}]"
