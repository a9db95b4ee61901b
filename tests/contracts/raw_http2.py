"""An HTTP/2 client that sends whatever bytes a test wants, and holds the server to the RFCs in everything that comes back.

Rule 1: written from RFC 9113, RFC 7541 and the gRPC protocol document; nothing here knows how the server is made.
Rule 2: what arrives is checked always: sizes of frames, windows, header blocks, order of frames on a stream.
"""

import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import hpack

from extauthz.transport import METHOD, SERVICE, ListenOptions, LoopTransport, TransportOptions
from extauthz.transport.stock import StockTransport
from tests.contracts.test_transport import LAST_RESORT, Echo

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITISED = 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)
NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM = 11
MOST = (1 << 31) - 1
CHECK = f"/{SERVICE}/{METHOD}"
SECONDS = 30.0  # for what must happen at some time; a machine may be busy

Header = tuple[str, str]
REQUEST: tuple[Header, ...] = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", CHECK),
    (":authority", "extauthz"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def with_headers(*more: Header, without: Iterable[str] = (), **replaced: str) -> list[Header]:
    """The headers of a Check; `path` replaces `:path` and so on."""
    names = {f":{name}": value for name, value in replaced.items()}
    kept = [(name, names.get(name, value)) for name, value in REQUEST if name not in set(without)]
    return [*kept, *more]


def integer(number: int, bits: int, first: int = 0) -> bytes:
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if number < most:
        return bytes((first | number,))
    found, rest = bytearray((first | most,)), number - most
    while rest > 127:
        found.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*found, rest))


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return integer(len(raw), 7) + raw


def literal(name: str | bytes, value: str | bytes, first: int = 0x00) -> bytes:
    """A header that is spelled out; `first` 0x40 adds it to the table, 0x10 says never to."""
    return bytes((first,)) + text(name) + text(value)


def block(headers: Sequence[Header] = REQUEST, first: int = 0x00) -> bytes:
    return b"".join(literal(name, value, first) for name, value in headers)


def message(raw: bytes, compressed: int = 0) -> bytes:
    """The gRPC protocol's Length-Prefixed-Message."""
    return bytes((compressed,)) + struct.pack(">I", len(raw)) + raw


def opening(stream: int = 1, headers: Sequence[Header] = REQUEST, *, end: bool = False) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(headers))


def check(stream: int = 1, raw: bytes = b"x", headers: Sequence[Header] = REQUEST) -> bytes:
    return opening(stream, headers) + frame(DATA, END_STREAM, stream, message(raw))


