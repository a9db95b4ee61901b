"""Where connections come in: a thread that accepts them and has their TLS handshakes, so that no Check waits for one.

Rule 1: handshakes that stall keep nobody out, and where the process has no descriptor left for a connection the door
closes for a moment instead of spinning.
"""

import errno
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger("extauthz.transport")

_HANDSHAKE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.1
_MOST_HANDSHAKES: Final = 256
_BACKLOG: Final = 1024
_OF_THE_PEER: Final = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EAGAIN, errno.EINTR}
_WAITS: Final = {ssl.SSLWantReadError: select.EPOLLIN, ssl.SSLWantWriteError: select.EPOLLOUT}


class Door:
    """One listening socket. `admit` gets each connection, in the door's thread, with all its handshakes done."""

    def __init__(
        self,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext] | None,
        admit: Callable[[socket.socket], None],
    ) -> None:
        """`context` is asked at every handshake."""
        self._listener, self._context, self._admit = listener, context, admit
        self._waiting: dict[int, tuple[ssl.SSLSocket, float]] = {}  # by descriptor; and until when
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def open(self) -> None:
        """Begin to accept."""
        self._listener.listen(_BACKLOG)
        self._listener.settimeout(0)
        self._thread.start()

    def close(self) -> None:
        """Accept nothing more; from any thread, once."""
        path = self._listener.getsockname() if self._listener.family == socket.AF_UNIX else ""
        if self._thread.ident is None:
            self._listener.close()
            os.close(self._stop)
        else:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
        if path:
            Path(path).unlink(missing_ok=True)

    def _run(self) -> None:
        with select.epoll() as poller, self._listener:
            poller.register(self._stop, select.EPOLLIN)
            poller.register(self._listener, select.EPOLLIN)
            while True:
                try:
                    if self._turn(poller):
                        break
                except Exception:
                    log.exception("the door of the listener failed, and stays open")
                    time.sleep(_PAUSE_SECONDS)
            for sock, _ in self._waiting.values():
                sock.close()
        os.close(self._stop)

    def _turn(self, poller: select.epoll) -> bool:
        for fd, _ in poller.poll(_LOOK_SECONDS if self._waiting else None):
            if fd == self._stop:
                return True
            if fd == self._listener.fileno():
                self._accept(poller)
            elif fd in self._waiting:
                self._shake(poller, self._waiting[fd][0])
        now = time.monotonic()
        for sock, until in list(self._waiting.values()):
            if until > now:
                break
            self._drop(poller, sock)
        return False

    def _accept(self, poller: select.epoll) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno not in _OF_THE_PEER:  # no descriptors, no memory: more will not come of asking again at once
                log.error("no connection can be accepted: %s", error.strerror)  # noqa: TRY400 - one line
                time.sleep(_PAUSE_SECONDS)
            return
        try:
            if len(self._waiting) >= _MOST_HANDSHAKES:  # who means it is done in milliseconds, so it is not the oldest
                self._drop(poller, next(iter(self._waiting.values()))[0])
            sock.settimeout(0)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                self._admit(sock)
                return
            wrapped = self._context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._waiting[wrapped.fileno()] = wrapped, time.monotonic() + _HANDSHAKE_SECONDS
            poller.register(wrapped.fileno(), select.EPOLLIN)
        except OSError:  # the peer is gone
            sock.close()

    def _shake(self, poller: select.epoll, sock: ssl.SSLSocket) -> None:
        try:
            sock.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wanted:
            poller.modify(sock.fileno(), _WAITS[type(wanted)])
            return
        except OSError:
            self._drop(poller, sock)
            return
        if sock.selected_alpn_protocol() != "h2":
            self._drop(poller, sock)
            return
        poller.unregister(sock.fileno())
        del self._waiting[sock.fileno()]
        self._admit(sock)

    def _drop(self, poller: select.epoll, sock: ssl.SSLSocket) -> None:
        del self._waiting[sock.fileno()]
        with suppress(OSError):
            poller.unregister(sock.fileno())
        sock.close()
