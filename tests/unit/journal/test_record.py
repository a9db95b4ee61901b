"""What a record says, what it never says, and that anyone can check its hash and read it by the schema."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict, Parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.bundle.compare import Difference
from extauthz.generated.extauthz.v1.journal_pb2 import Record
from extauthz.journal.candidates import CandidateRecord, candidate_event, finding, read_candidate
from extauthz.journal.chain import GENESIS, parse_line, seal, true_hash
from extauthz.journal.pseudonym import PeriodKey, Pseudonyms
from extauthz.journal.record import LifecycleEvent, TimeText, decision_event, lifecycle_event, read_decision
from extauthz.model.decision import Allow, Deny, Evidence, ShadowMatch, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts, Peer
from extauthz.model.subject import Subject
from tests.fakes import a_record

ROOT = Path(__file__).parents[3]
NAMES = Pseudonyms(PeriodKey("2024-01", b"k" * 32), b"u" * 32)

words = st.text(max_size=40)  # includes control characters, half surrogates and text that runs backwards
any_text = st.one_of(words, st.text(alphabet=st.characters(categories=["Cs", "Cc", "Cf", "L"]), max_size=20))
subjects = st.builds(
    Subject,
    issuer=any_text,
    id=any_text,
    client=any_text,
    tenant=any_text,
    roles=st.lists(any_text, max_size=3).map(tuple),
    token_id=any_text,
    key_id=any_text,
)
evidences = st.builds(
    Evidence,
    subject=subjects,
    profile=any_text,
    tenant=any_text,
    policy=any_text,
    rule=any_text,
    route=any_text,
    cross_tenant=any_text,
    shadow=st.lists(st.builds(ShadowMatch, any_text, any_text, st.sampled_from(["allow", "deny"])), max_size=2).map(
        tuple
    ),
    condition_errors=st.lists(any_text, max_size=2).map(tuple),
    sender_proofs=st.lists(st.sampled_from(["mtls", "dpop", "message_signature", "signed_body"]), max_size=4).map(
        tuple
    ),
)
refusals = st.sampled_from([reason for reason in Reason if reason.outcome == "deny"])
decisions = st.one_of(
    st.builds(Allow, evidence=evidences),
    st.builds(Deny, reason=refusals, check=any_text, detail=any_text, evidence=evidences),
    st.builds(Undecided, reason=st.just(Reason.KEYS_UNAVAILABLE), detail=any_text, evidence=evidences),
)
facts = st.builds(
    Facts,
    request_id=any_text,
    method=any_text,
    host=any_text,
    source=st.builds(Peer, address=any_text, principal=any_text),
    client_address=any_text,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(decision=decisions, facts=facts, time=st.floats(0, 4e9), duration=st.floats(-1, 100))
def test_every_decision_is_one_line_that_the_schema_reads_without_an_unknown_field(
    decision: Allow | Deny | Undecided, facts: Facts, time: float, duration: float
) -> None:
    text = TimeText()(time)
    event = decision_event(a_record(decision=decision, facts=facts, time=time, duration=duration), NAMES, text)
    line, _ = seal(7, text.encode(), event, GENESIS)
    assert line.count(b"\n") == 1
    assert not re.search(rb"[\x00-\x09\x0b-\x1f]", line)
    message = Parse(line, Record())  # refuses unknown fields
    again = MessageToDict(message, preserving_proto_field_name=True)
    assert _plain(json.loads(line)) == _plain(again)
    assert Parse(json.dumps(again), Record()) == message


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(live=decisions, candidate=decisions | st.none(), error=any_text)
def test_what_a_candidate_decided_is_read_by_the_schema_and_back(
    live: Allow | Deny | Undecided, candidate: Allow | Deny | Undecided | None, error: str
) -> None:
    difference = Difference("reason", "p", "r", "t") if candidate is not None else None
    decided = a_record(decision=live)
    found_out = finding(decided, "r2", "d" * 64, difference, candidate, error)
    record = CandidateRecord(decided.decision_id, found_out)
    event = candidate_event(record)
    line, _ = seal(7, b"2026-11-23T11:00:00.000000Z", event, GENESIS)
    Parse(line, Record())  # refuses unknown fields
    found = read_candidate(event)
    assert found is not None
    assert (record.decision_id, live.reason.code) == (found.decision_id, found.live_reason)
    assert (candidate.reason.code if candidate else "") == found.reason


def _plain(value: object) -> object:
    """JSON as protobuf writes it: 64-bit numbers as text, times without trailing zeros, no empty text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item != ""}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        return re.sub(r"\.?0*Z$", "Z", value) if "." in value else value
    return value


def test_the_hash_is_that_of_the_line_without_its_last_member() -> None:
    """A verifier in any language needs SHA-256 and a cut at a fixed place, no JSON encoder."""
    line, digest = seal(3, b"2026-11-23T11:00:00.000000Z", b'{"lifecycle":{}}', b"f" * 64)
    hashed, found = re.fullmatch(rb'(.*),"hash":"([0-9a-f]{64})"\}\n', line).groups()
    assert digest == found == hashlib.sha256(hashed + b"}").hexdigest().encode()


def test_a_record_never_holds_the_subject_the_addresses_or_the_token() -> None:
    event = decision_event(a_record(), NAMES, "2026-11-23T11:00:00.000000Z")
    for secret in (b"6f0c2f5e-1b7a", b"203.0.113.9", b"10.0.0.7"):
        assert secret not in event
    read = json.loads(event)["decision"]
    assert "/api/{id}" == read["route"]
    assert {"path", "query", "headers", "body", "authorization", "cookie"}.isdisjoint(read)


