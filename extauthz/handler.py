"""Bytes in, bytes out: read, decide, record, answer.

Rule 1: whatever happens, the end is an explicit answer; the broad `except` that makes it so is here.
Rule 2: a decision is in the journal before it is answered, and what is answered is what was recorded.
Rule 3: one clock reading and one snapshot a Check, however long it waits for an answer from outside.
"""

import logging
import re
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from os import urandom
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from extauthz.check import decide
from extauthz.journal import Journal, JournalError
from extauthz.model.decision import Decision, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Connection, Facts, Refused, Request
from extauthz.questions import Outside, ask_nobody
from extauthz.snapshot import Snapshot
from extauthz.sources import Live
from extauthz.wire import LAST_RESORT, AnswerContext, InboundOptions, OutboundOptions, read_check, settle, write_answer

log = logging.getLogger("extauthz.handler")

Observer = Callable[[DecisionRecord], None]
Asked = Request | Connection | Refused

_INTERACTION_ID = "x-fapi-interaction-id"
# W3C Trace Context section 3.2: version ff and ids of zeros alone are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# What may be answered without having looked at the Check.
_UNSEEN = (Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED, Reason.DRAINING)
_FRAMES = 6


class HandlerOptions(Struct, frozen=True):
    """How Checks are read and answers are written."""

    inbound: InboundOptions
    answers: OutboundOptions


class Handler:
    """Answers Checks. Threads share it; it keeps nothing of a request."""

    def __init__(
        self,
        live: Live,
        journal: Journal,
        observers: Sequence[Observer],
        options: HandlerOptions,
        clock: Callable[[], float],
        on_shed: Callable[[str], None],
        ask: Outside = ask_nobody,
    ) -> None:
        self._live, self._journal, self._observers, self._clock = live, journal, tuple(observers), clock
        self._options, self._on_shed, self._ask = options, on_shed, ask
        self._unseen = {reason: write_answer(Undecided(reason), AnswerContext(), options.answers) for reason in _UNSEEN}
        self.draining = False

    def answer(self, raw: bytes, deadline: float | None, traceparent: str) -> bytes:
        """Answer one Check; `deadline` is in seconds since the epoch, `traceparent` as the caller sent it."""
        arrived = self._clock()
        if self.draining:
            self._on_shed("draining")
            return self.refuse(Reason.DRAINING)
        if deadline is not None and deadline <= arrived:
            self._on_shed("deadline")
            return self.refuse(Reason.DEADLINE_EXCEEDED)
        trace = traceparent if _TRACEPARENT.fullmatch(traceparent) else ""
        world = self._live.current
        try:
            asked = read_check(raw, self._options.inbound)
            ask = partial(self._ask, deadline=deadline)
            decision = decide(asked, world, int(arrived), ask) if world else Undecided(Reason.NO_BUNDLE)
            return self._conclude(decision, asked, world, arrived, trace)
        except Exception as error:  # noqa: BLE001 - a bug must not become an error that Envoy may let through (T-59)
            log.error("a check failed: %s", _Where(error))  # noqa: TRY400 - the places only, see there
            return self._fail(world, arrived, trace)

    def refuse(self, reason: Reason) -> bytes:
        """An explicit Undecided without having looked at the Check: overload, deadline or drain; never recorded."""
        return self._unseen.get(reason, LAST_RESORT)

    def _conclude(
        self,
        decision: Decision,
        asked: Request | Connection | Refused,
        world: Snapshot | None,
        arrived: float,
        trace: str,
    ) -> bytes:
        """Write the answer, keep the evidence, tell the observers; the answer leaves last."""
        decision = settle(decision, self._options.answers)
        decision_id, generated = _new_ids()
        context = AnswerContext(
            decision_id=decision_id,
            interaction_id=asked.facts.interaction_id or generated,
            revision=world.revision if world else "",
            facts=asked.facts,
        )
        record = DecisionRecord(
            decision_id=decision_id,
            interaction_id=context.interaction_id,
            interaction_id_source=_source_of_interaction_id(asked),
            time=arrived,
            duration=self._clock() - arrived,
            revision=context.revision,
            digest=world.digest if world else "",
            facts=asked.facts,
            decision=decision,
            status=decision.reason.status,
            traceparent=trace,
        )
        answer = write_answer(decision, context, self._options.answers)
        try:
            self._journal.record(record)
        except JournalError as error:
            log.error("the journal does not take records: %s", error)  # noqa: TRY400 - it says it all
            if _may_go_unrecorded(decision, world):
                self._journal.answered_without_record()
            else:
                refusal = Undecided(Reason.JOURNAL_UNAVAILABLE, evidence=decision.evidence)
                record = replace(record, decision=refusal, status=refusal.reason.status)
                answer = write_answer(refusal, context, self._options.answers)
        self._observe(record)
        return answer

    def _fail(self, world: Snapshot | None, arrived: float, trace: str) -> bytes:
        """Answer for a bug, on record if that still works."""
        try:
            unread = Refused(Facts(), Reason.REQUEST_MALFORMED)
            return self._conclude(Undecided(Reason.INTERNAL_ERROR), unread, world, arrived, trace)
        except Exception as error:  # noqa: BLE001 - the bug is in the way of its own record
            log.error("a failed check could not be recorded: %s", _Where(error))  # noqa: TRY400
            return LAST_RESORT

    def _observe(self, record: DecisionRecord) -> None:
        for observer in self._observers:
            try:
                observer(record)
            except Exception as error:  # noqa: BLE001 - metrics and traces must not change an answer
                log.error("an observer failed: %s", _Where(error))  # noqa: TRY400


class _Where:
    """Kind and places of an error, spelt out only if the line is written: texts of errors may quote a client."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __str__(self) -> str:
        frames = traceback.extract_tb(self._error.__traceback__)[-_FRAMES:]
        places = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        return f"{type(self._error).__name__} at {' < '.join(places)}"


def _new_ids() -> tuple[str, str]:
    """A decision id of 128 random bits, and a UUID version 4 (RFC 9562 section 5.4) at a fifth of uuid4's cost."""
    text = urandom(32).hex()
    variant = "89ab"[int(text[48], 16) & 3]
    return text[:32], f"{text[32:40]}-{text[40:44]}-4{text[45:48]}-{variant}{text[49:52]}-{text[52:]}"


def _source_of_interaction_id(asked: Asked) -> str:
    if asked.facts.interaction_id:
        return "client"
    sent = isinstance(asked, Request) and asked.headers.get(_INTERACTION_ID) is not None
    return "replaced" if sent else "generated"


def _may_go_unrecorded(decision: Decision, world: Snapshot | None) -> bool:
    """`audit.whenUnavailable: proceed` of the profile that applied."""
    name = decision.evidence.profile
    return world is not None and any(
        profile.proceed_without_journal for profile in world.profiles.profiles if profile.name == name
    )
