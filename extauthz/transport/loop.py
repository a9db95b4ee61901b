"""The transport on grpc's core alone: one thread polls one queue of events and decides inline.

Rule 1: what is ready is decided together and written to the journal once; then the answers leave.
Rule 2: what memory suffices for goes first. A signature to verify comes when nothing else is ready, so a flood of
forged tokens does not hold up good ones; what must wait for the outside waits in a thread of its own, and few may.
Rule 3: a Check ends in bytes or, when the client has cancelled it, in nothing; never in a gRPC error.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from extauthz.model.addresses import Address, parse_address
from extauthz.model.reasons import Reason
from extauthz.transport.admission import Queue
from extauthz.transport.arguments import channel_arguments
from extauthz.transport.aside import Aside
from extauthz.transport.contract import METHOD, SERVICE, Answerer, Arrival, Later, OnShed, TransportOptions
from extauthz.transport.core import Call, CoreServer, Event, Progress, Stopped
from extauthz.transport.fair import share_out
from extauthz.transport.listen import ListenOptions, claim, socket_permissions
from extauthz.transport.loop_health import METHODS, LoopHealth
from extauthz.transport.tls import server_credentials

log = logging.getLogger("extauthz.transport")

CHECK = f"/{SERVICE}/{METHOD}"
# Calls that may begin before the loop looks; more only costs memory.
_OUTSTANDING = 64
# More at once would make the first of them wait for the last.
_BATCH = 32
# Where the queue stands, more are looked at before some are refused.
_CHOICE = 128
# Calls that may wait to be decided, however cheap they are.
_MOST = 1024
_FIRST_GUESS, _FIRST_GUESS_COSTLY = 60e-6, 200e-6  # seconds, until measured
_WAITED_SECONDS = 20e-6  # to take an event that was there takes a quarter of it
_LOOK_SECONDS = 0.25  # how often calls are looked at whose message has not come


class LoopTransport:
    """One server of grpc's core behind the transport contract."""

    def __init__(
        self,
        listen: ListenOptions,
        options: TransportOptions,
        last_resort: bytes,
        on_shed: OnShed,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened yet. Raises TlsError for bad TLS files, UnfitCoreError for a grpcio that is unfit."""
        self._address = parse_address(listen.address)
        self._credentials = server_credentials(listen.tls) if listen.tls else None
        self._options, self._last_resort, self._on_shed, self._clock = options, last_resort, on_shed, clock
        self._answerer: Answerer | None = None
        self._health = LoopHealth()
        self._core = CoreServer((CHECK, *METHODS), channel_arguments(options), _OUTSTANDING)
        self._queue = Queue(options.max_queue_seconds, _MOST, _FIRST_GUESS)
        self._costly_queue = Queue(options.max_queue_seconds, _MOST, _FIRST_GUESS_COSTLY)
        # of the loop's thread alone
        self._open: dict[Call, float] = {}  # begun, their message has not come; when they are given up
        self._ready: list[Call] = []
        self._deciding = 0
        self._standing = False
        self._enough = _BATCH  # when so many are ready they are decided, although more may be
        self._costly: deque[tuple[Call, Later]] = deque()
        # shared with those that wait
        self._aside = Aside(options.max_waiting)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)

    @property
    def inflight(self) -> int:
        """Checks at work or waiting now."""
        return len(self._open) + len(self._ready) + self._deciding + len(self._costly) + self._aside.count

    @property
    def waiting(self) -> int:
        """Checks that wait for an answer from outside."""
        return self._aside.count

    @contextmanager
    def aside(self) -> Iterator[bool]:
        """Whether the calling thread may wait for the outside: those of the few may, the loop's may not."""
        yield self._aside.is_here()

    def bind(self) -> str:
        """Take the address, without serving yet; returns it with the actual port. Raises OSError."""
        claim(self._address)
        with socket_permissions():
            port = self._core.add_port(str(self._address), self._credentials)
        if not port:  # taken between the claim and now
            message = f"cannot listen on `{self._address}`: address already in use"
            raise OSError(message)
        return str(self._address) if self._address.path else str(Address(self._address.host, port))

    def start(self, answerer: Answerer) -> None:
        """Begin to answer; health is NOT_SERVING until told otherwise."""
        self._answerer = answerer
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
        if self._answerer is None:
            self._core.start()  # grpc lets go of a bound address only when a server that ran stops
            self._thread.start()
        self._health.close()
        self._core.shutdown()
        self._thread.join(grace)
        if self._thread.is_alive():
            self._core.cancel_all()
            self._thread.join(1.0)
        if not self._thread.is_alive():  # here, not there: the two calls above must have come back before
            self._aside.close(self._core.close)

    # --- the loop's thread

    def _run(self) -> None:
        while True:
            event = self._next()
            match event:
                case Call():
                    self._on_call(event)
                case None:
                    self._work()
                case Progress():
                    self._health.progress(event)
                case Stopped():
                    return
            del event  # see CoreServer.poll
            if self._ready and len(self._ready) >= (self._enough if self._open or self._standing else 1):
                self._work()

    def _next(self) -> Event:
        """The next event; having waited for it means that nobody was waiting for us."""
        until = self._until()
        if until == 0.0:
            return self._core.poll(until)
        before = time.monotonic()
        event = self._core.poll(until)
        if time.monotonic() - before > _WAITED_SECONDS:
            self._queue.emptied()
        return event

    def _until(self) -> float | None:
        """Not at all while there is work; else until a call may have to be given up."""
        if self._ready or self._costly:
            return 0.0
        return time.time() + _LOOK_SECONDS if self._open else None

    def _on_call(self, call: Call) -> None:
        if call.received:
            if call.method != CHECK:
                self._health.answer(call)
            elif self._open.pop(call, None) is not None:  # it was not given up
                self._on_message(call)
        elif call.method == CHECK:
            self._admit(call)
        elif call.method:
            call.receive()
        else:
            call.fail(grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    def _admit(self, call: Call) -> None:
        if call.deadline is not None and call.deadline <= self._clock():  # the caller has given up already
            self._shed(call, "deadline", Reason.DEADLINE_EXCEEDED)
            return
        if self._queue.is_full(len(self._open) + len(self._ready)):
            self._shed(call, "queue", Reason.OVERLOADED)
            return
        self._open[call] = time.monotonic() + self._options.message_timeout_seconds
        call.receive()

    def _on_message(self, call: Call) -> None:
        if call.raw is None:  # cancelled, or not a unary call: nobody reads the answer, or nobody asked a question
            call.reply(self._refusal(Reason.REQUEST_MALFORMED))
            return
        self._ready.append(call)

    def _work(self) -> None:
        """Decide what is ready, then one that costs much; nothing to do means that somebody may be given up."""
        if self._ready:
            self._answer_ready()
        else:
            self._queue.emptied()
        if self._costly:
            self._answer_costly()
        self._give_up()

    def _answer_ready(self) -> None:
        stands = self._standing = self._queue.stands
        if stands and len(self._ready) > self._queue.places:
            self._ready = self._give_way(self._ready)
        size = min(_BATCH, self._queue.places)
        batch, self._ready = self._ready[:size], self._ready[size:]
        self._enough = _CHOICE if stands else _BATCH
        self._deciding = len(batch)
        self._answer_batch(batch)
        self._deciding = 0

    def _give_way(self, ready: list[Call]) -> list[Call]:
        """Who can be served in time; those of whom most are waiting are refused."""
        answerer = self._answerer
        if answerer is None:
            return ready
        stay, give_way = share_out(ready, self._queue.places, lambda call: answerer.whose(call.raw or b""))
        for call in give_way:
            self._shed(call, "tenant", Reason.OVERLOADED)
        return stay

    def _answer_batch(self, calls: list[Call]) -> None:
        began = time.perf_counter()
        for call, answer in zip(calls, self._decide(calls), strict=True):
            if isinstance(answer, bytes):
                call.reply(answer)
            elif answer.waits:
                self._step_aside(call, answer)
            else:
                self._wait_for_turn(call, answer)
        self._queue.worked(len(calls), time.perf_counter() - began)

    def _wait_for_turn(self, call: Call, later: Later) -> None:
        if not self._costly:
            self._costly_queue.emptied()
        if self._costly_queue.is_full(len(self._costly)):
            self._shed(call, "verification", Reason.OVERLOADED)
        else:
            self._costly.append((call, later))

    def _decide(self, calls: list[Call]) -> "list[bytes | Later]":
        answerer = self._answerer
        if answerer is None:
            return [self._last_resort] * len(calls)
        now = self._clock()
        arrivals = [Arrival(call.raw or b"", call.deadline, _traceparent(call), now) for call in calls]
        try:
            return answerer.answer_all(arrivals)
        except Exception:  # an answerer is total; should it fail all the same, Envoy still gets an explicit answer
            log.exception("checks failed outside of the handler")
            return [self._last_resort] * len(calls)

    def _answer_costly(self) -> None:
        call, later = self._costly.popleft()
        if call.deadline is not None and call.deadline <= self._clock():
            self._shed(call, "deadline", Reason.DEADLINE_EXCEEDED)
            return
        began = time.perf_counter()
        answer = self._go_on(later)
        self._costly_queue.worked(1, time.perf_counter() - began)
        if isinstance(answer, bytes):
            call.reply(answer)
        else:
            self._step_aside(call, answer)

    def _step_aside(self, call: Call, later: Later) -> None:
        """In a thread that may wait; where none is free, here and without waiting."""
        if not self._aside.run(lambda: self._finish(later), call.reply):
            call.reply(self._finish(later))

    def _finish(self, later: Later) -> bytes:
        answer: bytes | Later = later
        while not isinstance(answer, bytes):
            answer = self._go_on(answer)
        return answer

    def _go_on(self, later: Later) -> "bytes | Later":
        try:
            return later()
        except Exception:  # as in _decide
            log.exception("a check failed outside of the handler")
            return self._last_resort

    def _give_up(self) -> None:
        """Cancel calls whose message does not come, so that they cannot hold the places of others (T-64)."""
        now = time.monotonic()
        while self._open:
            call, until = next(iter(self._open.items()))
            if until > now:
                return
            del self._open[call]
            call.cancel()

    def _shed(self, call: Call, cause: str, reason: Reason) -> None:
        self._on_shed(cause)
        call.reply(self._refusal(reason))

    def _refusal(self, reason: Reason) -> bytes:
        return self._answerer.refuse(reason) if self._answerer is not None else self._last_resort


def _traceparent(call: Call) -> str:
    for key, value in call.metadata:
        if key == "traceparent":
            return value if isinstance(value, str) else ""
    return ""
