"""What leaves on one connection: answers, within what the peer takes (RFC 9113 section 5.2).

Rule 1: what the peer does not take yet waits with its call; there are no more of them than it may have streams.
Rule 2: nothing is sent here: all that a turn of the loop has brought forth leaves at once, when it is over.
"""

from collections.abc import Callable
from typing import Final

from extauthz.transport.http2 import frames, status
from extauthz.transport.http2.call import Call
from extauthz.transport.http2.frames import FIRST_WINDOW, FLOW_CONTROL_ERROR, MAX_FRAME, MAX_WINDOW, PeerError
from extauthz.transport.http2.hub import Hub
from extauthz.transport.http2.intake import Intake
from extauthz.transport.http2.status import Status, begin_answer, end_answer

_PREFIX_SIZE: Final = 5
_MOST_REMEMBERED: Final = 1024  # streams that ended before the peer did, whose frames are still to come


class Sender:
    """The way out of one connection, and the streams that wait for it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.intake = Intake(hub, self.write)
        self.flush: Callable[[], None] = lambda: None  # sends what is in `out`
        self.streams: dict[int, Call] = {}
        self.out: list[bytes] = []
        self.window = self.first_window = FIRST_WINDOW
        self._stalled: dict[Call, float] = {}  # and since when
        self._deaf: dict[int, None] = {}

    def write(self, frame: bytes) -> None:
        """Frames that no window holds up."""
        if not self.out:
            self.hub.dirty.append(self)
        self.out.append(frame)

    def answer(self, call: Call, message: bytes) -> None:
        """The whole answer to a call."""
        size, stream = len(message), call.stream
        framed = size + _PREFIX_SIZE
        if framed > self.window or framed > call.window or framed > MAX_FRAME:
            self.begin_stream(call, message)
            self.end_stream(call)
            return
        self.window -= framed
        out = self.out
        if not out:
            self.hub.dirty.append(self)
        out += (begin_answer(stream, size), message, end_answer(stream))
        self._forget(call)

    def fail(self, call: Call, how: Status) -> None:
        """Trailers alone."""
        self.write(status.trailers_only(call.stream, how))
        self._forget(call)

    def cancel(self, call: Call, code: int = frames.CANCEL) -> None:
        """Reset a stream that is open."""
        self.write(frames.reset(call.stream, code))
        if not call.complete:
            self._give_up(call)
        self._forget(call)
        self.deafen(call.stream)

    def begin_stream(self, call: Call, message: bytes) -> None:
        """The response headers and the first message."""
        self.write(status.headers(call.stream))
        self.send(call, message)

    def send(self, call: Call, message: bytes) -> None:
        """One more message."""
        if call.pending is None:
            call.pending = bytearray()
        call.pending += status.message(message)
        self._push(call)

    def end_stream(self, call: Call) -> None:
        """Trailers, after all that waits."""
        call.ending = end_answer(call.stream)
        self._push(call)

    def enlarge(self, stream: int, more: int) -> int:
        """WINDOW_UPDATE; how many streams had to be looked at. Raises PeerError."""
        if not stream:
            before, self.window = self.window, self.window + more
            if self.window > MAX_WINDOW:
                raise PeerError(FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            return 0 if before > 0 else self._push_all()  # who waits although there was some has no window of its own
        call = self.streams.get(stream)
        if call is None:
            return 0
        call.window += more
        if call.window > MAX_WINDOW:
            self.cancel(call, FLOW_CONTROL_ERROR)
        elif call in self._stalled:
            self._push(call)
        return 1

    def set_first_window(self, size: int) -> int:
        """SETTINGS_INITIAL_WINDOW_SIZE, of open streams too; how many they are. Raises PeerError."""
        change, self.first_window = size - self.first_window, size
        for call in self.streams.values():
            call.window += change
            if call.window > MAX_WINDOW:
                raise PeerError(FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        self._push_all()
        return len(self.streams)

    def drop(self, call: Call) -> None:
        """The peer has reset it."""
        if call.complete:
            self.hub.withdrawn(call)
        else:
            self._give_up(call)
        self._forget(call)

    def drop_all(self) -> None:
        """The connection is gone."""
        for call in list(self.streams.values()):
            self.drop(call)

    def cancel_stalled(self, since: float) -> None:
        """Those whose answer the peer has not taken since then."""
        for call in [call for call, began in self._stalled.items() if began < since]:
            self.cancel(call)

    def is_deaf(self, stream: int) -> bool:
        """Whether we ended it before the peer did: what still comes for it is none of anybody's business."""
        return stream in self._deaf

    def deafen(self, stream: int) -> None:
        """See is_deaf."""
        if len(self._deaf) >= _MOST_REMEMBERED:
            del self._deaf[next(iter(self._deaf))]
        self._deaf[stream] = None

    def _push_all(self) -> int:
        waiting = list(self._stalled)
        for call in waiting:
            self._push(call)
        return len(waiting)

    def _push(self, call: Call) -> None:
        """Send of a call what the peer takes."""
        pending = call.pending
        while pending:
            room = min(self.window, call.window, MAX_FRAME)
            if room <= 0:
                self._stalled.setdefault(call, self.hub.now)
                return
            part = bytes(pending[:room])
            del pending[:room]
            self.window -= len(part)
            call.window -= len(part)
            self.write(status.data(call.stream, part))
        self._stalled.pop(call, None)
        if call.ending:
            self.write(call.ending)
            self._forget(call)

    def _forget(self, call: Call) -> None:
        """The call is over for us; for the peer too, unless it has more to say."""
        call.gone = True
        del self.streams[call.stream]
        self._stalled.pop(call, None)
        if call.held:
            self.hub.held -= call.held
        if not call.complete:
            self._give_up(call)
            self.write(frames.reset(call.stream, frames.NO_ERROR))
            self.deafen(call.stream)

    def _give_up(self, call: Call) -> None:
        """Nobody waits for its message any more."""
        call.complete, call.body = True, None
        self.hub.coming -= 1
        if call.held:
            self.intake.finish(call)
