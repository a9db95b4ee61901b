"""How a call ends, as bytes: header blocks that need no table, so that they are the same for every call.

Rule 1: nothing is ever put into the peer's table. The first block of every answer says that it is empty: who has made
it smaller waits to be told so (RFC 9113 section 4.3.1), and ends the connection otherwise.
"""

from struct import Struct
from typing import Final, NamedTuple

from extauthz.transport.http2.frames import DATA, END_HEADERS, END_STREAM, HEAD, HEADERS

OK, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE = 0, 1, 3, 5, 8, 12, 14

_NO_TABLE: Final = b"\x20"  # RFC 7541 section 6.3: a table of no bytes
_200: Final = b"\x88"  # `:status: 200` by its index
_CONTENT_TYPE: Final = b"\x0f\x10\x10application/grpc"  # by the index of its name
_STATUS_NAME: Final = b"\x08"  # literal, `:status` by index 8
_PREFIX_SIZE: Final = 5  # of a gRPC message: whether it is compressed, and its length


class Status(NamedTuple):
    """A status of gRPC's own, with the HTTP status that goes with it."""

    code: int
    words: str
    http: int = 200


HEADERS_TOO_LARGE: Final = Status(RESOURCE_EXHAUSTED, "headers larger than allowed")
MESSAGE_TOO_LARGE: Final = Status(RESOURCE_EXHAUSTED, "message larger than allowed")
COMPRESSED: Final = Status(UNIMPLEMENTED, "compression is not supported")
UNKNOWN_METHOD: Final = Status(UNIMPLEMENTED, "unknown method")
NOT_POST: Final = Status(UNIMPLEMENTED, "gRPC is POST", 405)
NOT_GRPC: Final = Status(INVALID_ARGUMENT, "the content type is not application/grpc", 415)
TOO_MANY: Final = Status(UNAVAILABLE, "too many at once")

_BLOCK: Final = _NO_TABLE + _200 + _CONTENT_TYPE
_END_BLOCK: Final = b"\x00\x0bgrpc-status\x010"
# The response headers, the head of the one DATA frame and the prefix of the one message, as one struct.
_ANSWER: Final = Struct(f">5sI{len(_BLOCK)}sHBBBIBI")
_ANSWER_HEAD: Final = HEAD.pack(0, len(_BLOCK), HEADERS, END_HEADERS, 0)[:5]
_END: Final = Struct(f">5sI{len(_END_BLOCK)}s")
_END_HEAD: Final = HEAD.pack(0, len(_END_BLOCK), HEADERS, END_HEADERS | END_STREAM, 0)[:5]


def begin_answer(stream: int, size: int) -> bytes:
    """All before the message of `size` bytes, which must fit into one frame."""
    framed = size + _PREFIX_SIZE
    return _ANSWER.pack(_ANSWER_HEAD, stream, _BLOCK, framed >> 8, framed & 0xFF, DATA, 0, stream, 0, size)


def end_answer(stream: int) -> bytes:
    """All after it."""
    return _END.pack(_END_HEAD, stream, _END_BLOCK)


def answer(stream: int, body: bytes) -> bytes:
    """A whole one."""
    return begin_answer(stream, len(body)) + body + end_answer(stream)


def headers(stream: int) -> bytes:
    """The response headers alone."""
    return HEAD.pack(0, len(_BLOCK), HEADERS, END_HEADERS, stream) + _BLOCK


def message(body: bytes) -> bytes:
    """A gRPC message: its prefix and itself."""
    return b"\x00" + len(body).to_bytes(4, "big") + body


def data(stream: int, part: bytes) -> bytes:
    """DATA of at most MAX_FRAME bytes."""
    return HEAD.pack(len(part) >> 8, len(part) & 0xFF, DATA, 0, stream) + part


def trailers_only(stream: int, status: Status) -> bytes:
    """An answer without a message."""
    block = _NO_TABLE
    block += _200 if status.http == 200 else _STATUS_NAME + _string(str(status.http).encode())  # noqa: PLR2004 - OK
    block += _CONTENT_TYPE
    block += b"\x00" + _string(b"grpc-status") + _string(str(status.code).encode())
    block += b"\x00" + _string(b"grpc-message") + _string(status.words.encode())
    if status is COMPRESSED:
        block += b"\x00" + _string(b"grpc-accept-encoding") + _string(b"identity")
    return HEAD.pack(0, len(block), HEADERS, END_HEADERS | END_STREAM, stream) + block


def _string(text: bytes) -> bytes:
    """RFC 7541 section 5.2, for short ones."""
    return bytes((len(text),)) + text
