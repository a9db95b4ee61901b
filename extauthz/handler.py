"""Bytes in, bytes out: read, decide, record, answer.

Rule 1: whatever happens, the end is an explicit answer; the broad `except` that makes it so is here.
Rule 2: a decision is in the journal before it is answered, and what is answered is what was recorded.
Rule 3: one clock reading and one snapshot a Check, however long it waits for an answer from outside.
"""

import logging
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from extauthz.beside import Beside, Waiting
from extauthz.callers import Callers
from extauthz.check import MAX_QUESTIONS, advance
from extauthz.guards import Listed
from extauthz.journal import Journal, JournalError
from extauthz.model.decision import Allow, Decision, Pending, Question, Undecided, VerifySignature
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Connection, Facts, Refused, Request
from extauthz.questions import Nobody, Outside
from extauthz.snapshot import Snapshot
from extauthz.sources import Live
from extauthz.transport import Arrival, Later
from extauthz.wire import (
    LAST_RESORT,
    AnswerContext,
    AnswerWriter,
    InboundOptions,
    OutboundOptions,
    decision_id,
    interaction_id,
    read_check,
)

log = logging.getLogger("extauthz.handler")

Observer = Callable[[DecisionRecord], None]
Asked = Request | Connection | Refused

_INTERACTION_ID = "x-fapi-interaction-id"
# W3C Trace Context section 3.2: version ff and ids of zeros alone are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# What may be answered without having looked at the Check.
_UNSEEN = (Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED, Reason.DRAINING)
_FRAMES = 6
_NOBODY = Nobody()
_NO_BUNDLE = ("", "", None)  # its revision, its digest and what it has the journal keep
_UNREAD = Refused(Facts(), Reason.REQUEST_MALFORMED)


