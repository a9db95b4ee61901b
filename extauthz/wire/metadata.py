"""Envoy's metadata as JSON text, for conditions that read what earlier filters found out."""

from typing import Any

from envoy.config.core.v3.base_pb2 import Metadata
from msgspec.json import encode

Namespaces = tuple[tuple[str, bytes], ...]


def read_metadata(raw: bytes) -> Namespaces:
    """`core.v3.Metadata.filter_metadata` by namespace, each a JSON object. Raises DecodeError for bytes that are none.

    Numbers were doubles on the way, so large integers are not exact. `typed_filter_metadata` is left out: its types
    are open-ended.
    """
    if not raw:
        return ()
    found = Metadata.FromString(raw).filter_metadata
    return tuple((name, encode(_plain_struct(found[name]))) for name in sorted(found))


def _plain_struct(struct: Any) -> dict[str, object]:  # noqa: ANN401
    """A Struct as a dict. The depth is bounded: upb refuses more than 100 levels when it parses."""
    return {name: _plain_value(struct.fields[name]) for name in sorted(struct.fields)}


def _plain_value(value: Any) -> object:  # noqa: ANN401
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain_struct(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case _:
            return None
