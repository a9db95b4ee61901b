"""One connection of the loop's HTTP/2 without a socket, and the frames of a client in plain bytes."""

from hpack import Encoder
from hyperframe.frame import Frame

from extauthz.transport import METHOD, SERVICE, TransportOptions
from extauthz.transport.http2 import frames
from extauthz.transport.http2.call import Call
from extauthz.transport.http2.connection import Connection
from extauthz.transport.http2.hub import Hub
from extauthz.transport.http2.sender import Sender

CHECK = f"/{SERVICE}/{METHOD}"
HEADERS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", CHECK.encode()),
    (b":authority", b"extauthz"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)
HELLO = frames.PREFACE + frames.settings({})


class InMemory:
    """`calls` are those whose message has come, in their order; `crowded` those that were too many."""

    def __init__(self, **options: object) -> None:
        self.calls: list[Call] = []
        self.crowded: list[Call] = []
        self.hub = Hub(TransportOptions(**options), {CHECK: self.calls.append}, self.crowded.append)  # type: ignore[arg-type]
        self.sender = Sender(self.hub)
        self.connection = Connection(self.hub, self.sender)

    def receive(self, data: bytes) -> None:
        """What a client has sent."""
        self.connection.receive(data)

    def sent(self) -> list[Frame]:
        """What the client would get, since the last time."""
        data = memoryview(b"".join(self.sender.out))
        self.sender.out.clear()
        self.hub.dirty.clear()
        found = []
        while data:
            frame, length = Frame.parse_frame_header(data[:9])
            frame.parse_body(data[9 : 9 + length])
            found.append(frame)
            data = data[9 + length :]
        return found


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Any frame."""
    return frames.HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def message(raw: bytes) -> bytes:
    """With gRPC's prefix."""
    return b"\0" + len(raw).to_bytes(4, "big") + raw


def ask(encoder: Encoder, stream: int, raw: bytes, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A whole Check, in two frames."""
    block = encoder.encode([*HEADERS, *more])
    return frame(frames.HEADERS, frames.END_HEADERS, stream, block) + frame(
        frames.DATA, frames.END_STREAM, stream, message(raw)
    )
