"""What clients get while extauthz is gone, starved or changing: never a pass, and no longer than it must."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import httpx
import pytest

from extauthz.cli.demo_requests import MANAGER, OFFICER, Persona
from extauthz.cli.demo_stack import Server
from extauthz.cli.demo_tokens import Minter
from extauthz.journal import verify
from extauthz.journal.chain import parse_line
from extauthz.journal.record import read_decision
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

LOAN = "/api/loans/l-17"
BRANCHES = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: branches}
spec:
  effect: allow
  match: {hosts: [api.banking.local]}
  rules:
  - name: read
    from: [{roles: [banking-officer]}]
    to: [{methods: [GET], paths: [/api/branches/**]}]
"""
Bearer = Callable[[Persona], tuple[str, str]]


@pytest.fixture
def bearer(minter: Minter) -> Bearer:
    return lambda persona: ("authorization", f"Bearer {minter.mint(persona.claims, persona.forgery)}")


@pytest.fixture
def gateway(launch_envoy: Launch, own_bank: Server) -> Gateway:
    return launch_envoy(Variant(), authz_port=own_bank.port)


def decisions(journal: Path) -> set[str]:
    """Ids of all decisions in a journal."""
    lines = [line for file in journal.glob("segment-*.ndjson") for line in file.read_bytes().splitlines()]
    events = [read_decision(record.event) for record in map(parse_line, lines) if record]
    return {event.decision_id for event in events if event}


def test_t59_a_killed_server_is_a_503(gateway: Gateway, own_bank: Server, bearer: Bearer) -> None:
    assert 200 == gateway.h1(LOAN, [bearer(MANAGER)]).status
    own_bank.child.kill()
    assert {503} == {gateway.h1(LOAN, [bearer(MANAGER)]).status for _ in range(20)}


def test_a_stopped_server_ends_with_status_0_and_is_a_503(gateway: Gateway, own_bank: Server, bearer: Bearer) -> None:
    assert 200 == gateway.h1(LOAN, [bearer(MANAGER)]).status
    assert 0 == own_bank.child.stop()
    assert 503 == gateway.h1(LOAN, [bearer(MANAGER)]).status


def test_what_a_client_saw_before_kill_9_is_in_the_journal(gateway: Gateway, own_bank: Server, bearer: Bearer) -> None:
    """Durability `process`: the record is with the kernel before the answer."""
    headers = [bearer(MANAGER)]
    killer = threading.Timer(1.0, own_bank.child.kill)
    killer.start()
    seen = []
    while (answer := gateway.h1(LOAN, headers)).status == 200:
        seen.append(answer.header("x-authz-decision-id"))
    killer.join()
    assert len(seen) > 20
    assert not set(seen) - decisions(own_bank.journal)
    assert verify(own_bank.journal).ok


def test_a_hundred_reloads_under_load_neither_fail_nor_mix(
    gateway: Gateway, own_bank: Server, bearer: Bearer, tmp_path: Path
) -> None:
    """Every other bundle is broken; the manager always passes, the officer never does."""
    manager, officer = [bearer(MANAGER)], [bearer(OFFICER)]
    statuses: Counter[tuple[str, int]] = Counter()
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            statuses["manager", gateway.h1(LOAN, manager).status] += 1
            statuses["officer", gateway.h1(LOAN, officer).status] += 1

    client = threading.Thread(target=load)
    client.start()
    about = tmp_path / "bundle" / "bundle.yaml"
    good = about.read_text()
    for number in range(100):
        content = good.replace("banking-1", f"banking-{number}") if number % 2 else good + "\nspec: [broken"
        fresh = about.with_suffix(".new")
        fresh.write_text(content)
        fresh.rename(about)
        time.sleep(0.05)
    _await(lambda: httpx.get(f"{own_bank.admin}/status").text.find("banking-99") > 0)
    done.set()
    client.join()
    assert {("manager", 200), ("officer", 403)} == set(statuses)
    assert statuses.total() > 200


def test_a_policy_change_is_in_force_within_two_seconds(
    gateway: Gateway, own_bank: Server, bearer: Bearer, tmp_path: Path
) -> None:
    officer = [bearer(OFFICER)]
    assert 403 == gateway.h1("/api/branches/b-1", officer).status
    (tmp_path / "bundle" / "policies" / "branches.yaml").write_text(BRANCHES)
    began = time.monotonic()
    _await(lambda: gateway.h1("/api/branches/b-1", officer).status == 200)
    assert time.monotonic() - began < 2


def test_a_bundle_that_fails_its_own_tests_is_not_activated(
    gateway: Gateway, own_bank: Server, bearer: Bearer, tmp_path: Path
) -> None:
    """The example's tests say that officers do not see loans; a change that lets them is rejected."""
    staff = tmp_path / "bundle" / "policies" / "staff.yaml"
    widened = staff.read_text().replace("roles: [banking-manager,", "roles: [banking-officer, banking-manager,")
    assert widened != staff.read_text()
    staff.write_text(widened)
    rejected = 'extauthz_bundle_activations_total{result="rejected"} 1.0'
    _await(lambda: rejected in httpx.get(f"{own_bank.admin}/metrics").text)
    assert 403 == gateway.h1(LOAN, [bearer(OFFICER)]).status
    assert 200 == gateway.h1(LOAN, [bearer(MANAGER)]).status


def test_a_slow_answer_is_a_503_at_the_timeout(launch_envoy: Launch) -> None:
    """A server that never answers costs the client Envoy's timeout and no more."""

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    release = threading.Event()

    def hang(_: bytes, __: grpc.ServicerContext) -> bytes:
        release.wait(5)
        return b""

    handler = grpc.method_handlers_generic_handler(
        "envoy.service.auth.v3.Authorization", {"Check": grpc.unary_unary_rpc_method_handler(hang)}
    )
    server.add_generic_rpc_handlers([handler])
    server.start()
    gateway = launch_envoy(Variant(timeout="0.1s", health_check=False), authz_port=port)
    began = time.monotonic()
    assert 503 == gateway.h1(LOAN).status
    assert time.monotonic() - began < 1
    release.set()
    server.stop(0).wait()


def _await(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)
