"""One call: a stream with one message in, and one out; `Watch` of health has more."""

from typing import TYPE_CHECKING

from extauthz.transport.http2.request import Request
from extauthz.transport.http2.status import Status

if TYPE_CHECKING:
    from extauthz.transport.http2.sender import Sender


class Call:
    """From its headers to its answer. `raw` is its message once it has come, None when there was not exactly one.

    `deadline` is in seconds since the epoch, `begun` of the monotonic clock. All but `reply_later` is for the loop's
    thread, and does nothing once the call is `gone`: answered, cancelled or without its connection.
    """

    __slots__ = (
        "_sender",
        "begun",
        "body",
        "complete",
        "deadline",
        "ending",
        "gone",
        "held",
        "length",
        "path",
        "pending",
        "raw",
        "stream",
        "traceparent",
        "window",
    )

    def __init__(self, sender: "Sender", stream: int, request: Request, begun: float, deadline: float | None) -> None:
        self._sender, self.stream, self.begun, self.deadline = sender, stream, begun, deadline
        self.path, self.traceparent, self.length = request.path, request.traceparent, request.length
        self.window = sender.first_window  # what of ours the peer takes on this stream
        self.raw: bytes | None = None
        self.body: bytearray | None = None  # what has come, where that was not the whole at once
        self.pending: bytearray | None = None  # what has not left, where the peer does not take the whole at once
        self.ending = b""  # what follows that
        self.held = 0  # bytes of it that the hub counts
        self.complete = self.gone = False

    def reply(self, message: bytes) -> None:
        """End the call with `message` and status OK."""
        if not self.gone:
            self._sender.answer(self, message)

    def reply_later(self, message: bytes) -> None:
        """The same from any thread."""
        self._sender.hub.post(lambda: self.reply(message))

    def fail(self, status: Status) -> None:
        """End the call with a status of gRPC's own."""
        if not self.gone:
            self._sender.fail(self, status)

    def cancel(self) -> None:
        """End the call as cancelled."""
        if not self.gone:
            self._sender.cancel(self)

    def begin_stream(self, message: bytes) -> None:
        """Send the first message of many."""
        if not self.gone:
            self._sender.begin_stream(self, message)

    def send(self, message: bytes) -> None:
        """Send one more, after those before it have left."""
        if not self.gone:
            self._sender.send(self, message)

    def end_stream(self) -> None:
        """End a call that `begin_stream` began, after what has still to leave."""
        if not self.gone:
            self._sender.end_stream(self)
