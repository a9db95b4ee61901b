"""`extauthz audit show` finds what shadow policies and candidates would have done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from extauthz.bundle.compare import Difference
from extauthz.cli.audit import command
from extauthz.journal import CandidateRecord, Journal, JournalIdentity, JournalOptions, finding
from extauthz.model.decision import Allow, Deny, Evidence, ShadowMatch
from extauthz.model.reasons import Reason
from tests.fakes import a_record

SHADOWED = Evidence(tenant="acme", policy="customers", rule="read", shadow=(ShadowMatch("trial", "weak", "deny"),))
OTHER = Evidence(tenant="acme", policy="customers", rule="read", shadow=(ShadowMatch("another", "weak", "deny"),))
REFUSES = Deny(Reason.POLICY_DENIED, evidence=Evidence(tenant="acme", policy="closed", rule="all"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    kept = Journal(JournalOptions(directory=str(tmp_path)), JournalIdentity(instance="pod-1", boot="b"))
    one, two, three = (
        a_record(1, Allow(evidence=SHADOWED)),
        a_record(2, Allow(evidence=OTHER)),
        a_record(3, Deny(Reason.NO_POLICY_MATCHED, evidence=SHADOWED)),
    )
    kept.record_all((one, two, three))
    refused = finding(one, "r2", "d" * 64, Difference("allow_to_deny", "closed", "all", "acme"), REFUSES)
    failed = finding(two, "r2", "d" * 64, error="KeyError at evaluate.py:3 run")
    assert kept.record_candidates([CandidateRecord(one.decision_id, refused), CandidateRecord(two.decision_id, failed)])
    kept.close()
    return tmp_path


def shown(journal: Path, *arguments: str) -> list[dict[str, Any]]:
    said = CliRunner().invoke(command, ["show", str(journal), *arguments])
    assert 0 == said.exit_code, said.output
    return [json.loads(line)["event"] for line in said.stdout.splitlines()]


def test_what_a_shadow_policy_would_have_refused_is_found_by_its_name(journal: Path) -> None:
    found = shown(journal, "--shadow", "trial", "--outcome", "allow")
    assert ["decision-1"] == [event["decision"]["decision_id"] for event in found]
    assert ["decision-1", "decision-3"] == [e["decision"]["decision_id"] for e in shown(journal, "--shadow", "trial")]


def test_what_a_candidate_would_have_decided_is_found_by_change_and_by_decision(journal: Path) -> None:
    (event,) = shown(journal, "--change", "allow_to_deny")
    assert {
        "decision_id": "decision-1", "revision": "r2", "digest": "d" * 64, "change": "allow_to_deny", "outcome": "deny",
        "reason": "policy_denied", "policy": "closed", "rule": "all", "tenant": "acme", "live_revision": "2026-11",
        "live_outcome": "allow", "live_reason": "policy_allowed", "live_policy": "customers", "live_rule": "read",
    } == event["candidate"]  # fmt: skip
    assert [] == shown(journal, "--change", "deny_to_allow")
    assert [["decision"], ["candidate"]] == [[*event] for event in shown(journal, "--decision-id", "decision-1")]
    (_, failed) = shown(journal, "--decision-id", "decision-2")
    assert "KeyError at evaluate.py:3 run" == failed["candidate"]["error"]


def test_other_questions_are_about_decisions_alone(journal: Path) -> None:
    assert 3 == len(shown(journal, "--tenant", "acme"))
    assert 3 == len(shown(journal))
    assert 2 == len([event for event in shown(journal, "--all") if "candidate" in event])
