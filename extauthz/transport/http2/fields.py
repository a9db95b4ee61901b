"""Header fields of a call: which we read, and which may not be there at all (RFC 9113 sections 8.2 and 8.3)."""

import re
from typing import Final, NamedTuple

_OVERHEAD: Final = 32  # RFC 7541 section 4.1


class Field(NamedTuple):
    """A field as the table keeps it. `size` is that of RFC 7541 section 4.1, in bytes."""

    kind: int
    value: bytes
    size: int
    name: bytes


# What a field is to us, as plain numbers, for headers are read in the way of every Check. First come those that begin
# with a colon; no call may have a BAD one.
OTHER, METHOD, SCHEME, PATH, AUTHORITY, CONTENT_TYPE, TE, TIMEOUT, TRACEPARENT, LENGTH, BAD = range(11)
LAST_PSEUDO: Final = AUTHORITY
_KINDS: Final = {
    b":method": METHOD,
    b":scheme": SCHEME,
    b":path": PATH,
    b":authority": AUTHORITY,
    b"content-length": LENGTH,
    b"content-type": CONTENT_TYPE,
    b"te": TE,
    b"grpc-timeout": TIMEOUT,
    b"traceparent": TRACEPARENT,
    # of one connection of HTTP/1.1, which ends before us
    b"connection": BAD,
    b"keep-alive": BAD,
    b"proxy-connection": BAD,
    b"transfer-encoding": BAD,
    b"upgrade": BAD,
}
_NAME: Final = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+").fullmatch
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$").search


def field(name: bytes, value: bytes) -> Field:
    """Judge it once; the table remembers."""
    kind = _KINDS.get(name)
    if kind is None:
        kind = OTHER if _NAME(name) else BAD
    if value and _BAD_VALUE(value):
        kind = BAD
    return Field(kind, value, len(name) + len(value) + _OVERHEAD, name)
