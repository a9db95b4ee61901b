"""The socket of one connection: what comes goes to the connection, what its calls brought forth leaves in one piece.

Rule 1: whatever fails here ends this connection, and nothing else.
Rule 2: a peer that does not read is not read from either, and is given up after a while.
"""

import logging
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from extauthz.transport.http2 import frames
from extauthz.transport.http2.connection import Connection
from extauthz.transport.http2.frames import INTERNAL_ERROR, PeerError
from extauthz.transport.http2.hub import Hub
from extauthz.transport.http2.sender import Sender

log = logging.getLogger("extauthz.transport")

READ_SIZE: Final = 64 << 10  # in a turn; then come the others
_MOST_UNSENT: Final = 1 << 20
_NOT_NOW: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Link:
    """Owned by the loop's thread. `since` are times of the hub's clock."""

    def __init__(self, hub: Hub, sock: socket.socket, poller: select.epoll, closed: Callable[["Link"], None]) -> None:
        self._hub, self._socket, self._poller, self._closed = hub, sock, poller, closed
        self._receive = sock.recv
        self.fd = sock.fileno()
        self.sender = Sender(hub)
        self.sender.flush = self.flush
        self.connection = Connection(hub, self.sender)
        self.began = self.heard = hub.now
        self.unsent = b""
        self.unsent_since = 0.0
        self.over_since = 0.0  # since when nothing that comes is looked at; 0 while it is
        self.is_closed = False
        self._events = select.EPOLLIN
        poller.register(self.fd, self._events)

    def on_events(self, events: int) -> None:
        """The socket may be read, or written, or is broken."""
        try:
            if events & select.EPOLLOUT:
                self.flush()
            if events & ~select.EPOLLOUT and not self.is_closed:
                self._read()
        except Exception:
            log.exception("a connection failed")
            self.close()

    def _read(self) -> None:
        try:
            chunk = self._receive(READ_SIZE)
        except _NOT_NOW:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return
        self.heard = self._hub.now
        if self.over_since:
            return
        try:
            self.connection.receive(chunk)
        except PeerError as error:
            self.end(error.code, error.words)
        except Exception:
            log.exception("a connection failed")
            self.end(INTERNAL_ERROR)

    def flush(self) -> None:
        """Send what there is."""
        out = self.sender.out
        if self.is_closed:
            out.clear()
            return
        data = b"".join((self.unsent, *out)) if self.unsent else out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        try:
            sent = self._socket.send(data) if data else 0
        except _NOT_NOW:
            sent = 0
        except OSError:
            self.close()
            return
        if sent == len(data):
            if self.unsent:
                self.unsent = b""
                self._watch(select.EPOLLIN)
            if self.over_since:
                self._shut()
            return
        if sent or not self.unsent:
            self.unsent_since = self._hub.now
        self.unsent = data[sent:]
        too_much = len(self.unsent) > _MOST_UNSENT
        self._watch(select.EPOLLOUT if too_much else select.EPOLLIN | select.EPOLLOUT)

    def end(self, code: int, words: str = "") -> None:
        """Say GOAWAY, drop what is open, and close when that has left; the peer's end is waited for."""
        if self.over_since or self.is_closed:
            return
        self.over_since = self._hub.now
        self.sender.write(frames.goaway(self.connection.last, code, words))
        self.sender.drop_all()

    def close(self) -> None:
        """At once."""
        if self.is_closed:
            return
        self.is_closed = True
        self.sender.drop_all()
        with suppress(OSError):
            self._poller.unregister(self.fd)
        self._socket.close()
        self._closed(self)

    def _shut(self) -> None:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                with suppress(*_NOT_NOW):
                    self._socket.unwrap()
            self._socket.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            self.close()

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._poller.modify(self.fd, events)
