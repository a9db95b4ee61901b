"""Lookups in data files (`data.file.a[b]`), of which `lookups.rewrite` made calls.

Rule 1: a closure never holds data: it reads a place of the facts that come with each question (see `facts`).
Rule 2: what was taken for granted of a place (its kind, that it is there) is noted; `Data.replace` tells whether other
data keep it. Where they do not, everything is compiled anew.
Rule 3: what is derived from a file is derived once for all conditions of a bundle, for files are large.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from extauthz.policy.lookups import GET, HAS
from extauthz.policy.lowering import operators
from extauthz.policy.lowering.calls import call, leave
from extauthz.policy.lowering.nodes import ERROR, KINDS, Frame, Kind, Lowered, strict
from extauthz.policy.lowering.values import FailedError, UInt, is_plain, is_text

Node = Any  # cel.expr.Expr; protobuf is not imported here
_SET_FROM: Final = 8  # texts in a list: fewer are compared as fast
_MISSING: Final = object()
_KEYS: Final = (str, int, float, bool, UInt)  # types of what may be a key


class _Place(Struct, frozen=True):
    """Where in the data, and in which form."""

    name: str  # of the variable: `data.file`
    path: tuple[tuple[type, Any], ...] = ()  # each key with its type, for 1, 1.0 and true are one to a dict
    is_set: bool = False  # a list of texts, as a set of them


class Data:
    """The data files of a bundle, by the names of their variables (`data.file`), and what expressions read of them."""

    def __init__(self, values: Mapping[str, object]) -> None:
        """`values` must not change any more."""
        self._values = values
        self._plain: dict[str, bool] = {}
        self._numbers: dict[_Place, int] = {}
        self._kinds: list[Kind | None] = []  # of each place; None: there is nothing
        self._texts: dict[int, frozenset[str] | None] = {}  # by id of a list, None: not all of it are texts
        self._pinned: dict[_Place, object] = {}  # of which the value itself became part of an expression
        self.found: list[Any] = []  # by number of the place

    def __contains__(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._values

    def replace(self, values: Mapping[str, object]) -> bool:
        """Take other data of the same names; False, and no change, when an expression was compiled for what they lack.

        A member of a map or list is taken to be as plain as it was when it is the same object.
        """
        fresh = Data(values)
        for name, plain in self._plain.items():
            fresh._plain[name] = plain if values[name] is self._values[name] else self._is_plain(name, values[name])
            if fresh._plain[name] != plain:
                return False
        for place, kind in zip(self._numbers, self._kinds, strict=True):
            if values[place.name] is self._values[place.name]:
                fresh._keep(place, kind, self.found[self._numbers[place]])
            elif fresh._find(place) != kind:
                return False
        if any(fresh.found[self._numbers[place]] != value for place, value in self._pinned.items()):
            return False
        self._values, self._texts, self.found = values, fresh._texts, fresh.found
        return True

    def _is_plain(self, name: str, value: object) -> bool:
        before = self._values[name]
        if not self._plain[name] or not isinstance(value, dict) or not isinstance(before, dict):
            return is_plain(value)
        return all(
            before.get(key, _MISSING) is member or (is_text(key) and is_plain(member)) for key, member in value.items()
        )

    def whole(self, name: str, slot: int) -> Lowered:
        """All of a file, whose places are in that slot. Raises NotLoweredError as `_require_plain`."""
        self._require_plain(name)
        return self._at(_Place(name), slot)

    def _require_plain(self, name: str) -> None:
        """Raises NotLoweredError when CEL takes some of the file for something else."""
        if name not in self._plain:
            self._plain[name] = is_plain(self._values[name])
        if not self._plain[name]:
            leave(f"`{name}`, which holds texts or numbers that CEL does not")

    def look_up(self, function: str, arguments: Sequence[Node], slot: int, visit: Callable[[Node], Lowered]) -> Lowered:
        """`arguments` are the file and the path in it; of `in` the path begins with what is looked for."""
        name = "data." + arguments[0].const_expr.string_value
        self._require_plain(name)
        path = [visit(element) for element in arguments[1].list_expr.elements]
        if function == GET:
            return self._get(name, path, slot)
        if function == HAS:
            return strict(operators.has, [self._get(name, path[:-1], slot), path[-1]], "bool")
        return self._member(name, path[0], path[1:], slot)

    def _get(self, name: str, path: Sequence[Lowered], slot: int) -> Lowered:
        """The value behind a path; as far as the path is known, it is one place."""
        known = next((number for number, key in enumerate(path) if not _is_key(key)), len(path))
        found = self._at(_Place(name, _exact(path[:known])), slot)
        for at, key in enumerate(path[known:]):
            found = self._entry(found, key, slot) if not at and found.kind == "map" else call("_[_]", [found, key])
        return found

    def _entry(self, found: Lowered, key: Lowered, slot: int) -> Lowered:
        """What `call` makes of this, faster: `data.file[subject.id]` is what most conditions read of data."""
        if key.kind != "string" or key.slot < 0 or found.fact < 0:
            return call("_[_]", [found, key])
        number, at = found.fact, key.slot

        def run(frame: Frame) -> Any:
            return frame[slot][number][frame[at]]

        return Lowered(run, cost=1 + ERROR)

    def _member(self, name: str, wanted: Lowered, path: Sequence[Lowered], slot: int) -> Lowered:
        if all(map(_is_key, path)):
            place = _Place(name, _exact(path))
            self._at(place, slot)
            value = self.found[self._numbers[place]]
            if isinstance(value, list) and len(value) > _SET_FROM and self._texts_of(value) is not None:
                among = self._at(_Place(name, place.path, is_set=True), slot)
                return strict(_among, [among, wanted], "bool", errs=False)
        return call("@in", [wanted, self._get(name, path, slot)])

    def _at(self, place: _Place, slot: int) -> Lowered:
        """What reads a place."""
        if place not in self._numbers:
            self._kinds.append(self._find(place))
        number = self._numbers[place]
        kind = self._kinds[number]
        if kind is None:
            return Lowered(_missing, cost=1)

        def run(frame: Frame) -> Any:
            return frame[slot][number]

        return Lowered(run, kind, fact=number, pin=lambda: self._pin(place))

    def _pin(self, place: _Place) -> object:
        self._pinned[place] = self.found[self._numbers[place]]
        return self._pinned[place]

    def _find(self, place: _Place) -> Kind | None:
        """Look what is there now, and number the place."""
        value = self._values[place.name]
        try:
            for _, key in place.path:
                value = operators.index(value, key)
        except FailedError:
            return self._keep(place, None, None)
        if isinstance(value, list):
            texts = self._texts_of(value)
            if place.is_set:
                return self._keep(place, None if texts is None else "list", texts)
            return self._keep(place, "list" if texts is None else "strings", value)
        kind: Kind = "map" if isinstance(value, dict) else KINDS.get(type(value), "dyn")
        return self._keep(place, None if place.is_set else kind, value)

    def _keep(self, place: _Place, kind: Kind | None, value: object) -> Kind | None:
        self._numbers[place] = len(self.found)
        self.found.append(value)
        return kind

    def _texts_of(self, value: list[object]) -> frozenset[str] | None:
        """The texts of a list, None when it holds something else."""
        if id(value) not in self._texts:
            only = all(type(member) is str for member in value)
            # One by one, for whoever decides meanwhile waits until a call into C is done: 10 ms for 100,000 texts.
            self._texts[id(value)] = frozenset(str(member) for member in value) if only else None
        return self._texts[id(value)]


def _exact(path: Sequence[Lowered]) -> tuple[tuple[type, Any], ...]:
    return tuple((type(key.const), key.const) for key in path)


def _is_key(key: Lowered) -> bool:
    return key.is_const and type(key.const) in _KEYS


def _missing(_: Frame) -> Any:
    raise FailedError


def _among(texts: frozenset[str], value: object) -> bool:
    return type(value) is str and value in texts
