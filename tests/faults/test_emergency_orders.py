"""Orders and death: what an operator was told is in force is in force after a restart, on every worker."""

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import msgspec
import pytest

from extauthz.bundle.approvals import GlassRequest
from extauthz.guards import BreakGlassSpec
from extauthz.journal import verify
from extauthz.wire.twin import Check, build_check, read_answer
from tests.approvers import approvals
from tests.engine import EC_KEY, PUBLIC
from tests.faults.process import Started, until
from tests.unit.bundle.emergency_documents import APPROVERS
from tests.unit.bundle.small_bundle import ISSUER, files

LOAN, ACCOUNT = "/api/acme/loans/7", "/api/acme/accounts/1"
GLASS: dict[str, Any] = {
    "subjects": [{"issuer": "https://idp.bank.test", "id": "u1"}],
    "routes": [{"host": "api.bank.test", "path": "/api/{tenant}/loans/**", "methods": ["GET"]}],
}
WHO = {"operator": "operator-1", "reason": "INC-1"}


class Bank(Started):
    """The small bank with a control socket."""

    def __init__(self, directory: Path, workers: int = 1) -> None:
        super().__init__(directory)
        keys = {"keys": [{**PUBLIC["ES256"], "kid": "k1", "alg": "ES256", "use": "sig"}]}
        issuer = ISSUER.replace('jwks: {uri: "https://idp.bank.test/certs"}', "jwks: {file: keys.json}")
        for name, text in {**files(bundle=APPROVERS, issuer=issuer), "keys.json": json.dumps(keys).encode()}.items():
            (self.bundle / name).parent.mkdir(exist_ok=True)
            (self.bundle / name).write_bytes(text)
        self.socket = directory / "c"
        self.set |= {"admin.controlSocket": self.socket, "revocations.file": directory / "revoked"}
        if workers > 1:
            self.set["workers.count"] = workers

    def serve(self) -> "Bank":
        self.ports.unlink(missing_ok=True)
        super().serve()
        assert until(lambda: self.ready()[0] == 200)
        return self

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.communicate(timeout=30)

    def order(self, method: str, target: str, body: Any = None) -> dict[str, Any]:
        """The answer. Raises OSError or HTTPException when there is none."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.socket))
        try:
            connection.request(
                method, target, msgspec.json.encode(body) if body else None, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        except ValueError as error:  # half an answer
            raise http.client.HTTPException from error
        finally:
            connection.close()
        assert answer.status < 300, found
        return found

    def freeze(self, client: str) -> str:
        end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return str(self.order("POST", "/freezes", {"client": client, "until": end, **WHO})["id"])

    def open(self, name: str) -> str:
        now = datetime.now(UTC)
        request = GlassRequest(
            id=name,
            break_glass=msgspec.convert(GLASS, BreakGlassSpec),
            begin=now - timedelta(seconds=1),
            end=now + timedelta(hours=2),
            ticket="INC-1",
            justification="core banking is down",
        )
        body = {"request": request, "approvals": approvals(request), "operator": "operator-1"}
        return str(self.order("POST", "/break-glasses", body)["id"])

    def end(self, name: str) -> None:
        self.order("DELETE", f"/emergencies/{name}", WHO)

    def in_force(self) -> set[str]:
        return {
            found["id"] for found in self.order("GET", "/emergencies")["emergencies"] if found["state"] == "in force"
        }

    def reason(self, path: str, address: str = "", **claims: Any) -> str:
        now = int(time.time())
        whole = {
            "iss": "https://idp.bank.test", "aud": "bank", "sub": "u1", "client_id": "app", "iat": now - 60, "exp": now + 300,
            "jti": "jti-1", "tenant_id": "acme", "roles": ["officer"], "limit": 10,
        } | claims  # fmt: skip
        token = jwt.encode(whole, EC_KEY, algorithm="ES256", headers={"kid": "k1", "typ": "at+jwt"})
        raw = build_check(Check(host="api.bank.test", path=path, headers=(("authorization", f"Bearer {token}"),)))
        with grpc.insecure_channel(address or self.grpc) as channel:
            answer = read_answer(channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(raw, timeout=10))
        return answer.metadata["reason"]


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    found = Bank(tmp_path)
    yield found
    if found.process and found.process.poll() is None:
        found.kill()


class Operator(threading.Thread):
    """Freezes, opens and ends without a pause, and remembers what was answered."""

    def __init__(self, bank: Bank, number: int) -> None:
        super().__init__()
        self.bank, self.number = bank, number
        self.in_force: set[str] = set()
        self.ended: set[str] = set()
        self.unknown: set[str] = set()  # ordered, but nobody said what became of it
        self.answered = 0

    def run(self) -> None:
        for turn in range(10_000):
            name = ""
            try:
                match turn % 5:
                    case 0 | 1 | 2:
                        self.in_force.add(self.bank.freeze(f"app-{self.number}-{turn}"))
                    case 3:
                        name = f"g-{self.number:08x}{turn:08x}"
                        if turn < 100:
                            self.in_force.add(self.bank.open(name))
                    case _:
                        name = sorted(self.in_force)[turn % len(self.in_force)]
                        self.in_force.discard(name)
                        self.bank.end(name)
                        self.ended.add(name)
            except (OSError, http.client.HTTPException):
                self.unknown.add(name)
                return
            self.answered += 1


def test_what_was_answered_before_kill_9_is_in_force_after_it_and_what_was_ended_is_not(bank: Bank) -> None:
    """The server dies at any moment between an order and its answer, three times over the same file."""
    dice = random.Random(20261123)
    in_force: set[str] = set()
    ended: set[str] = set()
    answered = 0
    for number in range(3):
        bank.serve()
        operator = Operator(bank, number)
        operator.start()
        time.sleep(dice.uniform(0.3, 0.6))
        bank.kill()
        operator.join()
        in_force |= operator.in_force
        ended |= operator.ended
        answered += operator.answered
        bank.serve()
        found = bank.in_force()
        assert in_force - found - operator.unknown == set()
        assert ended & found == set()
        in_force = found  # what nobody was told of may be there or not, from now on for good
        bank.kill()
    assert answered > 10
    assert verify(bank.journal).ok


def test_a_dying_servers_break_glass_is_not_opened_twice(bank: Bank) -> None:
    """Its approvals were for one opening, also if it was ended just before the end of the process."""
    bank.serve()
    name = bank.open("g-0123456789abcdef")
    assert "break_glass_allowed" == bank.reason(LOAN)
    bank.end(name)
    bank.kill()
    bank.serve()
    assert "no_policy_matched" == bank.reason(LOAN)
    with pytest.raises(AssertionError, match="was opened before"):
        bank.open(name)


def test_every_worker_follows_with_the_next_request_and_after_its_death(tmp_path: Path) -> None:
    bank = Bank(tmp_path, workers=2)
    bank.serve()
    try:
        addresses: list[str] = json.loads(bank.ports.read_text())["workers"]
        frozen, opened = bank.freeze("other"), bank.open("g-0123456789abcdef")
        both = [("emergency_denied", "break_glass_allowed")] * 2

        def reasons() -> list[tuple[str, str]]:
            return [(bank.reason(ACCOUNT, each, client_id="other"), bank.reason(LOAN, each)) for each in addresses]

        assert both == reasons()
        for worker in range(2):
            os.kill(_status(bank)["workers"][worker]["pid"], signal.SIGKILL)
            assert until(lambda worker=worker: _is_back(bank, worker), 30)
        assert both == reasons()
        assert [("break_glass", "runtime"), ("freeze", "runtime")] == sorted(
            (each["kind"], each["source"]) for each in _status(bank)["emergencies"]
        )
        bank.end(frozen)
        bank.end(opened)
        assert [("policy_allowed", "no_policy_matched")] * 2 == reasons()
        for worker in range(2):
            kinds = _kinds(bank.journal / f"worker-{worker}")
            assert ["emergency_ended", "emergency_ended"] == kinds[-2:]
            assert "emergency_opened" in kinds
    finally:
        bank.stop()


def _status(bank: Bank) -> Any:

    return httpx.get(f"{bank.admin}/status").json()


def _is_back(bank: Bank, worker: int) -> bool:
    found = _status(bank)["workers"][worker]
    return bool(found["ready"] and found["restarts"] == 1)


def _kinds(journal: Path) -> list[str]:
    lines = [line for file in sorted(journal.glob("segment-*.ndjson")) for line in file.read_text().splitlines()]
    found = [json.loads(line)["event"].get("lifecycle", {}).get("kind", "") for line in lines]
    return [kind for kind in found if kind.startswith("emergency")]
