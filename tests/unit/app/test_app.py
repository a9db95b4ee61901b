"""The whole server in this process: real ports, real journal, real bundle."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

import extauthz.handler
from extauthz.app import Addresses, Server, StartError, build
from extauthz.journal import verify
from extauthz.settings import load_settings
from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.documents import PUBLIC

CHECK = "/envoy.service.auth.v3.Authorization/Check"


class Running:
    """A started server and its clients."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.bundle = directory / "bundle"
        self.bundle.mkdir(parents=True, exist_ok=True)
        (self.bundle / "bundle.yaml").write_text(PUBLIC)
        self.journal = directory / "journal"
        values = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "bundle.directory": self.bundle,
            "bundle.pollSeconds": 0.1,
            "journal.directory": self.journal,
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        flags = [f"{key}={value}" for key, value in values.items()]
        self.server: Server = build(load_settings(None, {}, flags))
        self.addresses: Addresses = self.server.start()
        self.channel = grpc.insecure_channel(self.addresses.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stopped = False

    def ask(self, path: str = "/public/a") -> Answer:
        raw = build_check(Check(host="open.test", path=path))
        return read_answer(self.channel.unary_unary(CHECK)(raw, timeout=10))

    def nonces(self) -> tuple[bytes, ...]:
        current = self.server._live.current
        assert current is not None
        return current.nonces.keys

    def metrics(self) -> str:
        return httpx.get(f"http://{self.addresses.admin}/metrics").text

    def status(self) -> Any:
        return httpx.get(f"http://{self.addresses.admin}/status").json()

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.server.stop(lambda _seconds: False)
            self.channel.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(found)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path, transport__drainGraceSeconds=5)
    yield server
    server.stop()


def test_checks_are_counted_by_reason_in_metrics_and_status(running: Running) -> None:
    running.ask()
    running.ask("/other")
    text = running.metrics()
    assert 'extauthz_checks_total{outcome="allow",profile="open",reason="policy_allowed"} 1.0' in text
    assert 'extauthz_bundle_activations_total{result="activated"} 1.0' in text
    assert "extauthz_inflight_checks 0.0" in text
    status = running.status()
    assert {"policy_allowed": 1, "no_policy_matched": 1} == status["decisions"]
    assert (True, [], "none") == (status["ready"], status["notReadyBecause"], status["transport"]["tls"])
    assert 64 == len(status["configDigest"])


def test_a_changed_bundle_is_in_force_within_two_seconds_and_on_record(running: Running) -> None:
    before = running.status()["bundle"]["digest"]
    (running.bundle / "bundle.yaml").write_text(PUBLIC.replace("/public/**", "/open/**"))
    began = time.monotonic()
    assert until(lambda: not running.ask().allowed)
    assert time.monotonic() - began < 2
    assert running.ask("/open/a").allowed
    assert before != running.status()["bundle"]["digest"]
    running.stop()
    text = "".join(file.read_text() for file in sorted(running.journal.glob("segment-*.ndjson")))
    assert 2 == text.count("bundle_activated")


def test_dp_19_new_keys_of_nonces_are_in_force_and_on_record_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "nonce.key"
    file.write_text("o" * 44)
    running = Running(tmp_path / "server", dpop__nonceKeyFile=str(file))
    try:
        assert (b"o" * 44,) == running.nonces()
        file.write_text(f"{'n' * 44}\n{'o' * 44}")
        assert until(lambda: running.nonces() == (b"n" * 44, b"o" * 44))
        file.write_text("")
        (running.bundle / "bundle.yaml").write_text(PUBLIC.replace("/public/**", "/open/**"))
        assert until(lambda: running.ask("/open/a").allowed)
        assert (b"n" * 44, b"o" * 44) == running.nonces()
    finally:
        running.stop()
    text = "".join(file.read_text() for file in sorted(running.journal.glob("segment-*.ndjson")))
    assert 1 == text.count('"kind":"configuration_changed","detail":{"changed":"dpop.nonceKeyFile","keys":"2"}')
    assert "n" * 44 not in text


