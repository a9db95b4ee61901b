"""Lookups in data files (`data.file.a[b]`), of which `lookups.rewrite` made calls: a file is at hand and never changes.

Rule: what is derived from a file is derived once for all conditions of a bundle, for files are large.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from extauthz.policy.lookups import GET, HAS
from extauthz.policy.lowering import operators
from extauthz.policy.lowering.calls import call, leave
from extauthz.policy.lowering.nodes import Kind, Lowered, constant, strict
from extauthz.policy.lowering.values import FailedError, is_plain

Node = Any  # cel.expr.Expr; protobuf is not imported here
_SET_FROM: Final = 8  # texts in a list: fewer are compared as fast


class Data:
    """The data files of a bundle, by the names of their variables (`data.file`)."""

    def __init__(self, values: Mapping[str, object]) -> None:
        """`values` must not change any more."""
        self._values = values
        self._plain: dict[str, bool] = {}
        self._texts: dict[int, frozenset[str] | None] = {}  # by id of a list, None: not all of it are texts

    def __contains__(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._values

    def value(self, name: str) -> object:
        """All of a file. Raises NotLoweredError when CEL takes some of it for something else."""
        if name not in self._plain:
            self._plain[name] = is_plain(self._values[name])
        if not self._plain[name]:
            leave(f"`{name}`, which holds texts or numbers that CEL does not")
        return self._values[name]

    def texts(self, value: list[object]) -> frozenset[str] | None:
        """The texts of a list, None when it holds something else."""
        if id(value) not in self._texts:
            only = all(type(member) is str for member in value)
            self._texts[id(value)] = frozenset(map(str, value)) if only else None
        return self._texts[id(value)]

    def constant(self, value: object) -> Lowered:
        """A part of a file."""
        kind: Kind | None = "map" if isinstance(value, dict) else None
        if isinstance(value, list):
            kind = "list" if self.texts(value) is None else "strings"
        return constant(value, kind)


def look_up(function: str, arguments: Sequence[Node], data: Data, visit: Callable[[Node], Lowered]) -> Lowered:
    """`arguments` are the file and the path in it; of `in` the path begins with what is looked for."""
    value = data.value("data." + arguments[0].const_expr.string_value)
    path = [visit(element) for element in arguments[1].list_expr.elements]
    if function == GET:
        return _get(value, path, data)
    if function == HAS:
        return strict(operators.has, [_get(value, path[:-1], data), path[-1]], "bool")
    return _member(path[0], _get(value, path[1:], data), data)


def _get(value: object, path: list[Lowered], data: Data) -> Lowered:
    """The value behind a path; as far as the path is known, it is followed now."""
    for number, key in enumerate(path):
        if not key.is_const:
            found = data.constant(value)
            for later in path[number:]:
                found = call("_[_]", [found, later])
            return found
        try:
            value = operators.index(value, key.const)
        except FailedError:
            return strict(_missing, path)
    return data.constant(value)


def _missing(*_: object) -> object:
    raise FailedError


def _member(wanted: Lowered, container: Lowered, data: Data) -> Lowered:
    texts = data.texts(container.const) if container.is_const and container.kind == "strings" else None
    if texts is not None and len(texts) > _SET_FROM:
        return strict(lambda value: type(value) is str and value in texts, [wanted], "bool", errs=False)
    return call("@in", [wanted, container])
