"""Bytes in, bytes out: whatever comes, an explicit answer, on record before it leaves."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import extauthz.handler
from extauthz.bundle import read_bundle
from extauthz.handler import Handler, HandlerOptions
from extauthz.journal import JournalError
from extauthz.model.decision import Allow, Obligations
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.sources import Live
from extauthz.transport import Arrival
from extauthz.wire import InboundOptions, OutboundOptions
from extauthz.wire.twin import Answer, Check, build_check, build_connection, read_answer
from tests.documents import PUBLIC

NOW = 1_800_000_000.0
SECRET = "Bearer eyJsecret"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
BUNDLE = f"""{PUBLIC}---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: lenient}}
spec:
  match: {{hosts: [lenient.test], paths: [/**]}}
  authentication: {{mode: none}}
  audit: {{whenUnavailable: proceed}}
""".encode()


class Kept:
    """A journal in memory that can be full."""

    def __init__(self) -> None:
        self.records: list[DecisionRecord] = []
        self.error: Exception | None = None
        self.unrecorded = self.writes = 0

    def record_all(self, records: Sequence[DecisionRecord]) -> None:
        self.writes += 1
        if self.error:
            raise self.error
        self.records += records

    def answered_without_record(self, count: int = 1) -> None:
        self.unrecorded += count


class Asked:
    """A handler under test with everything around it."""

    def __init__(self, files: Mapping[str, bytes] | None = None, answers: OutboundOptions | None = None) -> None:
        self.live, self.journal = Live(), Kept()
        self.seen: list[DecisionRecord] = []
        self.shed: list[str] = []
        self.now = NOW
        if files is None:
            files = {"bundle.yaml": BUNDLE}
        if files:
            built = read_bundle(files, NoTokenCache())
            self.live.activate(built.snapshot, built.issuers)
        options = HandlerOptions(InboundOptions(), answers or OutboundOptions())
        journal: Any = self.journal
        self.handler = Handler(self.live, journal, [self.seen.append], options, lambda: self.now, self.shed.append)

    def ask(self, raw: bytes | None = None, deadline: float | None = None, trace: str = "", **check: Any) -> Answer:
        raw = build_check(Check(**{"host": "open.test", "path": "/public/a", **check})) if raw is None else raw
        return read_answer(self.handler.answer(Arrival(raw, deadline, trace)))

    @property
    def last(self) -> DecisionRecord:
        return self.journal.records[-1]


def test_an_allow_is_recorded_observed_and_answered_with_the_same_ids() -> None:
    asked = Asked()
    answer = asked.ask()
    assert answer.allowed
    record = asked.last
    assert [record] == asked.seen
    assert (Reason.POLICY_ALLOWED, 200, NOW) == (record.decision.reason, record.status, record.time)
    assert record.decision_id == answer.client_header("x-authz-decision-id") == answer.metadata["decision_id"]
    assert record.interaction_id == answer.client_header("x-fapi-interaction-id")
    assert record.revision == answer.metadata["revision"]


def test_a_denial_is_recorded_observed_and_answered() -> None:
    asked = Asked()
    answer = asked.ask(path="/private")
    assert (False, 403, "no_policy_matched") == (answer.allowed, answer.http_status, answer.metadata["reason"])
    assert (403, Reason.NO_POLICY_MATCHED) == (asked.last.status, asked.last.decision.reason)


def test_every_check_has_a_decision_id_of_its_own() -> None:
    asked = Asked()
    for _ in range(100):
        asked.ask()
    assert 100 == len({record.decision_id for record in asked.seen})
    assert all(re.fullmatch("[0-9a-f]{32}", record.decision_id) for record in asked.seen)


@pytest.mark.parametrize(
    ("headers", "source"),
    [
        ((("x-fapi-interaction-id", "93bac548-d2de-4546-b106-880a5018460d"),), "client"),
        ((("x-fapi-interaction-id", "not-a-uuid"),), "replaced"),
        ((), "generated"),
    ],
)
def test_the_interaction_id_is_echoed_replaced_or_generated(headers: tuple[tuple[str, str], ...], source: str) -> None:
    asked = Asked()
    answer = asked.ask(headers=headers)
    sent = dict(headers).get("x-fapi-interaction-id", "")
    assert source == asked.last.interaction_id_source
    assert (answer.client_header("x-fapi-interaction-id") == sent) == (source == "client")
    if source != "client":
        assert UUID.fullmatch(asked.last.interaction_id)


def test_without_a_bundle_every_check_is_undecided_and_recorded() -> None:
    asked = Asked(files={})
    answer = asked.ask()
    assert (False, 503, "no_bundle") == (answer.allowed, answer.http_status, answer.metadata["reason"])
    assert (Reason.NO_BUNDLE, "") == (asked.last.decision.reason, asked.last.revision)


def test_a_connection_check_is_answered_explicitly() -> None:
    asked = Asked()
    answer = asked.ask(build_connection(Check().source, Check().destination))
    assert not answer.allowed
    assert Reason.NO_POLICY_MATCHED is asked.last.decision.reason


def test_when_the_journal_takes_no_records_nothing_passes() -> None:
    asked = Asked()
    asked.journal.error = JournalError("disk full")
    answer = asked.ask()
    assert (503, "journal_unavailable") == (answer.http_status, answer.metadata["reason"])
    assert [Reason.JOURNAL_UNAVAILABLE] == [record.decision.reason for record in asked.seen]
    assert 0 == asked.journal.unrecorded
    asked.journal.error = None
    assert asked.ask().allowed


def test_a_profile_may_say_to_proceed_without_the_journal_and_that_is_counted() -> None:
    asked = Asked()
    asked.journal.error = JournalError("disk full")
    assert asked.ask(host="lenient.test").allowed
    assert 1 == asked.journal.unrecorded
    assert "no_policy_matched" == asked.ask(host="lenient.test", path="/private").metadata["reason"]
    assert 2 == asked.journal.unrecorded


def test_an_observer_that_fails_changes_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()

    def failing(_record: DecisionRecord) -> None:
        raise RuntimeError(SECRET)

    options = HandlerOptions(InboundOptions(), OutboundOptions())
    journal: Any = asked.journal
    observers = [failing, asked.seen.append]
    asked.handler = Handler(asked.live, journal, observers, options, lambda: NOW, asked.shed.append)
    assert asked.ask().allowed
    assert 1 == len(asked.seen)
    assert "an observer failed: RuntimeError at test_handler.py" in caplog.text
    assert SECRET not in caplog.text


def test_t59_a_bug_in_the_decision_is_an_explicit_undecided_on_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked()

    def bug(*_arguments: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(extauthz.handler, "advance", bug)
    answer = asked.ask()
    assert (False, 503, "internal_error") == (answer.allowed, answer.http_status, answer.metadata["reason"])
    assert asked.last.decision_id == answer.metadata["decision_id"]
    assert Reason.INTERNAL_ERROR is asked.last.decision.reason
    assert "a check failed: KeyError at test_handler.py" in caplog.text
    assert SECRET not in caplog.text


def test_t59_a_bug_that_is_also_in_the_way_of_its_record_still_ends_in_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked()
    asked.journal.error = RuntimeError("bug in the journal")
    answer = asked.ask()
    assert (False, 503) == (answer.allowed, answer.http_status)
    monkeypatch.setattr(asked.handler, "_writer", None)
    answer = asked.ask()
    assert (False, 503) == (answer.allowed, answer.http_status)


def test_t38_an_allow_that_cannot_be_written_safely_is_recorded_as_what_the_client_got(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked()
    unsafe = Allow(obligations=Obligations(upstream_headers=(("x-a", "1\r\nx-admin: yes"),)))
    monkeypatch.setattr(extauthz.handler, "advance", lambda *_arguments: unsafe)
    answer = asked.ask()
    assert (False, 503) == (answer.allowed, answer.http_status)
    assert (Reason.INTERNAL_ERROR, 503) == (asked.last.decision.reason, asked.last.status)


def test_a_check_whose_deadline_has_passed_is_not_worked_on() -> None:
    asked = Asked()
    answer = asked.ask(deadline=NOW - 0.001)
    assert (503, "deadline_exceeded") == (answer.http_status, answer.metadata["reason"])
    assert (["deadline"], []) == (asked.shed, asked.seen)
    assert asked.ask(deadline=NOW + 0.02).allowed


def test_after_the_drain_a_straggler_is_told_so() -> None:
    asked = Asked()
    asked.handler.draining = True
    answer = asked.ask()
    assert (503, "draining") == (answer.http_status, answer.metadata["reason"])
    assert ["draining"] == asked.shed


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_unseen_is_never_an_allow(reason: Reason) -> None:
    answer = read_answer(Asked().handler.refuse(reason))
    assert (False, 503) == (answer.allowed, answer.http_status)


def test_undecided_can_be_an_error_for_envoy_by_configuration() -> None:
    asked = Asked(files={}, answers=OutboundOptions(undecided="error"))
    assert asked.ask().is_error
    assert read_answer(asked.handler.refuse(Reason.OVERLOADED)).is_error


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", True),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", False),
        ("garbage", False),
    ],
)
def test_tr01_only_a_well_formed_traceparent_is_kept(sent: str, kept: bool) -> None:
    asked = Asked()
    asked.ask(trace=sent)
    assert (sent if kept else "") == asked.last.traceparent


ASKED = Asked()


@given(st.binary(max_size=2000))
def test_t62_any_bytes_end_in_a_status_that_allows_only_what_was_decided_so(raw: bytes) -> None:
    before = len(ASKED.journal.records)
    answer = read_answer(ASKED.handler.answer(Arrival(raw)))
    assert before + 1 == len(ASKED.journal.records)
    assert answer.allowed == isinstance(ASKED.last.decision, Allow)
    assert answer.status != 0 or answer.allowed


VALID = build_check(Check(host="open.test", path="/public/a", headers=(("x-a", "b"),)))


@given(st.data())
def test_t62_any_mutation_of_a_real_check_ends_in_a_status(data: st.DataObject) -> None:
    raw = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    answer = read_answer(ASKED.handler.answer(Arrival(bytes(raw))))
    assert answer.allowed == isinstance(ASKED.last.decision, Allow)
    assert answer.status != 0 or answer.allowed


@given(st.text(max_size=200))
def test_any_traceparent_is_harmless(text: str) -> None:
    assert read_answer(ASKED.handler.answer(Arrival(VALID, None, text))).allowed


def test_errors_are_logged_at_error_level(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    asked.journal.error = JournalError("disk full")
    with caplog.at_level(logging.ERROR):
        asked.ask()
    assert ["the journal does not take records: disk full"] == [record.getMessage() for record in caplog.records]
