"""Frames of HTTP/2 (RFC 9113 section 6): their numbers, and those that are sent, as bytes."""

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = Struct(">HBBBI")  # 24 bits of length, type, flags, 31 bits of stream
HEAD_SIZE: Final = 9
MAX_FRAME: Final = 1 << 14  # the least that a peer must take, and the most that we take
MAX_WINDOW: Final = (1 << 31) - 1
MAX_STREAM: Final = (1 << 31) - 1
FIRST_WINDOW: Final = 65_535  # before anybody has said anything

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

ACK = END_STREAM = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

# Error codes (section 7).
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

# Settings (section 6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
SETTING: Final = Struct(">HI")

_WITH_NUMBER: Final = Struct(">HBBBII")
_GOAWAY: Final = Struct(">HBBBIII")
SETTINGS_ACK: Final = HEAD.pack(0, 0, SETTINGS, ACK, 0)


class PeerError(Exception):
    """What ends the connection: the code for GOAWAY, and a few words for whoever debugs the peer."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


def settings(values: dict[int, int]) -> bytes:
    """The first frame of a server."""
    return HEAD.pack(0, SETTING.size * len(values), SETTINGS, 0, 0) + b"".join(
        map(SETTING.pack, values, values.values())
    )


def window_update(stream: int, more: int) -> bytes:
    """`more` bytes may come; stream 0 is the connection."""
    return _WITH_NUMBER.pack(0, 4, WINDOW_UPDATE, 0, stream, more)


def reset(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return _WITH_NUMBER.pack(0, 4, RST_STREAM, 0, stream, code)


def ping(payload: bytes, flags: int = 0) -> bytes:
    """PING with its eight bytes, or the answer to one."""
    return HEAD.pack(0, 8, PING, flags, 0) + payload


def goaway(last: int, code: int, words: str = "") -> bytes:
    """No stream above `last` is or will be looked at."""
    debug = words.encode()
    return _GOAWAY.pack(0, 8 + len(debug), GOAWAY, 0, 0, last, code) + debug
