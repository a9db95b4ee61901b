"""The few protobuf messages of an answer, written as bytes.

Dense on purpose: building the same allow with upb's objects and serialising it takes twice as long as deciding what to
write and writing it here (loadtest/messages.py), and upb offers no way to keep the parts that never change as bytes.
tests/unit/wire/test_two_implementations.py holds every byte against upb and betterproto.
Rule: fields are written in ascending order of their numbers and map entries in order of their keys, so that the bytes
are the ones that deterministic serialisation gives.
"""

from collections.abc import Iterable
from functools import lru_cache

_ONE_BYTE = 0x80
_LENGTHS = tuple(bytes((length,)) for length in range(_ONE_BYTE))

# HeaderValueOption: `append` is a present BoolValue that is false, `append_action` OVERWRITE_IF_EXISTS_OR_ADD. Both,
# because Envoy 1.37 took an unset action for APPEND and 1.40 reads only the deprecated field (T-27).
_OVERWRITE = b"\x12\x00\x18\x02"


def varint(number: int) -> bytes:
    """A non-negative integer in groups of seven bits, the lowest first."""
    if number < _ONE_BYTE:
        return _LENGTHS[number]
    groups = bytearray()
    while number >= _ONE_BYTE:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def nested(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field: a message, a string or bytes. `tag` is number * 8 + 2 as a varint."""
    length = len(payload)
    return tag + (_LENGTHS[length] if length < _ONE_BYTE else varint(length)) + payload


def text(tag: bytes, value: str) -> bytes:
    """A string field; left out when empty, as proto3 does."""
    return nested(tag, value.encode()) if value else b""


def status(code: int) -> bytes:
    """`google.rpc.Status` with a code only, as field 1 of CheckResponse."""
    return nested(b"\x0a", b"\x08" + varint(code) if code else b"")


@lru_cache(maxsize=1024)
def _named(name: str) -> bytes:
    return text(b"\x0a", name)


def overwriting_header(tag: bytes, name: str, value: str) -> bytes:
    """A HeaderValueOption under `tag` that replaces every line of that name. Names are few, values are many."""
    return nested(tag, nested(b"\x0a", _named(name) + (nested(b"\x12", value.encode()) if value else b"")) + _OVERWRITE)


def query_parameter(name: str, value: str) -> bytes:
    """`query_parameters_to_set` of OkHttpResponse."""
    return nested(b"\x3a", text(b"\x0a", name) + text(b"\x12", value))


def struct_fields(entries: Iterable[tuple[str, str]]) -> bytes:
    """The entries of a Struct of strings. Names must be distinct."""
    return b"".join(
        [
            nested(b"\x0a", _named(name) + nested(b"\x12", nested(b"\x1a", value.encode())))
            for name, value in sorted(entries)
        ],
    )


def http_status(code: int) -> bytes:
    """`type.v3.HttpStatus` as field 1 of DeniedHttpResponse."""
    return nested(b"\x0a", b"\x08" + varint(code))
