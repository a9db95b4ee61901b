"""How much of messages a connection may send: flow control of what comes (RFC 9113 section 5.2).

Rule 1: bytes are credited again when their message has come to its end, so that all that is unfinished on a connection
fits into its window; there is no need to open the window of a stream, which holds the largest message.
"""

from collections.abc import Callable

from extauthz.transport.http2.call import Call
from extauthz.transport.http2.frames import FIRST_WINDOW, FLOW_CONTROL_ERROR, PeerError, window_update
from extauthz.transport.http2.hub import Hub


class Intake:
    """One connection's. `held` are bytes of unfinished messages, `due` those that will be credited again."""

    def __init__(self, hub: Hub, write: Callable[[bytes], None]) -> None:
        self._hub, self._write = hub, write
        self._window = hub.window
        self.held = self.due = 0
        self.most_due = hub.window // 2

    def take(self, call: Call, size: int) -> None:
        """A part of a message has come."""
        call.held += size
        self.held += size
        self._hub.held += size

    def check(self) -> None:
        """Credit what is due; raises PeerError when the peer sent more than it may."""
        free = self._window - self.held
        if self.due > free:
            raise PeerError(FLOW_CONTROL_ERROR, "more than the window of the connection")
        if self.due * 2 > free:
            self._write(window_update(0, self.due))
            self.due = 0

    def is_crowded(self) -> bool:
        """Whether unfinished messages are so many that they would wait for each other, or take too much memory."""
        return self.held > self._window - FIRST_WINDOW or self._hub.held > self._hub.most_held

    def finish(self, call: Call) -> None:
        """Nothing more of it will come."""
        self.held -= call.held
        self.due += call.held
        self.check()
