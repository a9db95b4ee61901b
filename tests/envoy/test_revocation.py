"""Revocation as clients see it, through a real Envoy: the next request counts, although the token is cached."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from extauthz.cli.ctl import command
from extauthz.cli.demo_requests import MANAGER, OFFICER, SUPPORT, Persona
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, copy_bundle, start_server
from extauthz.cli.demo_tokens import Minter
from extauthz.journal import verify
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

LOAN = "/api/loans/l-17"
FROZEN = """
apiVersion: extauthz.io/v1
kind: Revocation
metadata: {name: frozen}
spec:
  entries:
  - {client: mobile-app, until: 2100-01-01T00:00:00Z, note: INC-1}
"""


class Bank:
    """An extauthz with a control socket, an Envoy before it, and an operator."""

    def __init__(self, directory: Path, issuer: Issuer, launch: Launch) -> None:
        self.directory, self.socket = directory, directory / "control.sock"
        self.bundle = copy_bundle(CHECKOUT / "examples" / "banking", directory / "bundle", issuer)
        self.minter, self.stack = Minter(issuer), ExitStack()
        self.start(launch)

    def start(self, launch: Launch) -> None:
        settings = [f"admin.controlSocket={self.socket}", f"revocations.file={self.directory / 'revoked'}"]
        self.server: Server = start_server(self.directory, self.stack, self.bundle, settings)
        self.gateway: Gateway = launch(Variant(), authz_port=self.server.port)

    def token(self, persona: Persona, **claims: Any) -> str:
        return self.minter.mint(persona.claims | claims)

    def ask(self, token: str, path: str = LOAN, *headers: tuple[str, str]) -> tuple[int, str]:
        """Status, and the challenge if there is one."""
        answer = self.gateway.h1(path, [("authorization", f"Bearer {token}"), *headers])
        return answer.status, answer.header("www-authenticate") or ""

    def ctl(self, *arguments: str) -> Any:
        who = [] if arguments[0] == "revocations" else ["--reason", "INC-1", "--operator", "operator-1"]
        until = ["--until", "1h"] if arguments[0] == "revoke" else []
        found = CliRunner().invoke(command, [*arguments, *until, *who, "--format", "json"], env={"EXTAUTHZ_ADMIN__CONTROL_SOCKET": str(self.socket)})  # fmt: skip
        assert 0 == found.exit_code, found.output
        return json.loads(found.stdout)


@pytest.fixture
def bank(tmp_path: Path, issuer: Issuer, launch_envoy: Launch) -> Iterator[Bank]:
    found = Bank(tmp_path, issuer, launch_envoy)
    yield found
    found.stack.close()


def test_jwt_13_a_token_revoked_by_its_id_is_a_401_from_the_next_request_on_and_good_again_when_restored(
    bank: Bank,
) -> None:
    token, other = bank.token(MANAGER, jti="leaked-1"), bank.token(MANAGER)
    for _ in range(3):
        assert (200, "") == bank.ask(token)
    entry = bank.ctl("revoke", "--token-id", "leaked-1")
    status, challenge = bank.ask(token)
    assert 401 == status
    assert 'error="invalid_token"' in challenge
    assert 200 == bank.ask(other)[0]
    assert [entry["id"]] == [found["id"] for found in bank.ctl("revocations")["entries"]]
    bank.ctl("restore", entry["id"])
    assert (200, "") == bank.ask(token)


def test_a_frozen_tenant_is_a_403_for_its_own_and_for_support_until_restored(bank: Bank) -> None:
    manager, elsewhere, support = bank.token(MANAGER), bank.token(MANAGER, tenant_id="globex"), bank.token(SUPPORT)
    visit = ("/api/customers/c-9", ("x-tenant-id", "acme"), ("x-support-ticket", "INC-1"))
    assert [200, 200, 200] == [bank.ask(manager)[0], bank.ask(elsewhere)[0], bank.ask(support, *visit)[0]]
    entry = bank.ctl("revoke", "--tenant", "acme")
    assert (403, "") == bank.ask(manager)
    assert [200, 403] == [bank.ask(elsewhere)[0], bank.ask(support, *visit)[0]]
    bank.ctl("restore", entry["id"])
    assert [200, 200, 200] == [bank.ask(manager)[0], bank.ask(elsewhere)[0], bank.ask(support, *visit)[0]]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--subject", "manager-1", "--issuer", "keycloak"), 403),
        (("--subject", "manager-1", "--issuer", "keycloak", "--issued-before", "now"), 401),
        (("--client", "mobile-app"), 403),
        (("--session", "login-1"), 401),
    ],
)
def test_jwt_13_callers_are_refused_by_what_they_are(bank: Bank, arguments: tuple[str, ...], status: int) -> None:
    token = bank.token(MANAGER, sid="login-1")
    assert 200 == bank.ask(token)[0]
    bank.ctl("revoke", *arguments)
    assert status == bank.ask(token)[0]


def test_a_client_revoked_in_the_bundle_is_refused_and_officers_of_others_are_not(bank: Bank) -> None:
    manager, other = bank.token(MANAGER), bank.token(MANAGER, azp="teller-app")
    assert 200 == bank.ask(manager)[0]
    (bank.bundle / "revocations.yaml").write_text(FROZEN)
    assert _until(lambda: bank.ask(manager)[0] == 403)
    assert 200 == bank.ask(other)[0]
    assert 'extauthz_revocations{source="bundle"} 1.0' in httpx.get(f"{bank.server.admin}/metrics").text


def test_what_was_revoked_survives_kill_9(bank: Bank, launch_envoy: Launch) -> None:
    token = bank.token(MANAGER, jti="leaked-1")
    bank.ctl("revoke", "--token-id", "leaked-1")
    bank.ctl("restore", bank.ctl("revoke", "--subject", "officer-1", "--issuer", "keycloak")["id"])
    bank.server.child.kill()
    bank.start(launch_envoy)
    assert 401 == bank.ask(token)[0]
    assert 200 == bank.ask(bank.token(MANAGER))[0]
    assert ["leaked-1"] == [found["value"] for found in bank.ctl("revocations")["entries"]]
    assert verify(bank.server.journal).ok


def test_the_journal_names_the_operator_and_the_entry_and_no_person(bank: Bank) -> None:
    token = bank.token(OFFICER)
    bank.ctl("revoke", "--subject", "officer-1", "--issuer", "keycloak")
    assert 403 == bank.ask(token)[0]
    text = "".join(file.read_text() for file in bank.server.journal.glob("segment-*.ndjson"))
    records = [json.loads(line)["event"] for line in text.splitlines()]
    (added,) = [e["lifecycle"]["detail"] for e in records if e.get("lifecycle", {}).get("kind") == "revocation_added"]
    assert ("operator-1", "INC-1", "subject") == (added["operator"], added["reason"], added["selector"])
    assert 32 == len(added["value"])
    (denied,) = [e["decision"] for e in records if e.get("decision", {}).get("reason") == "emergency_denied"]
    assert f"run-time entry `{added['id']}`" in denied["detail"]
    assert "officer-1" not in text


def _until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