def test_a_refusal_carries_its_check_and_detail() -> None:
    deny = Deny(Reason.TOKEN_EXPIRED, check="JWT-09", detail="expired 12 s ago", evidence=Evidence(profile="p"))
    read = json.loads(decision_event(a_record(decision=deny, status=401), NAMES, "2026-11-23T11:00:00.000000Z"))
    decision = read["decision"]
    assert ("deny", "token_expired", "JWT-09", 401) == (
        decision["outcome"],
        decision["reason"],
        decision["check"],
        decision["status"],
    )
    assert "subject" not in decision


def test_texts_that_clients_choose_are_cut() -> None:
    """T-68: a record stays small whatever a client sends."""
    long = Facts(method="M" * 100_000, host="h" * 100_000, request_id="r" * 100_000)
    assert len(decision_event(a_record(facts=long), NAMES, "2026-11-23T11:00:00.000000Z")) < 4096


def test_an_event_of_the_servers_life_survives_odd_text() -> None:
    read = json.loads(lifecycle_event("bundle_rejected", {"error": "\ud800 " + "x" * 2000}))["lifecycle"]
    assert LifecycleEvent("bundle_rejected", {"error": ("? " + "x" * 2000)[:512]}) == LifecycleEvent(**read)


def test_generated_code_is_what_the_schema_compiles_to(tmp_path: Path) -> None:
    """`make generate` after every change of protos/."""
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=protos", f"--python_out={tmp_path}", *protos]
    subprocess.run(command, check=True, cwd=ROOT)
    for made in tmp_path.rglob("*_pb2.py"):
        committed = ROOT / "extauthz" / "generated" / made.relative_to(tmp_path)
        assert made.read_text() == committed.read_text(), f"{committed.name} is old: run `make generate`"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000000Z"), (1_795_000_000.25, "2026-11-18T11:06:40.250000Z")],
)
def test_times_are_utc_with_microseconds(seconds: float, text: str) -> None:
    assert text == TimeText()(seconds)


def test_a_record_of_a_version_before_or_after_this_one_is_read_and_has_its_hash() -> None:
    """Versions before `sender_proofs` did not write it; a later one may write more."""
    before = b'{"decision":{"decision_id":"d","outcome":"allow","reason":"policy_allowed","status":200}}'
    after = before.replace(b'"status":200', b'"status":200,"sender_proofs":["mtls","x"],"invented_later":{"a":1}')
    for event, proofs in ((before, ()), (after, ("mtls", "x"))):
        line, digest = seal(3, b"2026-11-23T11:00:00.000000Z", event, b"f" * 64)
        parsed = parse_line(line.rstrip(b"\n"))
        assert parsed is not None
        assert digest.decode() == true_hash(line.rstrip(b"\n")) == parsed.hash
        found = read_decision(parsed.event)
        assert found is not None
        assert ("d", proofs) == (found.decision_id, found.sender_proofs)


def test_every_member_of_an_event_says_what_its_name_says() -> None:
    """Events are built by position; a value of its own for each member shows that none is in another's place."""
    subject = Subject(
        issuer="ISSUER", id="ID", client="CLIENT", roles=("ROLE",), token_id="TOKEN", key_id="KEY", tenant="OTHER"
    )
    evidence = Evidence(
        subject=subject,
        profile="PROFILE",
        tenant="TENANT",
        policy="POLICY",
        rule="RULE",
        route="ROUTE",
        cross_tenant="CROSS",
        shadow=(ShadowMatch("SHADOW", "SHADOW-RULE", "deny"),),
        condition_errors=("CONDITION",),
        sender_proofs=("mtls",),
        emergency="EMERGENCY",
        emergency_kind="EMERGENCY-KIND",
    )
    facts = Facts(
        request_id="REQUEST",
        method="METHOD",
        host="HOST",
        source=Peer(principal="PRINCIPAL"),
        client_address="192.0.2.1",
    )
    record = a_record(
        decision=Deny(Reason.POLICY_DENIED, "CHECK", "DETAIL", evidence=evidence),
        decision_id="DECISION",
        interaction_id="INTERACTION",
        interaction_id_source="SOURCE",
        duration=0.25,
        revision="REVISION",
        digest="DIGEST",
        facts=facts,
        status=403,
        traceparent="00-TRACETRACETRACETRACETRACETRACE12-SPAN-01",
    )
    time = "2026-11-23T11:00:00.123456Z"
    assert {
        "decision_id": "DECISION",
        "outcome": "deny",
        "reason": "policy_denied",
        "check": "CHECK",
        "detail": "DETAIL",
        "status": 403,
        "profile": "PROFILE",
        "policy": "POLICY",
        "rule": "RULE",
        "route": "ROUTE",
        "method": "METHOD",
        "host": "HOST",
        "tenant": "TENANT",
        "subject": NAMES.of("subject", "ISSUER\0ID", "TENANT", "2026-11"),
        "issuer": "ISSUER",
        "client_id": "CLIENT",
        "roles": ["ROLE"],
        "token_id": "TOKEN",
        "key_id": "KEY",
        "revision": "REVISION",
        "digest": "DIGEST",
        "interaction_id": "INTERACTION",
        "interaction_id_source": "SOURCE",
        "source_principal": "PRINCIPAL",
        "client_address": NAMES.of("address", "192.0.2.1", "TENANT", "2026-11"),
        "cross_tenant": "CROSS",
        "shadow": [{"policy": "SHADOW", "rule": "SHADOW-RULE", "effect": "deny"}],
        "condition_errors": ["CONDITION"],
        "duration_us": 250_000,
        "request_id": "REQUEST",
        "trace_id": "TRACETRACETRACETRACETRACETRACE12",
        "sender_proofs": ["mtls"],
        "emergency": "EMERGENCY",
        "emergency_kind": "EMERGENCY-KIND",
    } == json.loads(decision_event(record, NAMES, time))["decision"]
