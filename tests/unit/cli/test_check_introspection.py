"""`extauthz check --introspection`: what would be if the issuer said so."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from extauthz.cli.check import command

BUNDLE = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec:
  issuer: https://login.bank.test
  audiences: [accounts]
  jwks: {uri: "https://login.bank.test/certs"}
  introspection: {endpoint: "https://login.bank.test/introspect"%s}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {issuers: [bank]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: read
    from: [{scopes: [accounts]}]
    to: [{methods: [GET]}]
"""
ANSWER = {"active": True, "sub": "alice", "aud": "accounts", "exp": 4_102_444_800, "scope": "accounts"}
NOTE = "the answer of issuer `bank` is taken as said: it was not asked"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.yaml").write_text(BUNDLE % "")
    (tmp_path / "answer.json").write_text(json.dumps(ANSWER))
    return tmp_path


def check(folder: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    base = ["--bundle", str(folder / "bundle"), "--format", "json", "--token", "7Fjfp0ZBr1Kt", "https://api.test/a"]
    result = CliRunner().invoke(command, [*base, *arguments])
    assert result.exit_code in {0, 1}, result.output
    return result.exit_code, json.loads(result.stdout)


def test_the_file_is_the_issuers_answer(folder: Path) -> None:
    code, found = check(folder, "--introspection", str(folder / "answer.json"))
    assert (0, "policy_allowed", "bank/alice") == (code, found["reason"], found["subject"])
    assert NOTE in found["notes"]  # type: ignore[operator] # a list


def test_a_revoked_token_and_the_time(folder: Path) -> None:
    (folder / "answer.json").write_text('{"active": false}')
    _, found = check(folder, "--introspection", str(folder / "answer.json"))
    assert (401, "token_inactive", "INT-03") == (found["status"], found["reason"], found["check"])
    (folder / "answer.json").write_text(json.dumps(ANSWER))
    _, found = check(folder, "--introspection", str(folder / "answer.json"), "--now", "2120-01-01T00:00:00Z")
    assert "token_expired" == found["reason"]


def test_without_the_file_it_says_who_would_be_asked(folder: Path) -> None:
    code, found = check(folder)
    assert (1, "introspection_unavailable", 503) == (code, found["reason"], found["status"])
    assert any("give its answer, --introspection FILE" in note for note in found["notes"])  # type: ignore[union-attr, attr-defined]


def test_where_answers_are_signed_a_plain_file_is_signed_on_the_spot(folder: Path) -> None:
    (folder / "bundle" / "bundle.yaml").write_text(BUNDLE % ", signedResponses: true")
    code, found = check(folder, "--introspection", str(folder / "answer.json"))
    assert (0, "policy_allowed") == (code, found["reason"])
    (folder / "answer.json").write_text("a.b.c")
    assert "introspection_unavailable" == check(folder, "--introspection", str(folder / "answer.json"))[1]["reason"]


def test_a_file_that_is_no_answer_is_a_wrong_input(folder: Path) -> None:
    (folder / "answer.json").write_text('{"active": tru')
    base = ["--bundle", str(folder / "bundle"), "--token", "x", "https://api.test/a"]
    result = CliRunner().invoke(command, [*base, "--introspection", str(folder / "answer.json")])
    assert 3 == result.exit_code
    assert "answer.json: not JSON" in result.output