@pytest.mark.parametrize(("kind", "most"), [("stock", 4), ("loop", 1)])
def test_drain_answers_and_records_what_is_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, most: int
) -> None:
    """The loop decides one batch at a time; the others are still in grpc's hands, and are answered all the same."""
    running = Running(tmp_path, transport__kind=kind)
    gate, entered = hold_decisions(monkeypatch)
    raw = build_check(Check(host="open.test", path="/public/a"))
    calls = [running.channel.unary_unary(CHECK).future(raw, timeout=20) for _ in range(4)]
    assert until(entered.is_set)
    assert until(lambda: _inflight(running) >= most)
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    ready = f"http://{running.addresses.admin}/readyz"
    assert until(lambda: httpx.get(ready).json()["reasons"] == ["the server is draining"])
    gate.set()
    answers = [read_answer(call.result()) for call in calls]
    stopping.join(10)
    assert not stopping.is_alive()
    assert all(answer.allowed for answer in answers)
    text = "".join(file.read_text() for file in running.journal.glob("segment-*.ndjson"))
    assert all(answer.metadata["decision_id"] in text for answer in answers)
    assert verify(running.journal).ok


def test_a_stop_needs_no_thread_that_the_machine_does_not_give(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener is gone and the journal sealed all the same."""
    assert running.ask().allowed
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "closing":
            message = "can't start new thread"
            raise RuntimeError(message)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    running.stop()
    records = [json.loads(line) for file in running.journal.glob("*.ndjson") for line in file.read_text().splitlines()]
    assert "stopped" in json.dumps([record["event"].get("lifecycle", {}) for record in records if "event" in record])
    host, _, port = running.addresses.grpc.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 1)


def test_checks_that_come_together_are_decided_together_with_one_write_to_the_journal(tmp_path: Path) -> None:
    running = Running(tmp_path, transport__kind="loop", transport__maxQueueSeconds=1)
    raw = build_check(Check(host="open.test", path="/public/a"))
    call = running.channel.unary_unary(CHECK)
    for _ in range(20):
        running.ask()
    alone = _journal(running)
    for _ in range(5):
        futures = [call.future(raw, timeout=20) for _ in range(100)]
        assert all(read_answer(future.result()).allowed for future in futures)
    together = _journal(running)
    running.stop()
    assert together["records"] - alone["records"] == 500
    assert 0 < together["writes"] - alone["writes"] < 400
    assert verify(running.journal).ok


def _journal(running: Running) -> dict[str, float]:
    lines = running.metrics().splitlines()
    start = 'extauthz_journal_{}_total{{sink="journal"}} '
    return {
        name: next(float(line.split()[1]) for line in lines if line.startswith(start.format(name)))
        for name in ("records", "writes")
    }


def _inflight(running: Running) -> float:
    line = next(line for line in running.metrics().splitlines() if line.startswith("extauthz_inflight_checks "))
    return float(line.split()[1])


def hold_decisions(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Decisions wait for the first event; the second says that one does."""
    gate, entered, advance = threading.Event(), threading.Event(), extauthz.handler.advance

    def slow(*arguments: Any) -> Any:
        entered.set()
        gate.wait(10)
        return advance(*arguments)

    monkeypatch.setattr(extauthz.handler, "advance", slow)
    return gate, entered


def test_overload_is_counted_by_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(tmp_path, transport__kind="stock", transport__threads=1, transport__maxConcurrent=1)
    gate, _ = hold_decisions(monkeypatch)
    raw = build_check(Check(host="open.test", path="/public/a"))
    call = running.channel.unary_unary(CHECK).future(raw, timeout=20)
    assert until(lambda: "extauthz_inflight_checks 1.0" in running.metrics())
    answer = running.ask()
    assert (503, "overloaded") == (answer.http_status, answer.metadata["reason"])
    assert 'extauthz_shed_total{cause="queue"} 1.0' in running.metrics()
    gate.set()
    assert read_answer(call.result()).allowed
    running.stop()


def test_a_failed_start_gives_everything_back(tmp_path: Path) -> None:
    first = Running(tmp_path)
    with pytest.raises(StartError, match="address already in use"):
        Running(tmp_path / "b", admin__address=first.addresses.admin)
    with pytest.raises(StartError, match="journal"):
        Running(tmp_path / "c", journal__directory=first.journal, listen__address=f"unix:{tmp_path / 's'}")
    assert not (tmp_path / "s").exists()
    assert first.ask().allowed
    first.stop()
    again = Running(tmp_path, listen__address=first.addresses.grpc, admin__address=first.addresses.admin)
    assert first.addresses == again.addresses
    assert again.ask().allowed
    again.stop()


def test_tls_files_are_looked_at_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"the key `none[.]key` cannot"):
        Running(tmp_path, listen__tls__certificate="none.crt", listen__tls__key="none.key")
    assert not (tmp_path / "journal").exists()
