"""Two workers behind real Envoys, as the shipped configuration lists them: one of them dies, and nobody notices."""

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from extauthz.cli.demo_requests import MANAGER, OFFICER
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, copy_bundle, start_server
from extauthz.cli.demo_tokens import Minter
from extauthz.journal.chain import parse_line
from extauthz.journal.places import verify_all
from extauthz.journal.record import read_decision
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import AUTHZ_CLUSTER, Variant

LOAN = "/api/loans/l-17"
RATE = 50  # requests a second
CLIENTS = 5


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("bank")
    with ExitStack() as stack:
        bundle = copy_bundle(CHECKOUT / "examples" / "banking", work / "bundle", issuer)
        yield start_server(work, stack, bundle, ["workers.count=2", "transport.drainDelaySeconds=2"])


@pytest.fixture(scope="module")
def gateways(launch_envoy: Launch, bank: Server) -> list[Gateway]:
    """The demo's Envoy, and one as istiod makes it of deploy/istio."""
    return [launch_envoy(variant, authz_port=bank.ports) for variant in (Variant(), Variant(failover=True))]


class Load:
    """Steady requests until `stop`: a manager who may, and an officer who may not."""

    def __init__(self, gateways: list[Gateway], minter: Minter) -> None:
        self.answers: list[tuple[str, int, str]] = []  # who, status, decision id
        self._gateways, self._done = gateways, threading.Event()
        people = {
            who: [("authorization", f"Bearer {minter.mint(persona.claims)}")]
            for who, persona in (("may", MANAGER), ("may not", OFFICER))
        }
        self._threads = [
            threading.Thread(target=self._run, args=(number, *[*people.items()][number % 2]))
            for number in range(CLIENTS)
        ]
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def _run(self, number: int, who: str, headers: list[tuple[str, str]]) -> None:
        turn = number
        while not self._done.wait(max(0.0, self._began + turn / RATE - time.monotonic())):
            answer = self._gateways[turn % len(self._gateways)].h1(LOAN, headers)
            self.answers.append((who, answer.status, answer.header("x-authz-decision-id") or ""))
            turn += CLIENTS

    def await_more(self, count: int) -> None:
        wanted, deadline = len(self.answers) + count, time.monotonic() + 30
        while len(self.answers) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> list[tuple[str, int, str]]:
        self._done.set()
        for thread in self._threads:
            thread.join()
        return self.answers


def workers(bank: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{bank.admin}/status").json()["workers"]
    return found


def checks(bank: Server) -> tuple[int, list[int]]:
    """Of one scrape: Checks in all, and of each worker."""
    text = httpx.get(f"{bank.admin}/metrics").text
    total = re.findall(r"^extauthz_checks_total\S+ (\S+)$", text, re.MULTILINE)
    each = re.findall(r'^extauthz_worker_checks_total\{worker="\d"\} (\S+)$', text, re.MULTILINE)
    return sum(int(float(count)) for count in total), [int(float(count)) for count in each]


def decisions(journal: Path) -> Counter[str]:
    """Ids of all decisions in the journals of all workers."""
    lines = [line for file in journal.glob("worker-*/segment-*.ndjson") for line in file.read_bytes().splitlines()]
    events = [read_decision(record.event) for record in map(parse_line, lines) if record]
    return Counter(event.decision_id for event in events if event)


def stat(gateways: list[Gateway], name: str) -> list[int]:
    return [gateway.envoy.stat(f"cluster.{AUTHZ_CLUSTER}.{name}") for gateway in gateways]


def await_restart(bank: Server, gateways: list[Gateway], worker: int, restarts: int) -> None:
    """Until the worker is back, and both Envoys know."""
    deadline = time.monotonic() + 30
    while not (
        workers(bank)[worker]["restarts"] == restarts
        and workers(bank)[worker]["ready"]
        and stat(gateways, "membership_healthy") == [len(bank.ports)] * len(gateways)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_scrape_adds_up_what_both_workers_have_answered(
    gateways: list[Gateway], bank: Server, minter: Minter
) -> None:
    """Envoy asks both, and the sum is the number of requests."""
    headers = [("authorization", f"Bearer {minter.mint(MANAGER.claims)}")]
    before, _ = checks(bank)
    assert {200} == {gateway.h1(LOAN, headers).status for gateway in gateways for _ in range(30)}
    counted, each = checks(bank)
    assert (60, counted) == (counted - before, sum(each))
    assert min(each) > 0


def test_a_worker_that_is_asked_to_end_is_left_alone_before_it_closes(
    gateways: list[Gateway], bank: Server, minter: Minter
) -> None:
    """Worker by worker, a server restarts without a request that fails."""
    load = Load(gateways, minter)
    load.await_more(25)
    os.kill(workers(bank)[0]["pid"], signal.SIGTERM)
    await_restart(bank, gateways, 0, 1)
    load.await_more(25)
    assert {("may", 200), ("may not", 403)} == {(who, status) for who, status, _ in load.stop()}


def test_a_worker_killed_under_load_costs_no_request_and_is_back_while_every_answer_is_on_record(
    gateways: list[Gateway], bank: Server, minter: Minter
) -> None:
    (before, _), recorded_before = checks(bank), decisions(bank.journal)
    retried_before = sum(stat(gateways, "upstream_rq_retry"))
    load = Load(gateways, minter)
    for victim, restarts in ((1, 1), (0, 2)):
        load.await_more(50)
        os.kill(workers(bank)[victim]["pid"], signal.SIGKILL)
        await_restart(bank, gateways, victim, restarts)
    answers = load.stop()
    assert {("may", 200), ("may not", 403)} == {(who, status) for who, status, _ in answers}
    recorded = decisions(bank.journal) - recorded_before
    assert not {decision for _, _, decision in answers} - recorded.keys()
    retried = sum(stat(gateways, "upstream_rq_retry")) - retried_before
    assert len(answers) <= recorded.total() <= len(answers) + retried
    counted, each = checks(bank)
    assert counted == sum(each)
    # Only what the two had counted since they were last asked, some 0.2 s before their end, may be missing.
    assert recorded.total() - RATE <= counted - before <= recorded.total()
    assert all(report.holds for report in verify_all(bank.journal))
