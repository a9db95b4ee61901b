"""Whether the loop can serve here: it is asked a few calls over a socket of its own, before any port is taken.

Rule 1: it never raises and ends by itself; whatever is wrong with this machine is a line of text.
"""

import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from extauthz.model.reasons import Reason
from extauthz.transport.contract import Arrival, Later, TransportOptions
from extauthz.transport.http2 import frames, status
from extauthz.transport.listen import ListenOptions
from extauthz.transport.loop import CHECK, LoopTransport
from extauthz.transport.loop_health import METHODS

_SECONDS = 5.0  # far more than it takes
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_CALLS = 3
_PREFIX_SIZE = 5
# `:method: POST` and `:scheme: http` by their index, `:path` and `content-type` by that of their name (RFC 7541).
_BEFORE_PATH, _AFTER_PATH = b"\x83\x86\x04", b"\x0f\x10\x10application/grpc"


class _Echo:
    """Answers with what it was asked; every second one later, in a thread that may wait."""

    def answer(self, arrival: Arrival) -> bytes:
        return arrival.raw

    def answer_all(self, arrivals: Sequence[Arrival]) -> list[bytes | Later]:
        return [_Waiting(arrival.raw) if arrival.raw.endswith(b"1") else arrival.raw for arrival in arrivals]

    def whose(self, raw: bytes) -> str:  # noqa: ARG002 - as Answerer says
        return ""

    def needs_verifying(self, raw: bytes) -> bool:  # noqa: ARG002
        return False

    def refuse(self, reason: Reason) -> bytes:
        return reason.code.encode()


class _Waiting:
    """An answer that is not there yet."""

    waits = True

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def __call__(self) -> bytes:
        return self._answer


def check_loop() -> str:
    """Why the loop cannot serve here, "" when it can."""
    try:
        with tempfile.TemporaryDirectory(prefix="extauthz-") as directory:
            return _ask(Path(directory, "self-check"))
    except Exception as error:  # noqa: BLE001 - that is the answer
        return f"{type(error).__name__}: {error}"


def _ask(path: Path) -> str:
    listen = ListenOptions(address=f"unix:{path}")
    server = LoopTransport(listen, TransportOptions(), b"last resort", lambda _cause: None)
    try:
        server.bind()
        server.start(_Echo())
        server.set_serving(serving=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_SECONDS)
            client.connect(str(path))
            client.sendall(frames.PREFACE + frames.settings({}))
            return _call_all(client)
    finally:
        server.stop(_SECONDS)


def _call_all(client: socket.socket) -> str:
    stream = 1
    for number in range(_CALLS):
        sent = b"self-check %d" % number
        if _call(client, stream, CHECK, sent) != status.answer(stream, sent):
            return "an answer is not what was sent"
        stream += 2
    if _call(client, stream, METHODS[0], b"") != status.answer(stream, _SERVING):
        return "health does not follow its state"
    stream += 2
    unknown = status.trailers_only(stream, status.UNKNOWN_METHOD)
    return "" if _call(client, stream, "/unknown", b"") == unknown else "an unknown method is answered"


def _call(client: socket.socket, stream: int, path: str, message: bytes) -> bytes:
    """All frames of the answer to one call."""
    block = _BEFORE_PATH + bytes((len(path),)) + path.encode() + _AFTER_PATH
    client.sendall(
        frames.HEAD.pack(0, len(block), frames.HEADERS, frames.END_HEADERS, stream)
        + block
        + frames.HEAD.pack(0, len(message) + _PREFIX_SIZE, frames.DATA, frames.END_STREAM, stream)
        + status.message(message)
    )
    answer = b""
    while True:
        head = _read(client, frames.HEAD_SIZE)
        high, low, kind, flags, on = frames.HEAD.unpack(head)
        body = _read(client, high << 8 | low)
        if on != stream:
            continue
        answer += head + body
        if kind == frames.RST_STREAM or (kind == frames.HEADERS and flags & frames.END_STREAM):
            return answer


def _read(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = client.recv(size - len(found))
        if not part:
            message = "the connection was closed"
            raise ConnectionError(message)
        found += part
    return found
