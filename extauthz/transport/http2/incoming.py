"""Headers and messages of calls, as their frames bring them (RFC 9113 sections 6.1, 6.2, 6.10 and 8.1)."""

from typing import Final

from extauthz.transport.http2 import control, frames, status
from extauthz.transport.http2.budget import EARNED, RESET, Budget
from extauthz.transport.http2.call import Call
from extauthz.transport.http2.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    MAX_STREAM,
    PADDED,
    PROTOCOL_ERROR,
    WITH_PRIORITY,
    PeerError,
)
from extauthz.transport.http2.hub import Hub
from extauthz.transport.http2.request import MEASURE, RequestReader
from extauthz.transport.http2.sender import Sender
from extauthz.transport.http2.status import Status

_FEW: Final = 16  # calls of a connection whose message has not come, whatever those of others are
_PRIORITY_SIZE: Final = 5
_PREFIX_SIZE: Final = 5  # of a gRPC message


class Incoming:
    """The calls of one connection, until their message has come."""

    def __init__(self, hub: Hub, sender: Sender) -> None:
        self.hub, self.sender, self.intake = hub, sender, sender.intake
        self.budget = Budget()
        self.last = 0  # the highest stream that the peer has opened
        self.goodbye = MAX_STREAM  # the last stream that is looked at
        self.useful = 0.0  # when the last call came; 0 before the first
        self.block_stream = 0  # whose header block goes on in CONTINUATION
        self._block, self._block_flags = bytearray(), 0
        self._reader = RequestReader(hub.options.max_metadata_bytes, hub.routes)
        self._most_block = hub.options.max_metadata_bytes * MEASURE

    # --- headers

    def on_headers(self, stream: int, flags: int, payload: bytes) -> None:
        """HEADERS of any shape."""
        if not stream & 1:
            raise PeerError(PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
        block = _unpadded(flags, payload)
        if flags & WITH_PRIORITY:
            if len(block) < _PRIORITY_SIZE:
                raise PeerError(FRAME_SIZE_ERROR, "HEADERS that end within their priority")
            block = block[_PRIORITY_SIZE:]
        if flags & END_HEADERS:
            self._on_block(stream, flags, block)
        else:
            self._block += block
            self.block_stream, self._block_flags = stream, flags

    def on_continuation(self, stream: int, flags: int, payload: bytes) -> None:
        """CONTINUATION (CVE-2024-27316 is one without end)."""
        if not stream or stream != self.block_stream:
            raise PeerError(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self.budget.spend()
        self._block += payload
        if len(self._block) > self._most_block:
            raise PeerError(frames.ENHANCE_YOUR_CALM, "headers beyond all measure")
        if flags & END_HEADERS:
            block, self.block_stream = bytes(self._block), 0
            self._block.clear()
            self._on_block(stream, self._block_flags, block)

    def _on_block(self, stream: int, flags: int, block: bytes) -> None:
        call = self.sender.streams.get(stream)
        if call is not None:
            self._on_trailers(call, flags, block)
        elif self.sender.is_deaf(stream):
            self.budget.spend()
            self._reader.read_trailers(block)
        else:
            self.begin(stream, flags, block)

    def _on_trailers(self, call: Call, flags: int, block: bytes) -> None:
        self.budget.spend()
        right = self._reader.read_trailers(block)
        if call.complete:
            self.sender.cancel(call, frames.STREAM_CLOSED)
        elif not right or not flags & END_STREAM:
            self.sender.cancel(call, PROTOCOL_ERROR)
        else:
            self._end(call)

    def begin(self, stream: int, flags: int, block: bytes) -> None:
        """A call begins with these headers."""
        if not stream & 1 or stream <= self.last:
            raise PeerError(PROTOCOL_ERROR, "a stream that cannot be new")
        request = self._reader.read(block)
        self.last = stream
        hub, sender = self.hub, self.sender
        if request.malformed:
            self._refuse(stream, PROTOCOL_ERROR)
            return
        if stream > self.goodbye or len(sender.streams) >= hub.options.max_concurrent_streams:
            self._refuse(stream, frames.REFUSED_STREAM)
            return
        deadline = None if request.timeout is None else hub.wall + request.timeout
        call = sender.streams[stream] = Call(sender, stream, request, hub.now, deadline)
        hub.coming += 1
        if request.refused is not None:
            self.budget.spend(RESET)
            if flags & END_STREAM:
                self._complete(call)
            call.fail(request.refused)
        elif flags & END_STREAM:
            self._end(call)
        elif request.length is not None:
            call.body = bytearray()  # so that it is counted, not taken as it comes
        elif hub.coming > hub.most_coming and self._brings_many():
            self.budget.spend(RESET)
            hub.crowded(call)

    def _brings_many(self) -> bool:
        """Whether this connection is one of those that have calls begin whose messages do not come."""
        found = 0
        for call in self.sender.streams.values():
            found += not call.complete
            if found > _FEW:
                return True
        return False

    def _refuse(self, stream: int, code: int) -> None:
        self.budget.spend(RESET)
        self.sender.write(frames.reset(stream, code))
        self.sender.deafen(stream)

    # --- messages

    def on_data(self, stream: int, flags: int, call: Call | None, payload: bytes) -> None:
        """DATA of any shape, on any stream."""
        intake = self.intake
        if call is None or call.complete:
            intake.due += len(payload)
            intake.check()
            self._on_stray_data(stream, call)
            return
        body = _unpadded(flags, payload)
        if len(body) < control.SMALL and not flags & END_STREAM:
            self.budget.spend()
        if call.body is None:
            call.body = bytearray()
        call.body += body
        intake.due += len(payload) - len(body)
        intake.take(call, len(body))
        intake.check()
        why_not = self._why_not(call.body)
        if why_not is None and flags & END_STREAM:
            self._end(call)
        elif why_not is not None:
            if flags & END_STREAM:
                self._complete(call)
            call.fail(why_not)
        elif intake.is_crowded():
            self.hub.crowded(call)

    def _on_stray_data(self, stream: int, call: Call | None) -> None:
        self.budget.spend()
        if call is not None:
            self.sender.cancel(call, frames.STREAM_CLOSED)
        elif stream > self.last or not stream & 1:
            raise PeerError(PROTOCOL_ERROR, "DATA on a stream that was not opened")
        elif not self.sender.is_deaf(stream):
            self.sender.write(frames.reset(stream, frames.STREAM_CLOSED))

    def _why_not(self, body: bytearray) -> Status | None:
        """Why what has come of a message cannot become one."""
        if body and body[0] == 1:
            return status.COMPRESSED
        if (
            len(body) >= _PREFIX_SIZE
            and int.from_bytes(body[1:_PREFIX_SIZE], "big") > self.hub.options.max_message_bytes
        ):
            return status.MESSAGE_TOO_LARGE
        return None

    def _end(self, call: Call) -> None:
        """All that the peer says in this call has been said; more or less than one message is none."""
        body = call.body
        if call.length is not None and call.length != len(body or b""):  # RFC 9113 section 8.1.1
            self.sender.cancel(call, PROTOCOL_ERROR)
            return
        if (
            body is not None
            and len(body) >= _PREFIX_SIZE
            and body.startswith(b"\0" + (len(body) - _PREFIX_SIZE).to_bytes(4, "big"))
        ):
            call.raw = bytes(memoryview(body)[_PREFIX_SIZE:])
        call.body = None
        self.deliver(call)

    def deliver(self, call: Call) -> None:
        """Pass on a call whose message has come."""
        self._complete(call)
        self.budget.left += EARNED
        self.useful = self.hub.now
        self.hub.routes[call.path](call)

    def _complete(self, call: Call) -> None:
        if call.held:
            self.intake.finish(call)
        call.complete = True
        self.hub.coming -= 1


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload:
        raise PeerError(FRAME_SIZE_ERROR, "no length of the padding")
    if payload[0] >= len(payload):
        raise PeerError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
