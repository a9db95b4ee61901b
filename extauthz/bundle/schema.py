"""JSON Schemas of the documents, read off the structs that bind them: for editors and for pipelines.

Rule 1: what a schema refuses the compiler refuses. It accepts more: names that must exist, patterns, CEL are not its.
"""

from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from extauthz.bundle.documents import NAME_PATTERN
from extauthz.bundle.field_notes import field_notes, summary
from extauthz.bundle.kinds import API_VERSION, KINDS, MAX_NAME

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/$defs/{name}"


def schema(kind: str = "") -> dict[str, Any]:
    """The schema of documents of one kind, or (without) of any."""
    kinds = [kind] if kind else list(KINDS)
    specs, definitions = msgspec.json.schema_components([KINDS[each] for each in kinds], ref_template=_REFERENCE)
    for struct in _reachable(KINDS[each] for each in kinds):
        _describe(definitions[struct.__name__], struct)
    described: dict[str, Any] = {
        "$schema": _DIALECT,
        "title": kind or "Document of a bundle",
        "description": summary(KINDS[kind]) if kind else "One of the documents that a bundle is made of.",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind} if kind else {"enum": kinds, "description": "What the document is about."},
            "metadata": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    "name": {
                        "type": "string",
                        "description": "Unique within its kind.",
                        "maxLength": MAX_NAME,
                        "pattern": f"^{NAME_PATTERN}$",
                    }
                },
            },
            "spec": specs[0] if kind else {"type": "object"},
        },
    }
    if not kind:
        described["allOf"] = [_if(each, spec) for each, spec in zip(kinds, specs, strict=True)]
    described["$defs"] = definitions
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(described))  # defaults are tuples
    return plain


def _if(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The form in which editors report what is wrong with this kind, and not why it is none of the others."""
    return {
        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
        "then": {"properties": {"spec": {**spec, "description": summary(KINDS[kind])}}},
    }


def _describe(definition: dict[str, Any], struct: type[Struct]) -> None:
    """Add the comments of fields; leave out defaults that say nothing."""
    notes = field_notes(struct)
    definition.pop("title", None)
    definition["description"] = summary(struct)
    for field in msgspec.structs.fields(struct):
        described = definition["properties"][field.encode_name]
        if isinstance(described.get("default", ""), dict) or not (
            described.get("default", "") or described.get("default") is False
        ):
            described.pop("default", None)
        # A field that is a struct says what the struct is, unless it has words of its own.
        below = next((summary(struct) for struct in _structs(field.type)), "")
        if note := notes.get(field.name) or below:
            described["description"] = note


def _reachable(roots: Iterable[type[Struct]]) -> list[type[Struct]]:
    """The structs and all that their fields are made of."""
    found: dict[type[Struct], None] = {}
    waiting = list(roots)
    while waiting:
        struct = waiting.pop()
        if struct not in found:
            found[struct] = None
            for field in msgspec.structs.fields(struct):
                waiting += _structs(field.type)
    return list(found)


def _structs(hint: Any) -> Iterator[type[Struct]]:  # noqa: ANN401 - whatever stands in an annotation
    if isinstance(hint, type) and not get_origin(hint) and issubclass(hint, Struct):
        yield hint
    elif get_origin(hint) in {Union, UnionType} or get_args(hint):
        for argument in get_args(hint):
            yield from _structs(argument)