class HandlerOptions(Struct, frozen=True):
    """How Checks are read and answers are written."""

    inbound: InboundOptions
    answers: OutboundOptions
    credentials: int = 20_000  # whose tenant is remembered, for fairness under overload: as many as tokens are cached


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
        outside: Outside = _NOBODY,
    ) -> None:
        self._live, self._journal, self._observers, self._clock = live, journal, tuple(observers), clock
        self._options, self._on_shed, self._outside = options, on_shed, outside
        self._writer = AnswerWriter(options.answers)
        self._unseen = {reason: self._writer.conclude(Undecided(reason), AnswerContext())[1] for reason in _UNSEEN}
        self._callers = Callers(options.credentials)
        self.draining = False
        self.beside: Beside | None = None  # a candidate that hears what was decided

    def answer(self, arrival: Arrival) -> bytes:
        """Answer one Check, however long that takes."""
        answer: bytes | Later = self.answer_all((arrival,))[0]
        while not isinstance(answer, bytes):
            answer = answer()
        return answer

    def answer_all(self, arrivals: Sequence[Arrival]) -> list[bytes | Later]:
        """Answer those that memory suffices for, with one write to the journal; the others can be gone on with."""
        now, world = self._clock(), self._live.current
        orders = world.orders.listed if self.beside is not None and world is not None else None
        answers: list[bytes | Later] = []
        written: list[_Draft] = []
        callers = self._callers
        for arrival in arrivals:
            draft = self._begin(arrival, world, now)
            if isinstance(draft, _Draft):
                written.append(draft)
                answers.append(b"")  # until it is kept
                if callers.is_half_full and (subject := draft.record.decision.evidence.subject).has_token:
                    callers.keep(arrival.raw, subject.tenant)
            else:
                answers.append(draft)
        kept = self._keep(written, orders)
        if len(kept) == len(answers):
            return list(kept)
        of_written = iter(kept)
        return [answer if answer != b"" else next(of_written) for answer in answers]

    def whose(self, raw: bytes) -> str:
        """The tenant a Check seems to come from, without reading it; "" for credentials that were never verified."""
        return self._callers.whose(raw) or ""

    def needs_verifying(self, raw: bytes) -> bool:
        """Whether a Check seems to have a credential that was not verified before, without reading it."""
        return self._callers.needs_verifying(raw)

    def refuse(self, reason: Reason) -> bytes:
        """An explicit Undecided without having looked at the Check: overload, deadline or drain; never recorded."""
        return self._unseen.get(reason, LAST_RESORT)

    # --- deciding

    def _begin(self, arrival: Arrival, world: Snapshot | None, now: float) -> "bytes | _Draft | _Unfinished":
        if self.draining:
            self._on_shed("draining")
            return self.refuse(Reason.DRAINING)
        if arrival.deadline is not None and arrival.deadline <= now:
            self._on_shed("deadline")
            return self.refuse(Reason.DEADLINE_EXCEEDED)
        trace = arrival.traceparent
        if trace and not _TRACEPARENT.fullmatch(trace):
            trace = ""
        check = _Check(arrival.raw, _UNREAD, world, now - arrival.waited, trace, arrival.deadline, {})
        try:
            check.asked = read_check(arrival.raw, self._options.inbound)
            return self._decide(check)
        except Exception as error:  # noqa: BLE001 - a bug must not become an error that Envoy may let through (T-59)
            log.error("a check failed: %s", _Where(error))  # noqa: TRY400 - the places only, see there
            return self._fail(check)

    def _decide(self, check: "_Check") -> "_Draft | _Unfinished":
        """Decide with what is in memory, as far as it goes."""
        world, now = check.world, int(check.at)
        if world is None:
            return self._write(Undecided(self._live.absence), check)
        while not isinstance(decision := advance(check.asked, world, now, check.known), Allow):  # asked first: fastest
            if not isinstance(decision, Pending):
                break
            question = decision.question
            if question in check.known or len(check.known) >= MAX_QUESTIONS:
                decision = decision.otherwise
                break
            answer = None if isinstance(question, VerifySignature) else self._outside.recall(question)
            if answer is None:
                return _Unfinished(self, check, decision)
            check.known[question] = answer
        return self._write(decision, check)

    def go_on(self, check: "_Check", pending: Pending) -> "bytes | _Unfinished":
        """Do what `pending` needs, maybe waiting for it, and decide with the answer."""
        orders = check.world.orders.listed if self.beside is not None and check.world is not None else None
        try:
            answer = self._ask(pending.question, check.deadline)
            if answer is None:
                draft: _Draft | _Unfinished = self._write(pending.otherwise, check)
            else:
                check.known[pending.question] = answer
                draft = self._decide(check)
        except Exception as error:  # noqa: BLE001 - as in _begin
            log.error("a check failed: %s", _Where(error))  # noqa: TRY400
            return self._keep_failed(check)
        if isinstance(draft, _Unfinished):
            return draft
        subject = draft.record.decision.evidence.subject
        if subject.has_token:
            self._callers.remember(check.raw, subject.tenant)
        return self._keep([draft], orders)[0]

    def _ask(self, question: Question, deadline: float | None) -> bytes | bool | None:
        return True if isinstance(question, VerifySignature) else self._outside.ask(question, deadline)

    # --- answering

    def _write(self, decision: Decision, check: "_Check") -> "_Draft":
        """The answer and its evidence."""
        asked, world = check.asked, check.world
        facts, at = asked.facts, check.at
        mine, sent = decision_id(), facts.interaction_id
        theirs = sent or interaction_id()
        revision, digest, keeping = (world.revision, world.digest, world.keeping) if world is not None else _NO_BUNDLE
        context = AnswerContext(mine, theirs, revision, facts)
        decision, answer = self._writer.conclude(decision, context)
        # In the order of the fields, which is a third of what names cost.
        record = DecisionRecord(
            mine,
            theirs,
            "client" if sent else _source_of_interaction_id(asked),
            at,
            self._clock() - at,
            revision,
            digest,
            facts,
            decision,
            decision.reason.status,
            check.trace,
            asked,
            keeping,
        )
        return _Draft(check, context, record, answer)

    def _keep(self, drafts: "Sequence[_Draft]", orders: Listed | None) -> list[bytes]:
        """Keep the evidence with one write, tell the observers; what comes back may leave.

        `orders` were in force when it was decided; None when no candidate hears of it.
        """
        if not drafts:
            return []
        try:
            self._journal.record_all([draft.record for draft in drafts])
        except JournalError as error:
            log.error("the journal does not take records: %s", error)  # noqa: TRY400 - it says it all
            drafts = [self._without_record(draft) for draft in drafts]
        except Exception as error:  # noqa: BLE001 - one that cannot be recorded must not take the others with it
            if len(drafts) == 1:
                log.error("a check failed: %s", _Where(error))  # noqa: TRY400
                return [self._keep_failed(drafts[0].check)]
            return [self._keep([draft], orders)[0] for draft in drafts]
        self._observe([draft.record for draft in drafts])
        beside = self.beside
        if beside is not None and orders is not None:
            limit = beside.limit
            for draft in drafts:
                if draft.record.decision_id < limit:
                    self._offer(drafts, orders, beside)
                    break
        return [draft.answer for draft in drafts]

    def _offer(self, drafts: "Sequence[_Draft]", orders: Listed, beside: Beside) -> None:
        """What was decided and is in the sample, for the candidate to decide too when the answers have left."""
        try:
            limit = beside.limit
            beside.offer(
                [
                    Waiting(check.asked, check.world, orders, check.known, record, len(check.raw))
                    for draft in drafts
                    if (record := draft.record).decision_id < limit and (check := draft.check).world is not None
                ]
            )
        except Exception as error:  # noqa: BLE001 - whatever is compared must not change an answer
            log.error("a check could not be compared: %s", _Where(error))  # noqa: TRY400

    def _without_record(self, draft: "_Draft") -> "_Draft":
        decision = draft.record.decision
        if _may_go_unrecorded(decision, draft.check.world):
            self._journal.answered_without_record()
            return draft
        refusal = Undecided(Reason.JOURNAL_UNAVAILABLE, evidence=decision.evidence)
        record = replace(draft.record, decision=refusal, status=refusal.reason.status)
        return replace(draft, record=record, answer=self._writer.conclude(refusal, draft.context)[1])

    def _keep_failed(self, check: "_Check") -> bytes:
        draft = self._fail(check)
        if isinstance(draft, bytes):
            return draft
        try:
            self._journal.record_all([draft.record])
        except Exception as error:  # noqa: BLE001 - the bug is in the way of its own record
            log.error("a failed check could not be recorded: %s", _Where(error))  # noqa: TRY400
            return LAST_RESORT
        self._observe([draft.record])
        return draft.answer

    def _fail(self, check: "_Check") -> "_Draft | bytes":
        """Answer for a bug, on record if that still works."""
        unread = replace(check, asked=_UNREAD)
        try:
            return self._write(Undecided(Reason.INTERNAL_ERROR), unread)
        except Exception as error:  # noqa: BLE001 - the bug is in the way of its own answer
            log.error("a failed check could not be answered: %s", _Where(error))  # noqa: TRY400
            return LAST_RESORT

    def _observe(self, records: Sequence[DecisionRecord]) -> None:
        for observer in self._observers:
            for record in records:
                try:
                    observer(record)
                except Exception as error:  # noqa: BLE001 - metrics and traces must not change an answer
                    log.error("an observer failed: %s", _Where(error))  # noqa: TRY400


