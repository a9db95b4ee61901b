"""The transport on an HTTP/2 of our own: one thread reads what has come, decides it inline and sends the answers.

Rule 1: the loop moves calls between connections and the desk; what is decided when is the desk's business.
Rule 2: a Check ends in bytes or, when the client has cancelled it, in nothing; never in a gRPC error.
Rule 3: whatever fails, the loop goes on: a server whose loop has ended would take calls and answer none.
"""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from extauthz.model.addresses import parse_address
from extauthz.transport.contract import METHOD, SERVICE, Answerer, OnShed, Spare, TransportOptions
from extauthz.transport.desk import Desk
from extauthz.transport.http2.call import Call
from extauthz.transport.http2.clocks import Clocks
from extauthz.transport.http2.door import Door
from extauthz.transport.http2.frames import NO_ERROR
from extauthz.transport.http2.hub import Hub
from extauthz.transport.http2.link import Link
from extauthz.transport.http2.status import TOO_MANY
from extauthz.transport.listen import ListenOptions, listener
from extauthz.transport.loop_health import METHODS, LoopHealth
from extauthz.transport.tls import server_context

log = logging.getLogger("extauthz.transport")

CHECK = f"/{SERVICE}/{METHOD}"
_WAITED_SECONDS = 20e-6  # to take an event that was there takes a quarter of it
_LOOK_SECONDS = 0.25  # how often the clocks of connections are looked at
# Where the queue stands, all that is here is looked at before anything is decided, but so often at most: who sends
# without end must not hold up those whose calls have come (T-64).
_MOST_LOOKS = 16
_MOST_EVENTS = 64  # connections in one look
_STOP_SECONDS = 2.0  # beyond the grace


class LoopTransport:
    """A server of gRPC behind the transport contract."""

    def __init__(
        self,
        listen: ListenOptions,
        options: TransportOptions,
        last_resort: bytes,
        on_shed: OnShed,
    ) -> None:
        """Nothing is opened yet. Raises TlsError for bad TLS files."""
        self._address = parse_address(listen.address)
        self._context = server_context(listen.tls) if listen.tls else None
        self._options = options
        self._desk = Desk(options, last_resort, on_shed)
        routes = {CHECK: self._desk.put}
        self._hub = Hub(options, routes, self._crowd)
        self._hub.withdrawn = self._desk.withdraw
        self._health = LoopHealth(self._hub.post)
        routes.update(dict.fromkeys(METHODS, self._health.answer))
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._links: dict[Link, Clocks] = {}
        self._looks = 0  # since the desk had its turn
        self._next_look = 0.0
        self._ends = 0.0  # when a stop stops waiting; 0 before
        self._stopped = False
        self._door: Door | None = None
        self._bell, self._ringing = -1, threading.Lock()
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)

    @property
    def inflight(self) -> int:
        """Checks at work or waiting now."""
        return self._hub.coming + self._desk.count

    @property
    def waiting(self) -> int:
        """Checks that wait for an answer from outside."""
        return self._desk.aside.count

    @contextmanager
    def aside(self) -> Iterator[bool]:
        """Whether the calling thread may wait for the outside: those of the few may, the loop's may not."""
        yield self._desk.aside.is_here()

    def bind(self) -> str:
        """Take the address, without serving yet; returns it with the actual port. Raises OSError."""
        sock, address = listener(self._address)
        self._door = Door(sock, self._context, self._admit)
        return str(address)

    def start(self, answerer: Answerer, spare: Spare | None = None) -> None:
        """Begin to answer; health is NOT_SERVING until told otherwise. `spare` is done in spare time."""
        self._desk.answerer, self._desk.spare = answerer, spare
        self._poller = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._bell, select.EPOLLIN)
        self._handlers[self._bell] = self._on_bell
        self._hub.wake_by(self._ring)
        self._thread.start()
        if self._door:
            self._door.open()

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """What grpc.health.v1 answers from now on."""
        self._health.set(serving)

    def stop(self, grace: float) -> None:
        """Close the listener, let Checks in flight finish for `grace` seconds, cancel the rest."""
        if self._stopped:
            return
        self._stopped = True
        if self._door:
            self._door.close()
        if self._desk.answerer is None:
            return
        self._health.set(serving=False)
        self._hub.post(lambda: self._leave(grace))
        self._thread.join(grace + _STOP_SECONDS)
        self._desk.aside.close(lambda: None)
        if not self._thread.is_alive():
            with self._ringing:  # its number may be another file's from now on
                os.close(self._bell)
                self._bell = -1

    # --- the door's thread

    def _admit(self, sock: socket.socket) -> None:
        self._hub.post(lambda: self._begin(sock))

    # --- the loop's thread

    def _run(self) -> None:
        while not self._is_over():
            try:
                self._turn()
            except BaseException:  # rule 3
                log.exception("the loop of checks failed, and goes on")
        for link in list(self._links):
            link.close()
        self._poller.close()

    def _turn(self) -> None:
        """Take what has come, decide, and send the answers."""
        desk, hub = self._desk, self._hub
        events = self._next()
        hub.tick()
        handlers = self._handlers
        for fd, what in events:
            handler = handlers.get(fd)
            if handler is not None:  # closed in this very turn
                handler(what)
        self._looks += 1
        if not events or self._looks >= _MOST_LOOKS or (desk.ready and desk.is_due(more_may_come=False)):
            self._looks = 0
            desk.work(more_is_here=bool(events))
        if hub.now >= self._next_look:
            self._next_look = hub.now + _LOOK_SECONDS
            for clocks in list(self._links.values()):
                clocks.look()
        while hub.dirty:
            hub.dirty.pop().flush()

    def _next(self) -> list[tuple[int, int]]:
        """The next events; having waited for them means that nobody was waiting for us."""
        desk = self._desk
        if desk.ready or desk.costly or (desk.spare is not None and desk.spare.is_there):
            return self._poller.poll(0, _MOST_EVENTS)
        before = time.monotonic()
        events = self._poller.poll(_LOOK_SECONDS if self._links else None, _MOST_EVENTS)
        if time.monotonic() - before > _WAITED_SECONDS:
            desk.nobody_waits()
        return events

    def _ring(self) -> None:
        with self._ringing:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _on_bell(self, _events: int) -> None:
        os.eventfd_read(self._bell)
        self._hub.do_posted()

    def _begin(self, sock: socket.socket) -> None:
        if len(self._links) >= self._options.max_connections and not self._make_room():
            sock.close()
            return
        link = Link(self._hub, sock, self._poller, self._forget)
        self._handlers[link.fd] = link.on_events
        self._links[link] = Clocks(link)
        if self._ends:
            link.close()

    def _make_room(self) -> bool:
        """Close the connection that nobody misses: without calls now, and longest without one, or never with any."""
        idle = [link for link in self._links if not link.sender.streams]
        if idle:
            least = min(idle, key=lambda link: (link.connection.useful, link.began))
            least.end(NO_ERROR)
            least.flush()
            least.close()
        return bool(idle)

    def _crowd(self, call: Call) -> None:
        """Refuse a call whose message has not come, for too many have begun."""
        if call.path == CHECK:
            self._desk.crowd(call)
        else:
            call.fail(TOO_MANY)

    def _forget(self, link: Link) -> None:
        del self._handlers[link.fd]
        del self._links[link]

    def _leave(self, grace: float) -> None:
        self._health.close()
        self._ends = time.monotonic() + grace + _STOP_SECONDS / 2
        for clocks in self._links.values():
            clocks.leave(grace)

    def _is_over(self) -> bool:
        return bool(self._ends) and (not self._links or time.monotonic() > self._ends)
