"""SIGTERM while Checks wait for the outside: each gets an explicit answer, and the journal has every decision.

Each case runs `extauthz serve` as a process of its own, on both transports.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest

from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.authorization_server import AuthorizationServer, body
from tests.documents import ACCOUNTS, introspected
from tests.faults.process import Started, until
from tests.unit.identity.proofs import a_proof, hash_of, thumbprint_of
from tests.unit.identity.tokens import EC
from tests.unit.sources.test_redis_replay import Server as Redis

CHECK = "/envoy.service.auth.v3.Authorization/Check"
PROVEN = """
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: proven}
spec:
  match: {hosts: [proven.test], paths: [/**]}
  authentication: {issuers: [bank]}
  senderConstraint: {accept: [dpop]}
"""
WAITING = 8


class Waiting(Started):
    """A server whose issuer keeps Checks waiting until `gate` opens."""

    def __init__(self, directory: Path, issuer: AuthorizationServer, transport: str) -> None:
        super().__init__(directory)
        (self.bundle / "bundle.yaml").write_text(
            "---".join((introspected(issuer.endpoint, "only: true, timeoutSeconds: 20"), PROVEN, ACCOUNTS))
        )
        (directory / "secret").write_text("s3cret")
        self.issuer, self.gate = issuer, threading.Event()
        self.set |= {
            "introspection.clients": f"{{bank: {{clientId: rs, clientSecretFile: {directory / 'secret'}}}}}",
            "introspection.allowHttpLoopback": "true",
            "transport.kind": transport,
            "transport.maxWaiting": WAITING,
        }

    def hold(self) -> None:
        """From now on the issuer answers only when the gate is open."""
        self.issuer.respond = lambda request: (self.gate.wait(30), body(active())(request))[1]

    def send(self, channel: grpc.Channel, host: str, headers: tuple[tuple[str, str], ...]) -> Any:
        raw = build_check(Check(host=host, path="/a", headers=headers))
        return channel.unary_unary(CHECK).future(raw, timeout=25)

    def are_waiting(self, count: int = WAITING) -> bool:
        return until(lambda: f"extauthz_waiting_checks {count}.0\n" in httpx.get(f"{self.admin}/metrics").text, 20)

    def terminate(self, times: int = 1) -> None:
        assert self.process
        for _ in range(times):
            self.process.send_signal(signal.SIGTERM)
            assert until(self.is_draining)

    def is_draining(self) -> bool:
        try:
            return self.ready() == (503, ["the server is draining"])
        except httpx.TransportError:
            return True

    def ended(self) -> list[dict[str, Any]]:
        """Wait for the end; the decisions in its journal, which verifies."""
        assert self.process
        _, err = self.process.communicate(timeout=30)
        assert 0 == self.process.returncode, err
        command = [sys.executable, "-m", "extauthz", "audit", "verify", str(self.journal)]
        verified = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
        assert 0 == verified.returncode, verified.stdout + verified.stderr
        lines = [line for file in sorted(self.journal.glob("*.ndjson")) for line in file.read_text().splitlines()]
        events = [json.loads(line)["event"] for line in lines]
        return [event["decision"] for event in events if "decision" in event]


def active(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"active": True, "sub": "alice", "aud": "accounts", "exp": now + 300, "scope": "accounts", **more}


def answers(calls: list[Any]) -> list[Answer]:
    """Each explicit, never an error of gRPC, which Envoy might let through."""
    return [read_answer(call.result()) for call in calls]


@pytest.fixture
def issuer() -> Iterator[AuthorizationServer]:
    made = AuthorizationServer()
    yield made
    made.close()


@pytest.fixture(params=["loop", "stock"])
def server(tmp_path: Path, issuer: AuthorizationServer, request: pytest.FixtureRequest) -> Iterator[Waiting]:
    started = Waiting(tmp_path, issuer, request.param)
    yield started
    started.gate.set()
    if started.process and started.process.poll() is None:
        started.process.kill()
        started.process.communicate(timeout=10)


def ids(found: list[Answer]) -> set[str]:
    return {answer.metadata["decision_id"] for answer in found}


def test_checks_that_wait_for_an_issuer_are_decided_before_the_server_ends(server: Waiting) -> None:
    server.hold()
    server.serve()
    with grpc.insecure_channel(server.grpc) as channel:
        calls = [server.send(channel, "api.test", (("authorization", f"Bearer t{at}"),)) for at in range(WAITING)]
        assert server.are_waiting()
        server.terminate()
        assert not any(call.done() for call in calls)
        server.gate.set()
        found = answers(calls)
        assert all(answer.allowed for answer in found)
    decisions = server.ended()
    assert ids(found) == {decision["decision_id"] for decision in decisions}
    assert WAITING == len(decisions)


def test_checks_that_wait_for_a_shared_replay_store_are_decided_before_the_server_ends(
    server: Waiting, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    redis = Redis(tmp_path / "redis")
    try:
        server.set |= {
            "dpop.replay.store": "redis",
            "dpop.replay.redis.url": redis.url,
            "dpop.replay.redis.timeoutSeconds": 5,
        }
        server.issuer.respond = body(active(cnf={"jkt": thumbprint_of(EC)}))
        server.serve()
        with grpc.insecure_channel(server.grpc) as channel, redis.client() as client:
            assert (
                "proof_missing"
                == answers([server.send(channel, "proven.test", (("authorization", "DPoP t"),))])[0].metadata["reason"]
            )
            client.execute_command("CLIENT", "PAUSE", "3000", "ALL")
            calls = [
                server.send(channel, "proven.test", (("authorization", "DPoP t"), ("dpop", proof("t"))))
                for _ in range(WAITING)
            ]
            assert server.are_waiting()
            server.terminate()
            assert not any(call.done() for call in calls)
            found = answers(calls)
            assert all(answer.allowed for answer in found), found
        decisions = server.ended()
        assert ids(found) < {decision["decision_id"] for decision in decisions}
        assert WAITING + 1 == len(decisions)
    finally:
        redis.stop()


@pytest.mark.parametrize("signals", [1, 2])
def test_who_waits_for_longer_than_the_drain_may_take_is_told_so(server: Waiting, signals: int) -> None:
    """Once the grace is over, or at a second signal."""
    server.set["transport.drainGraceSeconds"] = 1 if signals == 1 else 60
    server.hold()
    server.serve()
    with grpc.insecure_channel(server.grpc) as channel:
        calls = [server.send(channel, "api.test", (("authorization", f"Bearer t{at}"),)) for at in range(WAITING)]
        assert server.are_waiting()
        server.terminate(signals)
        found = answers(calls)
        said = {(each.allowed, each.http_status, each.metadata["reason"]) for each in found}
        assert {(False, 503, "introspection_unavailable")} == said
    assert not server.gate.is_set()
    decisions = server.ended()
    assert ids(found) == {decision["decision_id"] for decision in decisions}


def proof(token: str) -> str:
    made = {"jti": uuid4().hex, "htu": "https://proven.test/a", "iat": int(time.time()), "ath": hash_of(token)}
    return a_proof(made)
