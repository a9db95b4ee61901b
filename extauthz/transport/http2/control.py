"""Frames that are not part of a call: SETTINGS, PING and the like (RFC 9113 sections 6.3 to 6.9)."""

from typing import TYPE_CHECKING, Final

from extauthz.transport.http2 import budget, frames
from extauthz.transport.http2.frames import FRAME_SIZE_ERROR, PROTOCOL_ERROR, PeerError

if TYPE_CHECKING:
    from extauthz.transport.http2.connection import Connection

SMALL: Final = 256  # bytes of DATA that are hardly worth their frame
_PRIORITY_SIZE, _RESET_SIZE, _PING_SIZE, _GOAWAY_SIZE, _UPDATE_SIZE = 5, 4, 8, 8, 4
_MAX_FRAME_SIZES: Final = range(1 << 14, 1 << 24)


def on_frame(connection: "Connection", kind: int, flags: int, stream: int, payload: bytes) -> None:
    """Do what it asks for. Raises PeerError."""
    connection.budget.spend()
    handle = _HANDLERS.get(kind)
    if handle is not None:  # frames of other kinds are ignored (section 5.5)
        handle(connection, flags, stream, payload)


def _on_settings(connection: "Connection", flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise PeerError(PROTOCOL_ERROR, "SETTINGS on a stream")
    if len(payload) % frames.SETTING.size or (flags & frames.ACK and payload):
        raise PeerError(FRAME_SIZE_ERROR, "SETTINGS of an impossible size")
    if flags & frames.ACK:
        return
    connection.budget.spend(len(payload) // frames.SETTING.size)
    for setting, value in frames.SETTING.iter_unpack(payload):
        _set(connection, setting, value)
    connection.sender.write(frames.SETTINGS_ACK)


def _set(connection: "Connection", setting: int, value: int) -> None:
    if setting == frames.INITIAL_WINDOW_SIZE:
        if value > frames.MAX_WINDOW:
            raise PeerError(frames.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        connection.budget.spend(connection.sender.set_first_window(value) // budget.STREAMS)
    elif setting == frames.MAX_FRAME_SIZE:
        if value not in _MAX_FRAME_SIZES:
            raise PeerError(PROTOCOL_ERROR, "an impossible frame size")
    elif setting == frames.ENABLE_PUSH and value > 1:
        raise PeerError(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")


def _on_ping(connection: "Connection", flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise PeerError(PROTOCOL_ERROR, "PING on a stream")
    if len(payload) != _PING_SIZE:
        raise PeerError(FRAME_SIZE_ERROR, "PING of an impossible size")
    if flags & frames.ACK:
        connection.pong = payload
        return
    now, before = connection.hub.now, connection.pinged
    if now - before < connection.hub.options.min_ping_interval_seconds and connection.useful < before:
        connection.budget.spend(budget.EARLY_PING)
    connection.pinged = now
    connection.sender.write(frames.ping(payload, frames.ACK))


def _on_goaway(connection: "Connection", _flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise PeerError(PROTOCOL_ERROR, "GOAWAY on a stream")
    if len(payload) < _GOAWAY_SIZE:
        raise PeerError(FRAME_SIZE_ERROR, "GOAWAY of an impossible size")
    connection.peer_leaves = True


def _on_window_update(connection: "Connection", _flags: int, stream: int, payload: bytes) -> None:
    if len(payload) != _UPDATE_SIZE:
        raise PeerError(FRAME_SIZE_ERROR, "WINDOW_UPDATE of an impossible size")
    _check_not_idle(connection, stream)
    more = int.from_bytes(payload, "big") & frames.MAX_WINDOW
    if more:
        connection.budget.spend(connection.sender.enlarge(stream, more) // budget.STREAMS)
    elif (call := connection.sender.streams.get(stream)) is not None:
        connection.sender.cancel(call, PROTOCOL_ERROR)
    elif not stream:
        raise PeerError(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")


def _on_reset(connection: "Connection", _flags: int, stream: int, payload: bytes) -> None:
    if len(payload) != _RESET_SIZE:
        raise PeerError(FRAME_SIZE_ERROR, "RST_STREAM of an impossible size")
    if not stream:
        raise PeerError(PROTOCOL_ERROR, "RST_STREAM on stream 0")
    _check_not_idle(connection, stream)
    call = connection.sender.streams.get(stream)
    if call is not None:
        connection.budget.spend(budget.RESET)
        connection.sender.drop(call)


def _on_priority(connection: "Connection", _flags: int, stream: int, payload: bytes) -> None:
    if not stream:
        raise PeerError(PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) == _PRIORITY_SIZE:
        return
    call = connection.sender.streams.get(stream)
    if call is None:
        raise PeerError(FRAME_SIZE_ERROR, "PRIORITY of an impossible size")
    connection.sender.cancel(call, FRAME_SIZE_ERROR)


def _on_push_promise(_connection: "Connection", _flags: int, _stream: int, _payload: bytes) -> None:
    raise PeerError(PROTOCOL_ERROR, "PUSH_PROMISE of a client")


def _check_not_idle(connection: "Connection", stream: int) -> None:
    if stream > connection.last or (stream and not stream & 1):
        raise PeerError(PROTOCOL_ERROR, "a stream that was not opened")


_HANDLERS: Final = {
    frames.SETTINGS: _on_settings,
    frames.PING: _on_ping,
    frames.GOAWAY: _on_goaway,
    frames.WINDOW_UPDATE: _on_window_update,
    frames.RST_STREAM: _on_reset,
    frames.PRIORITY: _on_priority,
    frames.PUSH_PROMISE: _on_push_promise,
}
