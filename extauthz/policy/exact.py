"""Which reads of an expression are of no use unless the value itself is known: all but those that are only compared.

A value that is known by a pseudonym alone can be told equal to another or not, looked up and looked for; nothing else.
Works on the checked syntax tree (cel.expr.CheckedExpr) once lookups in data are calls (see `lookups`).
Rule: what is not known to be safe here counts as needing the value.
"""

from typing import Any, Final

from extauthz.policy.lookups import GET, HAS, IN, links_of
from extauthz.policy.syntax import children

Key = tuple[str, str | None]  # a variable, and its key; None: all of it

_COMPARED: Final = frozenset({"_==_", "_!=_", "@in"})
_LOOKUPS: Final = frozenset({GET, HAS, IN})


def loose_reads(root: Any, names: dict[int, str]) -> frozenset[Key]:  # noqa: ANN401 - a cel.expr.Expr
    """The reads whose value must be known. `names` are the variables by id of the node."""
    walk = _Walk(names)
    walk.visit(root, compared=True)
    return frozenset(walk.loose)


def is_direct(root: Any, names: dict[int, str]) -> bool:  # noqa: ANN401
    """Whether an expression is one read, or one key of a map, and nothing else."""
    ident, links = links_of(root)
    is_name = ident.WhichOneof("expr_kind") == "ident_expr" and ident.id in names
    return bool(is_name and len(links) <= 1 and not root.select_expr.test_only)


def texts_of(checked: Any) -> frozenset[str]:  # noqa: ANN401 - a cel.expr.CheckedExpr
    """Every text that is written in an expression."""
    found: set[str] = set()
    waiting = [checked.expr]
    while waiting:
        node = waiting.pop()
        if node.const_expr.WhichOneof("constant_kind") == "string_value":
            found.add(node.const_expr.string_value)
        waiting += children(node)
    return frozenset(found)


class _Walk:
    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self.loose: set[Key] = set()

    def visit(self, node: Any, *, compared: bool) -> None:  # noqa: ANN401
        """`compared`: nothing but equality is asked of what this node comes to."""
        ident, links = links_of(node)
        name = self._names.get(ident.id) if ident.WhichOneof("expr_kind") == "ident_expr" else None
        if name is not None:
            self._read(name, links, compared=compared or node.select_expr.test_only)
            return
        kind = node.WhichOneof("expr_kind")
        if kind == "call_expr":
            self._call(node.call_expr)
        elif kind == "list_expr":
            for element in node.list_expr.elements:
                self.visit(element, compared=compared)
        else:
            for child in children(node):
                self.visit(child, compared=False)

    def _read(self, name: str, links: list[Any], *, compared: bool) -> None:
        key = None
        if links:
            first = links[0]
            if isinstance(first, str):
                key = first
            elif first.const_expr.WhichOneof("constant_kind") == "string_value":
                key = first.const_expr.string_value
            for link in links:
                if not isinstance(link, str):
                    self.visit(link, compared=False)
        if not compared:
            self.loose |= {(name, key), (name, None)}

    def _call(self, call: Any) -> None:  # noqa: ANN401
        operands = [*([call.target] if call.HasField("target") else []), *call.args]
        safe = call.function in _LOOKUPS or (
            call.function in _COMPARED and all(self._is_plain(operand) for operand in operands)
        )
        for operand in operands:
            self.visit(operand, compared=safe)

    def _is_plain(self, node: Any) -> bool:  # noqa: ANN401
        """Whether a value is read, written or looked up, and not made of others."""
        ident, _ = links_of(node)
        kind = node.WhichOneof("expr_kind")
        if ident.WhichOneof("expr_kind") == "ident_expr":
            return ident.id in self._names
        if kind == "list_expr":
            return all(map(self._is_plain, node.list_expr.elements))
        return bool(kind == "const_expr" or (kind == "call_expr" and node.call_expr.function == GET))
