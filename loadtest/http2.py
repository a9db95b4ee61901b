"""One HTTP/2 connection of a client that costs next to nothing: constant headers, sent once and then by their index.

Rule 1: only what a load client needs: no push, no padding, no response headers but `:status`.
Rule 2: the peer's limits are kept (flow control, streams); what has to wait still counts from when it was due.
"""

import socket
import struct
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

from loadtest.header_blocks import Header, literal, status_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">HBBBI")  # RFC 9113 section 4.1: 24 bits of length, type, flags, stream
_SETTING = struct.Struct(">HI")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_TABLE_SIZE, _PUSH, _STREAMS, _INITIAL_WINDOW = 1, 2, 3, 4
_MOST = (1 << 31) - 1
_FIRST_WINDOW = 65535
_MOST_IN_FRAME = 1 << 14  # RFC 9113 section 6.5.2: what every peer takes
_REFILL = 1 << 29  # bytes received after which the connection's window is opened again
_FIRST_DYNAMIC = 62  # RFC 7541 section 2.3.3: the static table has 61 entries
_RECEIVE = 1 << 18
_REFUSED = struct.pack(">I", 7)
_CANCEL = struct.pack(">I", 8)

FAILED = -1  # reset, refused or without an answer
LATE = -2  # not answered in time, and cancelled


class Question(NamedTuple):
    """What is sent on one stream beside the constant headers: more headers, encoded, and a body (b"" for none)."""

    varying: bytes
    body: bytes
    label: Any = ""  # for the asker, who gets it back with the answer


class Answer(NamedTuple):
    """How one stream ended. Times are of `perf_counter`; `kind` is FAILED, LATE or what `kind_of` made of it."""

    due: float
    ended: float
    kind: int
    question: Question
    body: bytes


