"""`extauthz bundle replay` over real journals: what it finds, what it cannot tell, and how it ends for a pipeline."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from extauthz.cli.bundle import command
from extauthz.handler import Handler, HandlerOptions
from extauthz.journal import Journal, JournalIdentity, JournalOptions
from extauthz.sources import Live, Ports
from extauthz.transport import Arrival
from extauthz.wire import InboundOptions, OutboundOptions
from tests.documents import SIGNED
from tests.engine import Engine

OLD = (
    SIGNED
    + """---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: bank}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: optional, issuers: [bank]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: customers}
spec:
  effect: allow
  rules:
  - name: own
    to: [{methods: [GET], paths: ["/customers/{customer}"]}]
    condition: params.customer == subject.id
  - name: channel
    to: [{paths: [/public]}]
    when: [{key: "request.headers[x-channel]", values: [mobile, branch]}]
"""
)
ASKED = [("/customers/u-1", "u-1", {}), ("/customers/u-2", "u-1", {}), ("/customers/u-2", "u-2", {})]
ASKED += [("/public", "", {"x-channel": "mobile"}), ("/public", "", {"x-channel": "web"}), ("/public", "", {})]
DENY = """
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: frozen}
spec:
  effect: deny
  rules: [{name: u-2, to: [{paths: [/customers/u-2]}]}]
"""


def write(directory: Path, text: str) -> Path:
    directory.mkdir()
    (directory / "bundle.yaml").write_text(text)
    return directory


def serve(
    directory: Path, text: str, asked: Sequence[tuple[str, str, dict[str, str]]], replay: Any = "attributes"
) -> None:
    """Answer these with a journal in `directory`."""
    engine = Engine({"bundle.yaml": text.encode()})
    live = Live(Ports())
    live.activate(engine.world, tuple(engine.issuers.values()))
    for name, keys in engine.world.keys.items():
        live.set_keys(name, keys)
    journal = Journal(JournalOptions(directory=str(directory), replay=replay), JournalIdentity(instance="a", boot="1"))
    options = HandlerOptions(InboundOptions(), OutboundOptions())
    handler = Handler(live, journal, (), options, time.time, lambda _: None)
    now = int(time.time())
    for path, subject, headers in asked:
        raw: list[bytes] = []
        claims = {"iss": "https://idp.test", "aud": "bank", "sub": subject, "exp": now + 600, "iat": now}
        token = engine.sign("bank", claims | {"client_id": "c"}, {"typ": "at+jwt"}) if subject else None
        keep = lambda check, into=raw: into.append(check.SerializeToString())  # noqa: E731
        engine.ask(path, host="api.test", token=token, headers=headers, change=keep)
        handler.answer(Arrival(raw[0]))
    journal.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    serve(tmp_path / "journal", OLD, ASKED)
    return tmp_path / "journal"


def replay(against: Path, *arguments: object) -> Result:
    return CliRunner().invoke(command, ["replay", "--against", str(against), *map(str, arguments)])


def found(against: Path, *arguments: object) -> dict[str, Any]:
    result = replay(against, *arguments, "--json")
    report: dict[str, Any] = json.loads(result.stdout)["report"]
    return report


def test_the_same_bundle_changes_nothing(journal: Path, tmp_path: Path) -> None:
    result = replay(write(tmp_path / "new", OLD), "--from", journal)
    assert 0 == result.exit_code, result.output
    assert f"{len(ASKED)} would be the same" in result.stdout


def test_a_rule_on_a_value_that_is_only_a_pseudonym_is_told(journal: Path, tmp_path: Path) -> None:
    """The old bundle names no `u-2`; the new one does, and replay finds it by its pseudonym."""
    new = write(tmp_path / "new", OLD + DENY)
    result = replay(new, "--from", journal, "--max-changed", 0)
    assert 1 == result.exit_code, result.output
    report = found(new, "--from", journal, "--max-changed", 1)
    assert {"allow_to_deny": 1, "reason": 1} == report["changes"]
    (group,) = [group for group in report["groups"] if group["change"] == "allow_to_deny"]
    assert ("customers", "own", "frozen", "u-2") == tuple(group[n] for n in ("policy", "rule", "newPolicy", "newRule"))
    assert ["/customers/u-2"] == [one["route"] for one in group["examples"]]
    assert 0 == replay(new, "--from", journal, "--max-changed", 1).exit_code


def test_what_the_old_bundle_did_not_read_cannot_be_told(journal: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", OLD.replace("[x-channel]", "[x-app]"))
    report = found(new, "--from", journal)
    assert 3 == report["unknown"]
    assert ["request.headers[x-app]"] == [each["needs"] for each in report["unknownBy"]]
    assert "candidate" in report["unknownBy"][0]["hint"]
    assert 0 == replay(new, "--from", journal).exit_code
    assert 1 == replay(new, "--from", journal, "--max-unknown", 2).exit_code


def test_without_its_key_pseudonyms_tell_nothing(journal: Path, tmp_path: Path) -> None:
    (journal / "pseudonym.key").rename(tmp_path / "kept.key")
    new = write(tmp_path / "new", OLD)
    report = found(new, "--from", journal)
    assert {"the pseudonym key": 5} == {each["needs"]: each["count"] for each in report["unknownBy"]}
    assert 1 == report["unchanged"]  # no header was sent, and the path is all literals
    assert 0 == found(new, "--from", journal, "--pseudonym-key", tmp_path / "kept.key")["unknown"]


def test_a_journal_that_keeps_nothing_is_no_pass(tmp_path: Path) -> None:
    serve(tmp_path / "journal", OLD, ASKED, replay="off")
    result = replay(write(tmp_path / "new", OLD), "--from", tmp_path / "journal")
    assert 3 == result.exit_code
    assert "journal.replay: attributes" in result.stdout
    assert 3 == replay(tmp_path / "new", "--from", tmp_path / "journal", "--until", "2026-01-01").exit_code


def test_a_damaged_journal_counts_for_nothing(journal: Path, tmp_path: Path) -> None:
    segment = next(journal.glob("segment-*.ndjson"))
    segment.write_bytes(segment.read_bytes().replace(b'"policy_allowed"', b'"policy_denied_"', 1))
    result = replay(write(tmp_path / "new", OLD), "--from", journal)
    assert 3 == result.exit_code
    assert "edited" in result.stderr
    assert "" == result.stdout


def test_a_bundle_with_errors_ends_it(journal: Path, tmp_path: Path) -> None:
    result = replay(write(tmp_path / "new", OLD.replace("methods", "method")), "--from", journal)
    assert 3 == result.exit_code
    assert "did you mean `methods`" in result.stderr


def test_several_servers_and_processes_add_up(journal: Path, tmp_path: Path) -> None:
    """Each with a pseudonym key of its own."""
    serve(tmp_path / "two", OLD, ASKED[:2])
    new = write(tmp_path / "new", OLD + DENY)
    report = found(new, "--from", journal, "--from", tmp_path / "two", "--jobs", 2)
    assert len(ASKED) + 2 == report["decisions"]
    assert 0 == report["unknown"]
    assert {"allow_to_deny": 1, "reason": 2} == report["changes"]


def test_live_sets_apart_what_it_does_not_explain(journal: Path, tmp_path: Path) -> None:
    old = write(tmp_path / "old", OLD)
    assert 0 == found(old, "--from", journal, "--live", old)["unknown"]


def test_since_and_until_choose(journal: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", OLD)
    assert len(ASKED) == found(new, "--from", journal, "--since", "1h")["decisions"]
    assert 3 == replay(new, "--from", journal, "--until", "1h").exit_code
