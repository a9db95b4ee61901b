"""What the headers of a call say: where it goes, how long its caller waits, and why it cannot be taken.

Rule 1: a block that changes nothing in the table means the same until the table changes, so it is read once.
"""

import re
from collections.abc import Container
from typing import Final, NamedTuple

from extauthz.transport.http2 import fields, status
from extauthz.transport.http2.fields import Field
from extauthz.transport.http2.hpack import Decoder
from extauthz.transport.http2.status import Status

MEASURE: Final = 4  # times the limit: headers that are larger are not even read to their end
_MOST_KEPT: Final = 64  # blocks of one connection
_MOST_KEPT_SIZE: Final = 1024  # bytes of one of them

# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LENGTH: Final = re.compile(rb"[0-9]{1,18}").fullmatch
_CONTENT_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?", re.DOTALL | re.IGNORECASE).fullmatch


class Request(NamedTuple):
    """Headers of a call. `malformed` must not be answered but with a reset.

    `timeout` is in seconds, `length` of the body in bytes; None for none.
    """

    path: str = ""
    timeout: float | None = None
    traceparent: str = ""
    refused: Status | None = None
    malformed: bool = False
    length: int | None = None


MALFORMED: Final = Request(malformed=True)


class RequestReader:
    """Reads the header blocks of one connection."""

    def __init__(self, most: int, paths: Container[str]) -> None:
        """Headers of more than `most` bytes are refused, of MEASURE times that end the connection."""
        self._decoder, self._most, self._paths = Decoder(), most, paths
        self._kept: dict[bytes, Request] = {}

    def read(self, block: bytes) -> Request:
        """Raises PeerError where the connection cannot go on."""
        found = self._kept.get(block)
        return self._read(block) if found is None else found

    def read_trailers(self, block: bytes) -> bool:
        """Whether they may be there. Raises PeerError."""
        before = self._decoder.generation
        found, _ = self._decoder.decode(block, self._most * MEASURE)
        if self._decoder.generation != before:
            self._kept.clear()
        return not any(0 < one.kind <= fields.LAST_PSEUDO or one.kind == fields.BAD for one in found)

    def _read(self, block: bytes) -> Request:
        decoder, kept = self._decoder, self._kept
        before = decoder.generation
        found, size = decoder.decode(block, self._most * MEASURE)
        request = _understand(found)
        if request.refused is None and request.path not in self._paths:
            request = request._replace(refused=status.UNKNOWN_METHOD)
        if size > self._most and not request.malformed:
            request = request._replace(refused=status.HEADERS_TOO_LARGE)
        if decoder.generation != before:
            kept.clear()
        elif len(block) <= _MOST_KEPT_SIZE:
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            kept[block] = request
        return request


def _understand(found: list[Field]) -> Request:
    values: dict[int, bytes] = {}
    regular = False
    for one in found:
        kind = one.kind
        if not kind:
            regular = True
        elif kind > fields.LAST_PSEUDO:
            if kind == fields.BAD:
                return MALFORMED
            regular = True
            values.setdefault(kind, one.value)
        elif regular or kind in values:
            return MALFORMED
        else:
            values[kind] = one.value
    get = values.get
    path = get(fields.PATH)
    if not path or fields.METHOD not in values or fields.SCHEME not in values:
        return MALFORMED
    if get(fields.TE, b"trailers") != b"trailers":  # RFC 9113 section 8.2.2
        return MALFORMED
    timeout, trace, length = get(fields.TIMEOUT), get(fields.TRACEPARENT, b""), get(fields.LENGTH)
    if length is not None and not _LENGTH(length):
        return MALFORMED
    return Request(
        path.decode("latin-1"),
        None if timeout is None else _seconds(timeout),
        trace.decode("ascii") if trace.isascii() else "",
        _refused(values),
        length=None if length is None else int(length),
    )


def _refused(values: dict[int, bytes]) -> Status | None:
    if values[fields.METHOD] != b"POST":
        return status.NOT_POST
    if not _CONTENT_TYPE(values.get(fields.CONTENT_TYPE, b"")):
        return status.NOT_GRPC
    return None


def _seconds(text: bytes) -> float | None:
    """None for what is no timeout: the call then has none, as with grpc's own core."""
    found = _TIMEOUT(text)
    return int(found[1]) * _UNITS[found[2]] if found else None
