"""Checks that wait to be decided, and in which order they are.

Rule 1: what is ready is decided together and written to the journal once; then the answers leave.
Rule 2: what memory suffices for goes first. A signature to verify comes when nothing else is ready, so a flood of
forged tokens does not hold up good ones; what must wait for the outside waits in a thread of its own, and few may.
Rule 3: one thread, that of the loop; only the answers of those who wait aside leave from others.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from extauthz.model.reasons import Reason
from extauthz.transport.admission import Queue
from extauthz.transport.aside import Aside
from extauthz.transport.contract import Answerer, Arrival, Later, OnShed, Spare, TransportOptions
from extauthz.transport.fair import share_out
from extauthz.transport.http2.call import Call

log = logging.getLogger("extauthz.transport")

Seen = TypeVar("Seen", str, bool)

# More at once would make the first of them wait for the last.
_BATCH = 32
# Calls that may wait to be decided, however cheap they are.
_MOST = 1024
# So long those that cost much may go on when nothing cheaper is ready: what comes meanwhile waits as long.
_COSTLY_SECONDS = 0.001
_FIRST_GUESS, _FIRST_GUESS_COSTLY = 60e-6, 200e-6  # seconds, until measured


class Desk:
    """Decides through an answerer, in batches, and answers the calls."""

    def __init__(self, options: TransportOptions, last_resort: bytes, on_shed: OnShed) -> None:
        """Without an answerer every call gets the last resort."""
        self.answerer: Answerer | None = None
        self.spare: Spare | None = None
        self.aside = Aside(options.max_waiting)
        self._last_resort, self._on_shed = last_resort, on_shed
        self._queue = Queue(options.max_queue_seconds, _MOST, _FIRST_GUESS, choosing=True)
        self._costly_queue = Queue(options.max_queue_seconds, _MOST, _FIRST_GUESS_COSTLY)
        self.ready: list[Call] = []  # what memory may suffice for
        self.costly: deque[tuple[Call, Later]] = deque()  # what is to be gone on with when nothing is ready
        self._deciding = 0
        self._served = 0.0  # when the last batch was

    @property
    def count(self) -> int:
        """Calls here, decided or not, that have no answer yet."""
        return len(self.ready) + self._deciding + len(self.costly) + self.aside.count

    def is_due(self, *, more_may_come: bool) -> bool:
        """Whether what is ready should be decided although more may be here.

        Where the queue stands, all that is here is taken in or refused before: what nobody has looked at grows old.
        """
        return not self._queue.stands and len(self.ready) >= (_BATCH if more_may_come else 1)

    def put(self, call: Call) -> None:
        """Take a call whose message has come; refuse it where there is no place."""
        if call.raw is None:  # not one message: nobody asked a question
            call.reply(self._refusal(Reason.REQUEST_MALFORMED))
        elif call.deadline is not None and call.deadline <= time.time():  # the caller has given up already
            self._shed(call, "deadline", Reason.DEADLINE_EXCEEDED)
        elif self._queue.is_full(len(self.ready)):
            self._shed(call, "queue", Reason.OVERLOADED)
        else:
            self.ready.append(call)

    def crowd(self, call: Call) -> None:
        """Refuse a call whose message has not come, for too many have begun."""
        self._shed(call, "queue", Reason.OVERLOADED)

    def withdraw(self, call: Call) -> None:
        """Its caller has given up: what nobody reads is not decided, unless that has begun."""
        if call in self.ready:
            self.ready.remove(call)

    def nobody_waits(self) -> None:
        """The loop had to wait for the next event."""
        self._queue.emptied()

    def work(self, *, more_is_here: bool) -> None:
        """Decide what is ready, then of those that cost much: one where more is ready, so that they come on in a flood.

        What no answer waits for comes when there is none of both, and one look at the sockets later.
        """
        if self.ready:
            self._answer_ready()
        elif not more_is_here:
            self._queue.emptied()
            if self.spare is not None and not self.costly:
                self.spare.do()
        if self.costly:
            until = time.perf_counter() + _COSTLY_SECONDS
            self._answer_costly()
            while self.costly and not self.ready and time.perf_counter() < until:
                self._answer_costly()

    def _answer_ready(self) -> None:
        if len(self.costly) + len(self.ready) > self._costly_queue.room:
            self.ready = self._turn_away_unverified(self.ready)
        if self._queue.stands and len(self.ready) > self._queue.places:
            self.ready = self._give_way(self.ready)
        size = min(_BATCH, self._queue.places)
        batch, self.ready = self.ready[:size], self.ready[size:]
        if not batch:  # all were turned away
            return
        self._deciding = len(batch)
        try:
            self._answer_batch(batch)
        finally:
            self._deciding = 0
        if not self.ready:  # what costs much may go on all the time: it is no queue of these
            self._queue.emptied()

    def _turn_away_unverified(self, ready: list[Call]) -> list[Call]:
        """Without reading them: their signatures could not be verified in time."""
        answerer = self.answerer
        if answerer is None:
            return ready
        stay: list[Call] = []
        unverified = len(self.costly)
        for call in ready:
            if _glance(answerer.needs_verifying, call, otherwise=False):
                if self._costly_queue.is_full(unverified):
                    self._shed(call, "verification", Reason.OVERLOADED)
                    continue
                unverified += 1
            stay.append(call)
        return stay

    def _give_way(self, ready: list[Call]) -> list[Call]:
        """Who can be served in time; those of whom most are waiting are refused."""
        answerer = self.answerer
        if answerer is None:
            return ready
        self._queue.turned_away()
        stay, give_way = share_out(ready, self._queue.places, lambda call: _glance(answerer.whose, call, otherwise=""))
        for call in give_way:
            self._shed(call, "tenant", Reason.OVERLOADED)
        return stay

    def _answer_batch(self, calls: list[Call]) -> None:
        used = time.thread_time()
        # Where the queue stands, what is read and refused in between is part of the price of what is served.
        began = self._served if self._queue.stands else time.perf_counter()
        for call, answer in zip(calls, self._decide(calls), strict=True):
            try:
                self._pass_on(call, answer)
            except Exception:  # what is wrong with one answer is none of the others' business
                log.exception("an answer could not be given")
                with suppress(Exception):  # it may have been given in part; the others wait
                    call.reply(self._last_resort)
        self._served = time.perf_counter()
        self._queue.worked(len(calls), self._served - began, time.thread_time() - used)

    def _pass_on(self, call: Call, answer: "bytes | Later") -> None:
        if isinstance(answer, bytes):
            call.reply(answer)
        elif answer.waits:
            self._step_aside(call, answer)
        else:
            self._wait_for_turn(call, answer)

    def _wait_for_turn(self, call: Call, later: Later) -> None:
        if not self.costly:
            self._costly_queue.emptied()
        if self._costly_queue.is_full(len(self.costly)):
            self._shed(call, "verification", Reason.OVERLOADED)
        else:
            self.costly.append((call, later))

    def _decide(self, calls: list[Call]) -> "list[bytes | Later]":
        answerer = self.answerer
        if answerer is None:
            return [self._last_resort] * len(calls)
        now = time.monotonic()
        arrivals = [Arrival(call.raw or b"", call.deadline, call.traceparent, now - call.begun) for call in calls]
        try:
            answers = answerer.answer_all(arrivals)
            if len(answers) == len(calls):
                return answers
            log.error("%d answers to %d checks: nobody can tell whose they are", len(answers), len(calls))
        except BaseException:  # an answerer is total; should it fail all the same, Envoy still gets an explicit answer
            log.exception("checks failed outside of the handler")
        return [self._last_resort] * len(calls)

    def _answer_costly(self) -> None:
        call, later = self.costly.popleft()
        if call.gone:
            return
        if call.deadline is not None and call.deadline <= time.time():
            self._shed(call, "deadline", Reason.DEADLINE_EXCEEDED)
            return
        began, used = time.perf_counter(), time.thread_time()
        answer = self._go_on(later)
        self._costly_queue.worked(1, time.perf_counter() - began, time.thread_time() - used)
        if isinstance(answer, bytes):
            call.reply(answer)
        else:
            self._step_aside(call, answer)

    def _step_aside(self, call: Call, later: Later) -> None:
        """In a thread that may wait; where none is free, here and without waiting."""
        if not self.aside.run(lambda: self._finish(later), call.reply_later):
            call.reply(self._finish(later))

    def _finish(self, later: Later) -> bytes:
        answer: bytes | Later = later
        while not isinstance(answer, bytes):
            answer = self._go_on(answer)
        return answer

    def _go_on(self, later: Later) -> "bytes | Later":
        try:
            return later()
        except BaseException:  # as in _decide
            log.exception("a check failed outside of the handler")
            return self._last_resort

    def _shed(self, call: Call, cause: str, reason: Reason) -> None:
        try:
            self._on_shed(cause)
        except Exception:  # who counts must not change an answer
            log.exception("a check that was turned away could not be counted")
        call.reply(self._refusal(reason))

    def _refusal(self, reason: Reason) -> bytes:
        if self.answerer is None:
            return self._last_resort
        try:
            return self.answerer.refuse(reason)
        except Exception:  # as in _decide
            log.exception("a check could not be refused")
            return self._last_resort


def _glance(look: Callable[[bytes], Seen], call: Call, otherwise: Seen) -> Seen:
    """What a look tells; one that fails must not keep all of them waiting."""
    try:
        return look(call.raw or b"")
    except Exception:
        log.exception("a check that waits could not be looked at")
        return otherwise
