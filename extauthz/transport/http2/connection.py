"""One connection of HTTP/2 as its server sees it: bytes in, calls out (RFC 9113).

Rule 1: total: whatever comes ends in calls, in frames to the peer or in PeerError, which ends the connection.
Rule 2: nothing that a peer sends is kept without a bound: no header block, no message, no count.
"""

from typing import Final

from extauthz.transport.http2 import control, frames
from extauthz.transport.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    HEAD,
    HEAD_SIZE,
    HEADERS,
    MAX_FRAME,
    MAX_STREAM,
    PREFACE,
    PROTOCOL_ERROR,
    SETTINGS,
    PeerError,
)
from extauthz.transport.http2.hub import Hub
from extauthz.transport.http2.incoming import Incoming
from extauthz.transport.http2.sender import Sender

_PREFIX_SIZE: Final = 5  # of a gRPC message
_KIND_PLACE, _FLAGS_PLACE = 3, 4  # in the head of a frame


class Connection(Incoming):
    """The way in."""

    def __init__(self, hub: Hub, sender: Sender) -> None:
        super().__init__(hub, sender)
        self.settled = False  # preface and SETTINGS have come
        self.peer_leaves = False
        self.pong = b""  # what the last answer to a PING said
        self.pinged = 0.0  # when the peer did last
        self._rest = b""
        sender.write(
            frames.settings(
                {
                    frames.MAX_CONCURRENT_STREAMS: hub.options.max_concurrent_streams,
                    frames.INITIAL_WINDOW_SIZE: hub.stream_window,
                    frames.MAX_HEADER_LIST_SIZE: hub.options.max_metadata_bytes,
                }
            )
            + frames.window_update(0, hub.window - frames.FIRST_WINDOW)
        )

    def receive(self, chunk: bytes) -> None:  # noqa: C901, PLR0912 - tight: every frame comes through here
        """Take what has come. Raises PeerError."""
        if self._rest:
            chunk = self._rest + chunk
        position, end = 0, len(chunk)
        if not self.settled:
            if not self._greeted(chunk):
                self._rest = chunk
                return
            position = len(PREFACE)
        streams, intake, head = self.sender.streams, self.intake, HEAD.unpack_from
        while end - position >= HEAD_SIZE:
            high, low, kind, flags, stream = head(chunk, position)
            start = position + HEAD_SIZE
            stop = start + (high << 8 | low)
            if stop - start > MAX_FRAME:
                raise PeerError(FRAME_SIZE_ERROR, "a frame larger than agreed")
            if stop > end:
                break
            position = stop
            stream &= MAX_STREAM
            if self.block_stream and kind != CONTINUATION:
                raise PeerError(PROTOCOL_ERROR, "a header block that does not go on")
            if kind == DATA:
                call = streams.get(stream)
                size = stop - start - _PREFIX_SIZE
                if (  # the whole message in one frame, as nearly all are
                    flags == END_STREAM
                    and call is not None
                    and call.body is None
                    and not call.complete
                    and size >= 0
                    and chunk[start : start + _PREFIX_SIZE] == b"\x00" + size.to_bytes(4, "big")
                ):
                    call.raw = chunk[start + _PREFIX_SIZE : stop]
                    intake.due += stop - start
                    if intake.due > intake.most_due or intake.held:
                        intake.check()
                    self.deliver(call)
                else:
                    self.on_data(stream, flags, call, chunk[start:stop])
            elif kind == HEADERS:
                if flags == END_HEADERS and stream > self.last:
                    self.begin(stream, flags, chunk[start:stop])
                else:
                    self.on_headers(stream, flags, chunk[start:stop])
            elif kind == CONTINUATION:
                self.on_continuation(stream, flags, chunk[start:stop])
            else:
                control.on_frame(self, kind, flags, stream, chunk[start:stop])
        self._rest = chunk[position:]

    def _greeted(self, chunk: bytes) -> bool:
        """Whether preface and SETTINGS are there, which come first (section 3.4)."""
        if not chunk.startswith(PREFACE):
            if not PREFACE.startswith(chunk):
                raise PeerError(PROTOCOL_ERROR, "not HTTP/2")
            return False
        first = chunk[len(PREFACE) : len(PREFACE) + HEAD_SIZE]
        if len(first) < HEAD_SIZE:
            return False
        if first[_KIND_PLACE] != SETTINGS or first[_FLAGS_PLACE] & frames.ACK:
            raise PeerError(PROTOCOL_ERROR, "no SETTINGS at the beginning")
        self.settled = True
        return True