@dataclass
class Stream:
    """What came on one stream."""

    headers: list[Header] = field(default_factory=list)
    data: bytes = b""
    trailers: list[Header] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def done(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def status(self) -> str:
        """grpc-status, or the HTTP status where it is not 200."""
        http = dict(self.headers).get(":status", "")
        return dict(self.headers + self.trailers).get("grpc-status", "") if http == "200" else f"http {http}"

    @property
    def answer(self) -> bytes | None:
        """The message of a good answer."""
        if not self.ended or self.status != "0":
            return None
        assert self.data[:1] == b"\0"
        assert len(self.data) == 5 + int.from_bytes(self.data[1:5], "big")
        return self.data[5:]


class Peer:
    """One connection to the server under test."""

    def __init__(
        self,
        address: str,
        *pairs: tuple[int, int],
        preface: bool = True,
        wrap: Callable[[socket.socket], socket.socket] | None = None,
    ) -> None:
        """`pairs` are the settings that are sent with the preface."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap is not None:
            self.socket = wrap(self.socket)
        self.streams: dict[int, Stream] = defaultdict(Stream)
        self.goaways: list[tuple[int, int]] = []  # last stream, code
        self.settings: dict[int, int] = {}
        self.settled = self.acknowledged = 0  # SETTINGS and their acknowledgements that came
        self.pongs: list[bytes] = []
        self.closed = False
        self.given: dict[int, int] = defaultdict(int)  # what the server may send still, by stream; 0: the connection
        self.received: dict[int, int] = defaultdict(int)
        self.room: dict[int, int] = defaultdict(int)  # what it has allowed to be sent, beside the first windows
        self.poured: dict[int, int] = defaultdict(int)
        self.initial = dict(pairs).get(INITIAL_WINDOW, 65535)
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = dict(pairs).get(TABLE_SIZE, 4096)
        self._settings_sent = 0
        if preface:
            self.send(PREFACE, settings(*pairs))
            self._settings_sent = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # --- out

    def send(self, *parts: bytes) -> None:
        """Send all of it, or as much as the server takes before it closes; reads meanwhile."""
        left = memoryview(b"".join(parts))
        end = time.monotonic() + SECONDS
        while left and not self.closed and time.monotonic() < end:
            self.socket.settimeout(0.2)
            try:
                left = left[self.socket.send(left) :]
            except TimeoutError:
                self.read(0.0)
            except OSError:
                self.read(0.2)
                self.closed = True

    def give(self, stream: int, more: int) -> None:
        """Open a window of the server's."""
        self.given[stream] += more
        self.send(frame(WINDOW, 0, stream, u32(more)))

    def pour(self, stream: int, raw: bytes, seconds: float = SECONDS, size: int = 16384) -> int:
        """Send DATA without an end, as far as the server's windows allow within that time; how much it was."""
        sent, end = 0, time.monotonic() + seconds
        self.until(lambda: self.settled)
        while sent < len(raw) and not self.closed and time.monotonic() < end:
            first = self.settings.get(INITIAL_WINDOW, 65535)
            left = min(65535 + self.room[0] - self.poured[0], first + self.room[stream] - self.poured[stream], size)
            part = raw[sent : sent + left] if left > 0 else b""
            if not part:
                self.read(min(0.05, seconds))
                continue
            self.send(frame(DATA, 0, stream, part))
            sent += len(part)
            self.poured[0] += len(part)
            self.poured[stream] += len(part)
        return sent

    def sync(self) -> None:
        """Return when the server has seen all that was sent, or has closed."""
        self._settings_sent += 1
        self.send(settings())
        assert self.until(lambda: self.acknowledged >= self._settings_sent or self.closed), "no answer to SETTINGS"

    # --- in

    def until(self, condition: Callable[[], object], seconds: float = SECONDS) -> bool:
        """Read until it holds, the connection ends or time is over; whether it holds."""
        end = time.monotonic() + seconds
        while not condition() and not self.closed and (left := end - time.monotonic()) > 0:
            self.read(left)
        return bool(condition())

    def read(self, seconds: float) -> None:
        """What is there, or comes within that time."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            came = self.socket.recv(1 << 18)
        except TimeoutError:
            return
        except OSError:
            came = b""
        if not came:
            self.closed = True
            return
        data, at = self._rest + came, 0
        while len(data) - at >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">HBBBI", data, at)
            size = high << 8 | low
            assert size <= 16384, "a frame beyond SETTINGS_MAX_FRAME_SIZE"
            if len(data) - at < 9 + size:
                break
            self._take(kind, flags, stream, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self.settled or kind in {SETTINGS, GOAWAY}, "the first frame must be SETTINGS"
        assert self._block is None or (kind, stream) == (CONTINUATION, self._block[0]), "a header block is interrupted"
        if kind == DATA:
            self._take_data(flags, stream, payload)
        elif kind == HEADERS:
            assert not flags & (PADDED | PRIORITISED)
            self._block = stream, flags, payload
            self._end_block(flags)
        elif kind == CONTINUATION:
            assert self._block is not None
            self._block = self._block[0], self._block[1], self._block[2] + payload
            self._end_block(flags)
        elif kind == RST:
            assert len(payload) == 4
            self.streams[stream].reset = int.from_bytes(payload, "big")
        elif kind == SETTINGS:
            assert stream == 0
            self._take_settings(flags, payload)
        elif kind == PING:
            assert (stream, len(payload)) == (0, 8)
            if flags & ACK:
                self.pongs.append(payload)
            else:
                self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            last, code = struct.unpack_from(">II", payload)
            assert stream == 0
            assert not self.goaways or last <= self.goaways[-1][0]
            self.goaways.append((last, code))
        elif kind == WINDOW:
            assert 0 < int.from_bytes(payload, "big") <= MOST
            self.room[stream] += int.from_bytes(payload, "big")
        else:
            assert kind > CONTINUATION, f"a server must not send frames of type {kind}"

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        found = self.streams[stream]
        assert found.headers, "DATA before HEADERS"
        assert not found.done, "DATA after the end"
        assert not flags & PADDED
        for window, first in ((0, 65535), (stream, self.initial)):
            self.received[window] += len(payload)
            assert self.received[window] <= first + self.given[window] or not payload, "beyond the window"
        found.data += payload
        found.ended = bool(flags & END_STREAM)

    def _end_block(self, flags: int) -> None:
        assert self._block is not None
        if not flags & END_HEADERS:
            return
        stream, flags, raw = self._block
        self._block = None
        headers = [(str(name), str(value)) for name, value in self._decoder.decode(raw)]
        found = self.streams[stream]
        assert not found.done, "HEADERS after the end"
        assert all(name == name.lower() for name, _ in headers)
        found.ended = bool(flags & END_STREAM)
        if not found.headers:
            assert [":status"] == [name for name, _ in headers if name.startswith(":")]
            assert headers[0][0] == ":status"
            found.headers = headers
        else:
            assert found.ended, "trailers without an end"
            assert not any(name.startswith(":") for name, _ in headers)
            found.trailers = headers

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            assert not payload
            self.acknowledged += 1
            return
        assert len(payload) % 6 == 0
        self.settled += 1
        self.settings.update(struct.iter_unpack(">HI", payload))
        self.send(frame(SETTINGS, ACK))

    # --- what holds

    def ending(self, stream: int = 1, seconds: float = SECONDS) -> str:
        """How a stream ends: `answer`, `status`, `stream` (reset), `connection` (error) or `nothing`."""
        found = self.streams[stream]
        self.until(lambda: found.done or self.failed, seconds)
        if found.done and found.answer is not None:
            return "answer"
        if self.failed:
            return "connection"
        if found.reset is not None and not found.ended:
            return "stream"
        return "status" if found.ended else "nothing"

    @property
    def failed(self) -> bool:
        """Whether the connection ended with an error, or just ended."""
        return self.closed or any(code != NO_ERROR for _, code in self.goaways)

    @property
    def codes(self) -> set[int]:
        """Error codes that were given."""
        resets = {each.reset for each in self.streams.values() if each.reset is not None}
        return {code for _, code in self.goaways} | resets

    def ask(self, stream: int, raw: bytes, headers: Sequence[Header] = REQUEST) -> bytes | None:
        """One good Check, and its answer."""
        self.send(check(stream, raw, headers))
        self.until(lambda: self.streams[stream].done)
        return self.streams[stream].answer


def trace(number: int) -> str:
    """A traceparent: what the answerer sees of the headers."""
    return f"00-{number:032x}-{number:016x}-01"


class Big(Echo):
    """Answers `size:N:...` with N bytes, all else as Echo does."""

    def answer(self, arrival) -> bytes:
        if arrival.raw.startswith(b"size:"):
            return pattern(int(arrival.raw.split(b":")[1]), arrival.raw[-1:])
        return super().answer(arrival)


def pattern(size: int, own: bytes) -> bytes:
    """What an answer of that size holds; `own` tells it from others."""
    return ((own * 7 + b"0123456789") * (size // 17 + 1))[:size]


class Server:
    """A transport under test, its answerer, and a client that behaves."""

    def __init__(self, kind: type[LoopTransport | StockTransport] = LoopTransport, tls=None, **options) -> None:
        self.echo = Big()
        self.shed: list[str] = []
        listen = ListenOptions(address="127.0.0.1:0", tls=tls)
        self.transport = kind(listen, TransportOptions(**options), LAST_RESORT, self.shed.append)
        self.address = self.transport.bind()
        self.transport.start(self.echo)
        self._good: Peer | None = None
        self._next = 1

    def peer(self, *pairs: tuple[int, int], preface: bool = True) -> Peer:
        return Peer(self.address, *pairs, preface=preface)

    def serves(self) -> bool:
        """Whether a client that behaves is answered."""
        if self._good is None or self._good.closed or self._good.goaways:
            self._good = self.peer()
            self._good.give(0, MOST - 65535)
            self._next = 1
        for _ in range(20):
            raw = b"good %d" % self._next
            answer = self._good.ask(self._next, raw)
            self._next += 2
            if answer != b"refused:overloaded":  # said at once, and for a moment: a burst of real Checks is work
                return answer == b"answer:" + raw
            time.sleep(0.01)
        return False

    def settles(self) -> bool:
        """Whether a client that behaves is answered by a new connection too, and nothing is left in flight."""
        with self.peer() as fresh:
            answered = fresh.ask(1, b"fresh") in {b"answer:fresh", b"refused:overloaded"}
        return answered and self.serves() and until(lambda: self.transport.inflight == 0)

    def asked(self) -> list[bytes]:
        """What the answerer has seen of others, since the last time."""
        seen = [raw for raw, _, _ in self.echo.seen if not raw.startswith((b"good ", b"fresh"))]
        self.echo.seen.clear()
        return seen

    def close(self, grace: float = 0.0) -> None:
        self.echo.gate.set()
        if self._good is not None:
            self._good.close()
        self.transport.stop(grace)


def until(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return bool(found)
