"""A document's tree → a typed value, or every reason at once why it is none.

The good path is one strict `msgspec.convert`. Only when that fails are type and tree walked together, so that
the author learns of all mistakes in one run. The structs themselves must forbid unknown fields.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct, ValidationError

from extauthz.bundle.finding import Finding, shorten
from extauthz.bundle.syntax import Tree, parse_yaml
from extauthz.model.codes import Code
from extauthz.model.problems import Location, suggestion

__all__ = ["Tree", "bind", "parse_yaml"]

T = TypeVar("T", bound=Struct)
Fault = tuple[Location, str, Code]
Hint = Any  # what stands in an annotation: a class, a union, a generic alias

_SCALARS = {
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    str: "text",
    datetime: "a time such as `2026-01-31T12:00:00Z`",
    type(None): "nothing",
}
_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "of the form `{}`",
}


def bind(tree: Tree, struct: type[T], at: Location = ()) -> T | list[Finding]:
    """The part of the tree at `at` as a `struct`, or all findings of that part; fields by their encoded names."""
    value = tree.value
    for step in at:
        value = value[step]
    try:
        return msgspec.convert(value, struct, strict=True)
    except ValidationError:
        return [tree.error(*fault) for fault in _faults(value, struct, at)]


def _faults(value: object, hint: Hint, at: Location) -> list[Fault]:
    """All faults inside of the value; if there is none inside, that of the value as a whole."""
    inner, metas = _plain(hint)
    if inside := list(_inside(value, inner, at)):
        return inside
    try:
        msgspec.convert(value, hint, strict=True)
    except ValidationError as error:
        return [(at, _explain(value, inner, metas, str(error)), "invalid-value")]
    return []


def _inside(value: object, hint: Hint, at: Location) -> Iterator[Fault]:
    origin, args = _origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        fits = [member for member in args if _has_shape(value, _plain(member)[0])]
        if len(fits) == 1:
            yield from _faults(value, fits[0], at)
    elif isinstance(value, dict):
        if _is_a(origin, Struct):
            yield from _inside_struct(value, origin, at)
        elif _is_a(origin, Mapping) and args:
            for key, item in value.items():
                yield from _faults(item, args[1], (*at, key))
    elif isinstance(value, list) and _is_list(origin) and args:
        for index, item in enumerate(value):
            yield from _faults(item, args[0], (*at, index))


def _inside_struct(value: dict[str, object], struct: type[Struct], at: Location) -> Iterator[Fault]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key, item in value.items():
        if key in fields:
            yield from _faults(item, fields[key].type, (*at, key))
        else:
            hint = suggestion(key, list(fields)) or ": no field is allowed here"
            yield (*at, key), f"unknown field `{shorten(key)}`{hint}", "unknown-field"
    for name, field in fields.items():
        if name not in value and field.default is NODEFAULT and field.default_factory is NODEFAULT:
            yield (*at, name), f"missing: expected {_wanted(field.type)}", "missing-field"


def _plain(hint: Hint) -> tuple[Hint, tuple[Meta, ...]]:
    """The type without `Annotated`, and the bounds it carried."""
    if _origin(hint) is not Annotated:
        return hint, ()
    inner, *metas = get_args(hint)
    return inner, tuple(meta for meta in metas if isinstance(meta, Meta))


def _origin(hint: Hint) -> Hint:
    """`list` of `list[str]`; the type itself when it takes no arguments."""
    origin: Hint = get_origin(hint)  # typeshed names only some of what this may be
    return hint if origin is None else origin


def _is_a(origin: Hint, base: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, base)


def _is_list(origin: Hint) -> bool:
    return any(_is_a(origin, base) for base in (Sequence, AbstractSet)) and origin not in {str, bytes}


def _has_shape(value: object, hint: Hint) -> bool:
    """Whether this member of a union is what the author must have meant, going by mapping, list or scalar."""
    origin = _origin(hint)
    if isinstance(value, dict):
        return _is_a(origin, Struct) or _is_a(origin, Mapping)
    if isinstance(value, list):
        return _is_list(origin)
    if isinstance(value, str):
        return origin is str or origin is Literal or _is_a(origin, Enum)
    if isinstance(value, bool) or value is None:
        return origin is type(value)
    return origin in {int, float}


def _explain(value: object, hint: Hint, metas: tuple[Meta, ...], problem: str) -> str:
    choices = _choices(hint)
    if choices and isinstance(value, str):
        return f"unknown value `{shorten(value)}`{suggestion(value, choices)}"
    if (problem.startswith("Expected `") and "`, got `" in problem) or problem.startswith("Invalid RFC3339"):
        quote = ": quote it to make it text" if _wanted(hint) == "text" and isinstance(value, int | float) else ""
        return f"expected {_wanted(hint)}, found {_found(value)}{quote}"
    bounds = [
        words.format(getattr(meta, name))
        for meta in metas
        for name, words in _BOUNDS.items()
        if getattr(meta, name) is not None
    ]
    if bounds:
        return f"must be {' and '.join(bounds)}, found {_found(value)}"
    return problem[:1].lower() + problem[1:].partition(" - at `")[0]


def _choices(hint: Hint) -> list[str]:
    """The words that a field allows, or [] if it is not limited to words."""
    if _origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    return [str(member.value) for member in hint] if _is_a(hint, Enum) else []


def _wanted(hint: Hint) -> str:
    """A type in an author's words."""
    hint = _plain(hint)[0]
    origin = _origin(hint)
    if choices := _choices(hint):
        return " or ".join(f"`{choice}`" for choice in choices)
    if origin in {Union, types.UnionType}:
        words = [_wanted(member) for member in get_args(hint) if member is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if _is_a(origin, Struct) or _is_a(origin, Mapping):
        return "a mapping"
    if isinstance(origin, type) and origin in _SCALARS:
        return _SCALARS[origin]
    return "a list" if _is_list(origin) else getattr(origin, "__name__", str(origin))


def _found(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"the text `{shorten(value)}`"
    return f"the number `{value}`"