class _Check(Struct, gc=False):
    """One Check on its way, with what it has been told from outside."""

    raw: bytes
    asked: Asked
    world: Snapshot | None
    at: float  # when it came, in seconds since the epoch
    trace: str
    deadline: float | None
    known: dict[Question, bytes | bool]


class _Draft(Struct, frozen=True, gc=False):
    """An answer that may leave when its record is kept."""

    check: _Check
    context: AnswerContext
    record: DecisionRecord
    answer: bytes


class _Unfinished:
    """A Check that needs more than memory; as transport's Later."""

    __slots__ = ("_check", "_handler", "_pending")

    def __init__(self, handler: Handler, check: _Check, pending: Pending) -> None:
        self._handler, self._check, self._pending = handler, check, pending

    @property
    def waits(self) -> bool:
        """Whether going on may wait for the outside."""
        return not isinstance(self._pending.question, VerifySignature)

    def __call__(self) -> "bytes | _Unfinished":
        """Go on; total."""
        return self._handler.go_on(self._check, self._pending)


class _Where:
    """Kind and places of an error, spelt out only if the line is written: texts of errors may quote a client."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __str__(self) -> str:
        frames = traceback.extract_tb(self._error.__traceback__)[-_FRAMES:]
        places = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        return f"{type(self._error).__name__} at {' < '.join(places)}"


def _source_of_interaction_id(asked: Asked) -> str:
    """Where it is not the client's."""
    sent = isinstance(asked, Request) and asked.headers.get(_INTERACTION_ID) is not None
    return "replaced" if sent else "generated"


def _may_go_unrecorded(decision: Decision, world: Snapshot | None) -> bool:
    """`audit.whenUnavailable: proceed` of the profile that applied."""
    name = decision.evidence.profile
    return world is not None and any(
        profile.proceed_without_journal for profile in world.profiles.profiles if profile.name == name
    )
