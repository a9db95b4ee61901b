"""Freeze and break glass as clients see them, through a real Envoy and under traffic."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

from extauthz.cli.ctl import command
from extauthz.cli.demo_requests import MANAGER, OFFICER
from extauthz.cli.demo_stack import Issuer, start_server
from extauthz.journal import verify
from tests.approvers import YAML, pem
from tests.envoy.gateway import Launch
from tests.envoy.test_revocation import LOAN, Bank
from tests.envoy.variants import Variant


class GlassBank(Bank):
    """A bank whose bundle names approvers and whose upstreams learn of break glass."""

    def start(self, launch: Launch) -> None:
        about = self.bundle / "bundle.yaml"
        about.write_text(about.read_text().replace("spec: {revision: banking-1}", f"spec:\n  approvers:\n{YAML}"))
        settings = [f"admin.controlSocket={self.socket}", f"revocations.file={self.directory / 'revoked'}"]
        settings.append("answers.emergencyHeader=x-authz-emergency")
        self.server = start_server(self.directory, self.stack, self.bundle, settings)
        self.gateway = launch(Variant(), authz_port=self.server.port)

    def freeze(self, *arguments: str, until: str = "1h") -> Any:
        return self.ctl("freeze", *arguments, "--until", until)

    def opened(self, *arguments: str) -> Any:
        """Open loans to officer-1."""
        file = self.directory / "request.json"
        steps = [
            ["request", "--subject", "officer-1", "--issuer", "keycloak", "--route", "GET api.banking.local/api/loans/**",
             "--ticket", "INC-1", "--justification", "core banking is down", "--out", str(file), *arguments],
        ]  # fmt: skip
        for name in ("duty-manager", "ciso"):
            key = self.directory / f"{name}.pem"
            key.write_bytes(pem(name))
            steps.append(["approve", str(file), "--approver", name, "--key", str(key), "--yes"])
        steps.append(["open", str(file), "--operator", "operator-1", "--format", "json"])
        for step in steps:
            environ = {"EXTAUTHZ_ADMIN__CONTROL_SOCKET": str(self.socket)}
            said = CliRunner().invoke(command, ["break-glass", *step], env=environ)
            assert 0 == said.exit_code, said.output
        return json.loads(said.stdout)


@pytest.fixture
def bank(tmp_path: Path, issuer: Issuer, launch_envoy: Launch) -> Iterator[GlassBank]:
    found = GlassBank(tmp_path, issuer, launch_envoy)
    yield found
    found.stack.close()


class Traffic:
    """Clients that ask without a pause; when each request began and ended, and its status."""

    def __init__(self, ask: Callable[[], int], clients: int = 3) -> None:
        self._ask, self._stopping = ask, threading.Event()
        self.seen: list[tuple[float, float, int]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            status = self._ask()
            self.seen.append((began, time.monotonic(), status))

    def wait(self, count: int) -> None:
        """Until so many more were answered."""
        wanted = len(self.seen) + count
        end = time.monotonic() + 30
        while len(self.seen) < wanted:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_freeze_under_traffic_refuses_every_request_that_begins_after_the_answer_and_breaks_none(
    bank: GlassBank,
) -> None:
    token = bank.token(MANAGER)
    for arguments in (("--everything",), ("--route", "GET api.banking.local/api/loans/**"), ("--tenant", "acme")):
        with Traffic(lambda: bank.ask(token)[0]) as traffic:
            traffic.wait(10)
            ordered = time.monotonic()
            entry = bank.freeze(*arguments)
            answered = time.monotonic()
            traffic.wait(20)
            lifting = time.monotonic()
            bank.ctl("end", entry["id"])
            lifted = time.monotonic()
            traffic.wait(10)
        assert {200, 403} == {status for _, _, status in traffic.seen}
        assert {200} == {status for _, ended, status in traffic.seen if ended < ordered}
        assert {403} == {status for began, ended, status in traffic.seen if answered < began and ended < lifting}
        assert {200} == {status for began, _, status in traffic.seen if lifted < began}
    assert verify(bank.server.journal).ok


def test_break_glass_lets_in_whom_it_names_tells_upstreams_and_ends_by_itself(bank: GlassBank) -> None:
    officer, other = bank.token(OFFICER), bank.token(OFFICER, sub="officer-9")
    spoofed = ("x-authz-emergency", "mine")
    assert 403 == bank.ask(officer)[0]
    opened = bank.opened("--until", "12s")
    with Traffic(lambda: bank.ask(officer)[0], clients=1) as traffic:
        answer = bank.gateway.h1(LOAN, [("authorization", f"Bearer {officer}"), spoofed])
        assert 200 == answer.status
        assert [opened["id"]] == answer.upstream.all("x-authz-emergency")
        entry = bank.gateway.log_entry(answer.header("x-authz-decision-id"))
        assert ("break_glass_allowed", "allow") == (entry["reason"], entry["outcome"])
        assert 403 == bank.ask(other)[0]
        assert 403 == bank.ask(officer, "/api/admin/users")[0]
        end = time.monotonic() + 60
        while traffic.seen[-1][2] != 403:
            assert time.monotonic() < end
            time.sleep(0.05)
        traffic.wait(5)
    statuses = [status for _, _, status in sorted(traffic.seen)]
    turn = statuses.index(403)
    assert ({200}, {403}) == (set(statuses[:turn]), set(statuses[turn:])), "once it has ended it stays shut"


def test_what_policies_allow_carries_no_emergency_to_upstreams(bank: GlassBank) -> None:
    token = bank.token(MANAGER)
    answer = bank.gateway.h1(
        LOAN, [("authorization", f"Bearer {token}"), ("x-authz-emergency", "mine"), ("x_authz_emergency", "mine")]
    )
    assert 200 == answer.status
    assert [] == [name for name, _ in answer.upstream.headers if "emergency" in name]
