"""What all connections of a server share: the clock, the bounds, the counts, and where calls go."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from extauthz.transport.contract import TransportOptions

if TYPE_CHECKING:
    from extauthz.transport.http2.call import Call
    from extauthz.transport.http2.sender import Sender

log = logging.getLogger("extauthz.transport")

Deliver = Callable[["Call"], None]

_SLACK: Final = 64 << 10  # a stream's window beyond its message: prefix and padding
_TIMES_WINDOW: Final = 2  # a connection's window, in largest messages
_TIMES_HELD: Final = 8  # of all connections together
_MOST_COMING: Final = 8192


class Hub:
    """Owned by the loop's thread but for `post`."""

    def __init__(self, options: TransportOptions, routes: Mapping[str, Deliver], crowded: Deliver) -> None:
        """`routes` take calls whose message has come, by path; `crowded` those that are too many."""
        self.options, self.routes, self.crowded = options, routes, crowded
        self.withdrawn: Deliver = lambda _call: None  # gets calls that were delivered, and that nobody waits for now
        self.stream_window = options.max_message_bytes + _SLACK
        self.window = self.stream_window * _TIMES_WINDOW
        self.most_held, self.most_coming = self.stream_window * _TIMES_HELD, _MOST_COMING
        self.now, self.wall = time.monotonic(), time.time()
        self.coming = 0  # calls that have begun and whose message has not come
        self.held = 0  # bytes of messages that came in parts, until their answer
        self.dirty: list[Sender] = []  # those that have something to send
        self._posted: deque[Callable[[], None]] = deque()
        self._wake: Callable[[], None] = lambda: None

    def wake_by(self, wake: Callable[[], None]) -> None:
        """How its thread is got to call `do_posted`."""
        self._wake = wake

    def post(self, what: Callable[[], None]) -> None:
        """Have it done in the owner's thread. From any thread."""
        self._posted.append(what)
        self._wake()

    def do_posted(self) -> None:
        """Do what was there when this was called."""
        for _ in range(len(self._posted)):
            try:
                self._posted.popleft()()
            except Exception:  # what is wrong with one is none of the others' business
                log.exception("what another thread had to say could not be done")

    def tick(self) -> None:
        """Look at the clocks."""
        self.now, self.wall = time.monotonic(), time.time()
