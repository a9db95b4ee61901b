"""What decisions ask of the outside: who waits, how long, how many, and what happens without an answer."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

import extauthz.check
import extauthz.handler
from extauthz.bundle import read_bundle
from extauthz.callers import Callers
from extauthz.check import MAX_QUESTIONS, decide
from extauthz.handler import Handler, HandlerOptions
from extauthz.model.decision import (
    Allow,
    Decision,
    Deny,
    Evidence,
    FirstUse,
    IntrospectToken,
    Pending,
    Question,
    Undecided,
    VerifySignature,
)
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.model.subject import Subject
from extauthz.questions import Answer, Nobody, Outside, Questions
from extauthz.sources import Live
from extauthz.transport import Arrival
from extauthz.wire import InboundOptions, OutboundOptions
from extauthz.wire.twin import Check, build_check, read_answer
from tests.documents import OPEN

NOW = 1_800_000_000.0
OPAQUE = IntrospectToken("bank", "7Fjfp0ZBr1KtDRbnfVdmIw")
PROOF = FirstUse(b"k", int(NOW) + 60)
NOBODY = Nobody()
UNKNOWN = Undecided(Reason.INTROSPECTION_UNAVAILABLE)
WORLD = read_bundle({"bundle.yaml": OPEN.encode()}, NoTokenCache()).snapshot


class Scripted:
    """An oracle that knows what a test tells it."""

    def __init__(self, memory: Mapping[Question, Answer] | None = None, answer: Answer = None) -> None:
        self.memory, self.answer = dict(memory or {}), answer
        self.asked: list[tuple[Question, float]] = []
        self.error: Exception | None = None

    def recall(self, question: Question) -> Answer:
        return self.memory.get(question)

    def ask(self, question: Question, deadline: float) -> Answer:
        self.asked.append((question, deadline))
        if self.error:
            raise self.error
        return self.answer


class Waits:
    """Stands for the transport: notes who steps aside."""

    def __init__(self, *, room: bool = True) -> None:
        self.room, self.entered, self.inside = room, 0, 0

    @contextmanager
    def __call__(self) -> Iterator[bool]:
        self.entered += 1
        self.inside += 1
        yield self.room
        self.inside -= 1


class Asking:
    """A `Questions` under test."""

    def __init__(self, oracle: Scripted, *, room: bool = True) -> None:
        self.oracle, self.waits, self.counted = oracle, Waits(room=room), list[tuple[str, str]]()
        count = lambda kind, result: self.counted.append((kind, result))  # noqa: E731 - one line
        self.questions = Questions(oracle, self.waits, lambda: NOW, count)

    def ask(self, question: Question, deadline: float | None) -> Answer:
        """As the handler does: from memory, else outside."""
        known = self.questions.recall(question)
        return self.questions.ask(question, deadline) if known is None else known


def test_what_is_in_memory_is_answered_without_stepping_aside() -> None:
    asking = Asking(Scripted({OPAQUE: b"{}"}))
    assert b"{}" == asking.ask(OPAQUE, NOW + 1)
    assert (0, [], [("introspection", "memory")]) == (asking.waits.entered, asking.oracle.asked, asking.counted)


def test_false_is_an_answer_too() -> None:
    asking = Asking(Scripted({PROOF: False}))
    assert asking.ask(PROOF, None) is False
    assert [("first_use", "memory")] == asking.counted
    asking = Asking(Scripted(answer=False))
    assert asking.ask(PROOF, None) is False
    assert [("first_use", "answered")] == asking.counted


def test_who_must_wait_steps_aside_and_is_back_before_the_callers_deadline() -> None:
    asking = Asking(Scripted(answer=b"{}"))
    assert b"{}" == asking.ask(OPAQUE, NOW + 0.2)
    assert (1, 0) == (asking.waits.entered, asking.waits.inside)
    (question, deadline), *_ = asking.oracle.asked
    assert OPAQUE == question
    assert NOW + 0.15 < deadline <= NOW + 0.181


def test_without_a_deadline_the_wait_ends_all_the_same() -> None:
    asking = Asking(Scripted())
    assert asking.ask(OPAQUE, None) is None
    assert NOW < asking.oracle.asked[0][1] <= NOW + 15


def test_where_too_many_wait_nobody_is_asked() -> None:
    asking = Asking(Scripted(answer=b"{}"), room=False)
    assert asking.ask(OPAQUE, NOW + 1) is None
    assert ([], [("introspection", "crowded")]) == (asking.oracle.asked, asking.counted)


def test_an_oracle_that_fails_is_no_answer_and_its_words_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    asking = Asking(Scripted())
    asking.oracle.error = RuntimeError(OPAQUE.token)
    assert asking.ask(OPAQUE, NOW + 1) is None
    assert [("introspection", "unanswered")] == asking.counted
    assert "could not be asked: RuntimeError" in caplog.text
    assert OPAQUE.token not in caplog.text


# --- the loop of a decision


def script(monkeypatch: pytest.MonkeyPatch, *steps: Decision | Pending) -> list[dict[Question, Any]]:
    """Make `advance` return these, one a round; what it was told in each round."""
    told: list[dict[Question, Any]] = []

    def advance(_asked: object, _world: object, _now: int, known: Mapping[Question, Any]) -> Decision | Pending:
        told.append(dict(known))
        return steps[min(len(told), len(steps)) - 1]

    monkeypatch.setattr(extauthz.check, "advance", advance)
    monkeypatch.setattr(extauthz.handler, "advance", advance)
    return told


def test_a_decision_goes_on_with_the_answers_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    told = script(monkeypatch, Pending(OPAQUE, UNKNOWN), Pending(PROOF, UNKNOWN), Allow())
    answers: dict[Question, Answer] = {OPAQUE: b"{}", PROOF: True}
    assert Allow() == decide(None, WORLD, 0, answers.get)  # type: ignore[arg-type] # never looked at
    leave = {VerifySignature(): True}  # whoever decides alone need not wait for a turn
    assert [leave, {**leave, OPAQUE: b"{}"}, {**leave, OPAQUE: b"{}", PROOF: True}] == told


def test_without_an_answer_it_is_what_the_question_said(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, Pending(OPAQUE, UNKNOWN), Allow())
    assert UNKNOWN == decide(None, WORLD, 0)  # type: ignore[arg-type] # as above


def test_questions_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    more = [Pending(FirstUse(bytes([number]), 0), UNKNOWN) for number in range(9)]
    told = script(monkeypatch, *more)
    assert UNKNOWN == decide(None, WORLD, 0, lambda _: True)  # type: ignore[arg-type] # as above
    assert MAX_QUESTIONS == len(told)
    told = script(monkeypatch, Pending(PROOF, UNKNOWN))
    assert UNKNOWN == decide(None, WORLD, 0, lambda _: True)  # type: ignore[arg-type] # as above
    assert 2 == len(told)


# --- in the handler


class Journal:
    def __init__(self) -> None:
        self.records: list[DecisionRecord] = []

    def record_all(self, records: Sequence[DecisionRecord]) -> None:
        self.records += records


def a_handler(outside: Outside = NOBODY) -> tuple[Handler, Journal]:
    live, journal = Live(), Journal()
    live.activate(WORLD, ())
    kept: Any = journal
    options = HandlerOptions(InboundOptions(), OutboundOptions())
    return Handler(live, kept, [], options, lambda: NOW, lambda _: None, outside), journal


RAW = build_check(Check(host="open.test", path="/a"))


@pytest.mark.parametrize("deadline", [NOW + 0.5, None])
def test_a_check_waits_for_its_answer_with_one_clock_reading_and_is_recorded_once(
    monkeypatch: pytest.MonkeyPatch, deadline: float | None
) -> None:
    script(monkeypatch, Pending(OPAQUE, UNKNOWN), Allow())
    seen: list[tuple[Question, float | None]] = []

    class Issuer(Nobody):
        def ask(self, question: Question, deadline: float | None) -> Answer:
            seen.append((question, deadline))
            return b"{}"

    handler, journal = a_handler(Issuer())
    assert read_answer(handler.answer(Arrival(RAW, deadline))).allowed
    assert [(OPAQUE, deadline)] == seen
    assert [Reason.POLICY_ALLOWED] == [record.decision.reason for record in journal.records]


def test_a_check_without_an_answer_is_503_with_retry_after_never_401(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, Pending(OPAQUE, UNKNOWN))
    handler, journal = a_handler()
    answer = read_answer(handler.answer(Arrival(RAW, NOW + 1)))
    assert (503, "introspection_unavailable") == (answer.http_status, answer.metadata["reason"])
    assert "1" == answer.client_header("retry-after")
    assert 1 == len(journal.records)


def test_a_caller_whose_token_stays_in_the_cache_does_not_become_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is decided from memory is never verified again, so the decision itself must keep him known."""
    caller = Subject(issuer="https://as.test", id="u-1", tenant="acme", issuer_name="bank")
    monkeypatch.setattr(extauthz.handler, "advance", lambda *_: Allow(evidence=Evidence(subject=caller)))
    handler, _ = a_handler()
    callers = Callers(entries=18)
    monkeypatch.setattr(handler, "_callers", callers)
    raws = [build_check(Check(path="/a", headers=(("authorization", f"Bearer t{number}"),))) for number in range(100)]
    callers.remember(raws[0], "acme")
    for raw in raws[1:]:
        callers.remember(raw, "other")
        handler.answer(Arrival(raws[0]))
    assert ("acme", False) == (handler.whose(raws[0]), handler.needs_verifying(raws[0]))


def test_the_answer_may_be_a_denial_that_the_question_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, Pending(PROOF, Deny(Reason.PROOF_REPLAYED, "DP-19")))
    handler, _ = a_handler()
    assert 401 == read_answer(handler.answer(Arrival(RAW))).http_status


def test_many_may_ask_at_once() -> None:
    asking = Asking(Scripted(answer=True))
    ask = Questions(asking.oracle, lambda: nullcontext(enter_result=True), time.time, lambda _kind, _result: None)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(ask.ask(PROOF, None))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [True] * 20 == answers