class Connection:
    """A connection to one server. Not thread-safe; never blocks after it was made."""

    def __init__(self, address: tuple[str, int], constant: Sequence[Header], *, read_status: bool = False) -> None:
        """`read_status` makes the kind of an answer its HTTP status, and the body its header block as it came.

        Otherwise the kind is the length of the body.
        """
        self.answers: list[Answer] = []
        self.closing = False  # the server said GOAWAY: no new streams
        self._read_status = read_status
        self._address, self._constant = address, constant
        self._block = literal(constant, indexed=True)
        count = len(constant)
        self._indexed = bytes(0x80 | (_FIRST_DYNAMIC + count - 1 - place) for place in range(count))
        self._next, self._rest, self._received = 1, b"", 0
        self._window, self._stream_window, self._streams = _FIRST_WINDOW, _FIRST_WINDOW, 100
        self._open: dict[int, list[Any]] = {}
        self._held: deque[tuple[Question, float]] = deque()
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        settings = _SETTING.pack(_PUSH, 0) + _SETTING.pack(_INITIAL_WINDOW, _MOST)
        if read_status:
            settings += _SETTING.pack(_TABLE_SIZE, 0)
        more = struct.pack(">I", _MOST - _FIRST_WINDOW)
        self._out = bytearray(PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, more))

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    @property
    def pending(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._out)

    @property
    def in_flight(self) -> int:
        """Questions without an answer, sent or held."""
        return len(self._open) + len(self._held)

    def ask(self, question: Question, due: float) -> None:
        """Send it as soon as the peer's limits allow."""
        if self._held or len(self._open) >= self._streams or len(question.body) > self._window:
            self._held.append((question, due))
        else:
            self._send(question, due)

    def _send(self, question: Question, due: float) -> None:
        stream, body = self._next, question.body
        if len(body) > self._stream_window:
            message = f"a body of {len(body)} bytes does not fit the stream window of {self._stream_window}"
            raise ValueError(message)
        self._next += 2
        block = self._block + question.varying
        self._block = self._indexed
        flags = _END_HEADERS if body else _END_HEADERS | _END_STREAM
        out = self._out
        out += _HEAD.pack(len(block) >> 8, len(block) & 255, _HEADERS, flags, stream)
        out += block
        if body:
            for start in range(0, len(body), _MOST_IN_FRAME):
                part = body[start : start + _MOST_IN_FRAME]
                last = _END_STREAM if start + _MOST_IN_FRAME >= len(body) else 0
                out += _HEAD.pack(len(part) >> 8, len(part) & 255, _DATA, last, stream)
                out += part
            self._window -= len(body)
        self._open[stream] = [due, question, b"", 0]

    def flush(self) -> None:
        """Give the kernel what it takes."""
        if self._out:
            try:
                sent = self.socket.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                self._lose()
                return
            del self._out[:sent]

    def receive(self) -> None:
        """Read what is there; finished streams become `answers`."""
        try:
            data = self.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        now = perf_counter()
        data, at = self._rest + data, 0
        end = len(data)
        while end - at >= 9:  # noqa: PLR2004 - the size of a frame's head
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            following = at + 9 + (high << 8 | low)
            if following > end:
                break
            if kind <= _HEADERS:
                self._on_stream(kind, flags, stream, data[at + 9 : following], now)
            else:
                self._on_other(kind, flags, stream, data[at + 9 : following], now)
            at = following
        self._rest = data[at:]
        self._release()

    def _on_stream(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        entry = self._open.get(stream)
        if kind == _DATA:
            self._received += len(payload)
            if self._received > _REFILL:
                self._out += _frame(_WINDOW, 0, 0, struct.pack(">I", self._received))
                self._received = 0
            if entry is not None and not self._read_status:
                entry[2] += payload
        elif entry is not None and self._read_status and not entry[3]:
            entry[2], entry[3] = payload, status_of(payload)
        if flags & _END_STREAM and entry is not None:
            del self._open[stream]
            kind_found = entry[3] if self._read_status else len(entry[2])
            self.answers.append(Answer(entry[0], now, kind_found or FAILED, entry[1], entry[2]))

    def _on_other(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        if kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big") & _MOST
        elif kind == _SETTINGS and not flags & _ACK:
            for place in range(0, len(payload), _SETTING.size):
                name, value = _SETTING.unpack_from(payload, place)
                if name == _STREAMS:
                    self._streams = value
                elif name == _INITIAL_WINDOW:
                    self._stream_window = value
            self._out += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, payload)
        elif kind == _RESET:
            self._on_reset(stream, payload, now)
        elif kind == _GOAWAY:
            self.closing = True
            last = int.from_bytes(payload[:4], "big") & _MOST
            for unseen in [each for each in self._open if each > last]:
                self._fail(unseen, FAILED, now)

    def _on_reset(self, stream: int, payload: bytes, now: float) -> None:
        entry = self._open.get(stream)
        if payload == _REFUSED and entry is not None:
            # RFC 9113 section 8.7: it was not processed. grpc counts streams that have just ended as open.
            del self._open[stream]
            self._held.append((entry[1], entry[0]))
        else:
            self._fail(stream, FAILED, now)

    def _release(self) -> None:
        while (
            self._held
            and not self.closing
            and len(self._open) < self._streams
            and len(self._held[0][0].body) <= self._window
        ):
            self._send(*self._held.popleft())

    def take_held(self) -> list[tuple[Question, float]]:
        """What was not sent, for another connection."""
        held = list(self._held)
        self._held.clear()
        return held

    def expire(self, before: float) -> None:
        """Give up on what was due before that time, as Envoy does at its timeout."""
        now = perf_counter()
        while self._held and self._held[0][1] < before:
            question, due = self._held.popleft()
            self.answers.append(Answer(due, now, LATE, question, b""))
        while self._open:
            stream = next(iter(self._open))
            if self._open[stream][0] >= before:
                return
            self._out += _frame(_RESET, 0, stream, _CANCEL)
            self._fail(stream, LATE, now)

    def _fail(self, stream: int, kind: int, now: float) -> None:
        entry = self._open.pop(stream, None)
        if entry is not None:
            self.answers.append(Answer(entry[0], now, kind, entry[1], b""))

    def _lose(self) -> None:
        """The server has hung up."""
        self.closing = True
        self._out.clear()
        now = perf_counter()
        for stream in list(self._open):
            self._fail(stream, FAILED, now)
        for question, due in self._held:
            self.answers.append(Answer(due, now, FAILED, question, b""))
        self._held.clear()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload
