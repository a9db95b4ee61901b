"""What can be changed in guards: a section of a profile, a way across tenants, a revocation is left out.

Rule 1: whatever is not written at its default is set back to it, so that new fields need no line here.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, replace

from extauthz.bundle.change import Change
from extauthz.bundle.finding import dotted
from extauthz.model.problems import Location

# What no case can see, or what is no guard: journals, sizes, lifetimes, notes. Routes are for policies to show.
_UNSEEN: Final = frozenset(
    {"match", "audit", "tenants", "note", "public_origin", "max_body_bytes", "proof_max_bytes", "nonce", "max_age"}
)
Variant = tuple[Location, str, Any]  # where, what is done, and the value without it


def guard_changes(kind: str, name: str, spec: Struct) -> Iterator[Change]:
    """Every change of a SecurityProfile, a Tenancy or a Revocation."""
    for at, what, changed in _variants(spec, ("spec",)):
        where = dotted(at[1:])
        kill = f"a case that depends on `{where}` of {kind} `{name}`: expect the `reason` that only it gives"
        yield Change("drop-guard", at, "", what, kill, ((name, changed),))


def _variants(struct: Struct, at: Location) -> Iterator[Variant]:
    for field in msgspec.structs.fields(type(struct)):
        if field.name in _UNSEEN:
            continue
        value, here = getattr(struct, field.name), (*at, field.encode_name)
        default = _default(field)
        for place, what, changed in _weaker(value, default, here):
            yield place, what, replace(struct, **{field.name: changed})


def _weaker(value: Any, default: Any, at: Location) -> Iterator[Variant]:  # noqa: ANN401 - whatever a field holds
    where = dotted(at[1:])
    if at[-2:] == ("authentication", "mode") and value == "required":
        yield at, f"`{where}` becomes `optional`", "optional"
        return
    if value == default:
        return
    if default is not NODEFAULT:
        is_empty = default in (None, (), [], {}, "")
        yield at, f"`{where}` is dropped" if is_empty else f"`{where}` becomes `{_shown(default)}`", default
    if isinstance(value, Struct):
        yield from _variants(value, at)
    elif isinstance(value, tuple | list):
        for index, member in enumerate(value):
            if len(value) > 1:
                what = f"`{dotted((*at, index)[1:])}` is dropped"
                yield (*at, index), what, type(value)((*value[:index], *value[index + 1 :]))
            if isinstance(member, Struct):
                for place, what, changed in _variants(member, (*at, index)):
                    yield place, what, type(value)((*value[:index], changed, *value[index + 1 :]))
    elif isinstance(value, dict):
        for key in value if len(value) > 1 else ():
            left = {other: item for other, item in value.items() if other != key}
            yield (*at, key), f"`{dotted((*at, key)[1:])}` is dropped", left


def _default(field: FieldInfo) -> Any:  # noqa: ANN401
    if field.default is not NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not NODEFAULT else NODEFAULT


def _shown(value: Any) -> str:  # noqa: ANN401
    return msgspec.json.encode(value).decode().strip('"')
