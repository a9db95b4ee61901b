"""`extauthz check` under emergencies: which step they ended or opened, and by which."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from extauthz.cli import main
from tests.unit.bundle.emergency_documents import bundle, glass, signed

FREEZE = """\
apiVersion: extauthz.io/v1
kind: Emergency
metadata: {name: inc-1}
spec:
  freeze: [%s]
  begin: 2026-01-01T00:00:00Z
  end: 2026-01-01T02:00:00Z
  ticket: INC-1
"""


@pytest.mark.parametrize(
    ("target", "step"),
    [("{everything: true}", "freeze"), ("{route: {path: '/api/**'}}", "freeze"), ("{client: app}", "revocation")],
)
def test_a_freeze_is_shown_where_it_ended_the_path(tmp_path: Path, target: str, step: str) -> None:
    found = under_emergency(tmp_path, FREEZE % target)
    assert ("emergency_denied", "inc-1", "freeze") == (found["reason"], found["emergency"], found["emergencyKind"])
    assert [step] == [each["name"] for each in found["steps"] if each["result"] == "ended here"]
    assert found["explanation"].endswith("of freeze 1 of Emergency `inc-1`")


@pytest.mark.parametrize(("more", "outcome"), [("", "allow"), ("  drill: true\n", "deny")])
def test_break_glass_is_shown_as_the_step_that_opened_or_as_a_drill(tmp_path: Path, more: str, outcome: str) -> None:
    found = under_emergency(tmp_path, signed(glass(more=more)), path="/api/acme/loans/7")
    steps = {each["name"]: (each["result"], each["detail"]) for each in found["steps"]}
    assert outcome == found["outcome"]
    if outcome == "allow":
        assert "no rule allows it, but break glass `inc-1` lets it pass" == found["explanation"]
        assert ("passed", "no rule allows it") == steps["policies"]
        assert ("passed", "`inc-1` lets it pass") == steps["break glass"]
    else:
        assert "ended here" == steps["policies"][0]
        assert ("passed", "`inc-1` is a drill: it would let this pass") == steps["break glass"]


def under_emergency(directory: Path, emergency: str, path: str = "/api/acme/accounts/1") -> dict[str, Any]:
    """What is said about an officer's request while the emergency is in force."""
    for name, text in bundle(emergency, tests__staff=None).items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    claims = '{"sub": "u1", "tenant_id": "acme", "roles": ["officer"], "client_id": "app", "limit": 10}'
    url = f"https://api.bank.test{path}"
    arguments = ["check", "--bundle", str(directory), "--now", "2026-01-01T01:00:00Z", "--claims", claims, url]
    said = CliRunner().invoke(main, arguments)
    assert "inc-1" in said.stdout
    found: dict[str, Any] = json.loads(CliRunner().invoke(main, [*arguments, "--format", "json"]).stdout)
    return found
