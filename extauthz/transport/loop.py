"""The transport on grpc's core alone: one thread polls one queue of events and decides inline.

Rule 1: the loop moves calls between grpc's core and the desk; what is decided when is the desk's business.
Rule 2: a Check ends in bytes or, when the client has cancelled it, in nothing; never in a gRPC error.
Rule 3: whatever fails, the loop goes on: a server whose loop has ended would take calls and answer none.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from extauthz.model.addresses import Address, parse_address
from extauthz.transport.arguments import channel_arguments
from extauthz.transport.contract import METHOD, SERVICE, Answerer, OnShed, Spare, TransportOptions
from extauthz.transport.core import Call, CoreServer, Event, Progress, Stopped
from extauthz.transport.desk import Desk
from extauthz.transport.listen import ListenOptions, claim, socket_permissions
from extauthz.transport.loop_health import METHODS, LoopHealth
from extauthz.transport.tls import server_credentials

log = logging.getLogger("extauthz.transport")

CHECK = f"/{SERVICE}/{METHOD}"
# Calls that may begin before the loop looks; more only costs memory.
_OUTSTANDING = 64
_WAITED_SECONDS = 20e-6  # to take an event that was there takes a quarter of it
_LOOK_SECONDS = 0.25  # how often calls are looked at whose message has not come
# After so many events all has its turn, though more are there: calls that somebody opens and resets as fast as
# the loop can look at them must not hold up those that have come (T-64).
_MOST_EVENTS = 1024
_MOST_HEALTH = 256  # calls to health whose message has not come


class LoopTransport:
    """One server of grpc's core behind the transport contract."""

    def __init__(
        self,
        listen: ListenOptions,
        options: TransportOptions,
        last_resort: bytes,
        on_shed: OnShed,
    ) -> None:
        """Nothing is opened yet. Raises TlsError for bad TLS files, UnfitCoreError for a grpcio that is unfit."""
        self._address = parse_address(listen.address)
        self._credentials = server_credentials(listen.tls) if listen.tls else None
        self._options = options
        self._health = LoopHealth()
        self._core = CoreServer((CHECK, *METHODS), channel_arguments(options), _OUTSTANDING)
        self._desk = Desk(options, last_resort, on_shed)
        self._open: dict[Call, None] = {}  # begun, their message has not come; in the order they came
        self._open_health: dict[Call, None] = {}  # the same of those that ask for health
        self._events = 0  # since all had its turn
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)

    @property
    def inflight(self) -> int:
        """Checks at work or waiting now."""
        return len(self._open) + self._desk.count

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
        claim(self._address)
        with socket_permissions():
            port = self._core.add_port(str(self._address), self._credentials)
        if not port:  # taken between the claim and now
            message = f"cannot listen on `{self._address}`: address already in use"
            raise OSError(message)
        return str(self._address) if self._address.path else str(Address(self._address.host, port))

    def start(self, answerer: Answerer, spare: Spare | None = None) -> None:
        """Begin to answer; health is NOT_SERVING until told otherwise. `spare` is done in spare time."""
        self._desk.answerer, self._desk.spare = answerer, spare
        self._core.start()
        self._thread.start()

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """What grpc.health.v1 answers from now on."""
        self._health.set(serving)

    def stop(self, grace: float) -> None:
        """Close the listener, let Checks in flight finish for `grace` seconds, cancel the rest."""
        if self._stopped:
            return
        self._stopped = True
        self._health.set(serving=False)
        if self._desk.answerer is None:
            self._core.start()  # grpc lets go of a bound address only when a server that ran stops
            self._thread.start()
        self._health.close()
        self._core.shutdown()
        self._thread.join(grace)
        if self._thread.is_alive():
            self._core.cancel_all()
            self._thread.join(1.0)
        if not self._thread.is_alive():  # here, not there: the two calls above must have come back before
            self._desk.aside.close(self._core.close)

    # --- the loop's thread

    def _run(self) -> None:
        while True:
            try:
                if self._take():
                    return
            except BaseException:  # rule 3
                log.exception("the loop of checks failed, and goes on")

    def _take(self) -> bool:
        """Take one event and do what is due; whether it was the last."""
        event = self._next()
        kind = event.__class__
        if kind is Call:
            self._on_call(event)  # type: ignore[arg-type]
        elif event is None:
            self._turn(more_is_here=False)
        elif kind is Progress:
            self._health.progress(event)  # type: ignore[arg-type]
        elif kind is Stopped:
            return True
        del event  # see CoreServer.poll
        self._events += 1
        if self._events >= _MOST_EVENTS:
            self._turn(more_is_here=True)
        elif self._desk.ready and self._desk.is_due(more_may_come=bool(self._open)):
            self._desk.work(more_is_here=True)
        return False

    def _turn(self, *, more_is_here: bool) -> None:
        self._events = 0
        self._desk.work(more_is_here=more_is_here)
        self._give_up(self._open)
        self._give_up(self._open_health)

    def _next(self) -> Event:
        """The next event; having waited for it means that nobody was waiting for us."""
        desk = self._desk
        if desk.ready or desk.costly or (desk.spare is not None and desk.spare.is_there):
            # The sending of an answer leaves a wake-up behind, which ends the next look before it gets to the sockets.
            event = self._core.poll(0.0)
            return self._core.poll(0.0) if event is None else event
        # Until a call may have to be given up.
        until = time.time() + _LOOK_SECONDS if self._open or self._open_health else None
        before = time.monotonic()
        event = self._core.poll(until)
        if time.monotonic() - before > _WAITED_SECONDS:
            self._desk.nobody_waits()
        return event

    def _on_call(self, call: Call) -> None:
        if call.received:
            if call in self._open:  # it was not given up
                del self._open[call]
                self._desk.put(call)
            elif call in self._open_health:  # as above
                del self._open_health[call]
                self._health.answer(call)
        elif call.method == CHECK:
            if self._desk.admits(call, len(self._open)):
                self._open[call] = None
                call.receive()
        elif call.method:
            self._begin_health(call)
        else:
            call.fail(grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def _begin_health(self, call: Call) -> None:
        if len(self._open_health) >= _MOST_HEALTH:
            call.fail(grpc.StatusCode.UNAVAILABLE, "too many at once")
        else:
            self._open_health[call] = None
            call.receive()

    def _give_up(self, waiting: dict[Call, None]) -> None:
        """Cancel calls whose message does not come, so that they cannot hold the places of others (T-64)."""
        until = time.monotonic() - self._options.message_timeout_seconds
        while waiting:
            call = next(iter(waiting))
            if call.begun > until:
                return
            del waiting[call]
            call.cancel()
