"""Load on extauthz at a constant arrival rate: over HTTP/2 through Envoy, or straight over gRPC; fails above the SLO.

Run by `make load` and `make slo` (which start everything) or by hand against a running stack, alone or distributed:

    locust -f loadtest/locustfile.py --headless -u 1 -t 60s --rate 1000 --slo-p99-ms 10 \
        --issuer http://127.0.0.1:9180/realms/banking-system --keys .demo/keys \
        --envoy http://127.0.0.1:10000 --html report.html GatewayUser

Each locust user is a client of its own with a share of the rate; a request is sent when it is due, whatever became of
earlier ones, and its latency counts from then: a server that stalls is charged for everything that had to wait.
"""

import gc
import json
import random
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
from locust import User, events, task
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from extauthz.cli.demo_stack import REALM, Issuer
from extauthz.cli.demo_tokens import Minter
from loadtest.header_blocks import literal
from loadtest.http2 import Answer, Question
from loadtest.ledger import CHECKED, PLAIN, Ledger
from loadtest.mix import HOST, Mix, Sample
from loadtest.openloop import Client, sharp_timers, turn
from loadtest.questions import check_request, framed, grpc_headers, read_answer

CONNECTIONS = 4
TIMEOUT = 5.0  # longer than any verdict: a slow answer is measured, not cut off
_EDGE = 0.05  # seconds after a change of the route that do not count: the last of the other route is still under way
_LONGEST_TURN = 0.01
_RUNNING = (STATE_SPAWNING, STATE_RUNNING)


@events.init_command_line_parser.add_listener
def _arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("extauthz")
    group.add_argument("--rate", type=float, default=200, help="requests a second, of all users together")
    group.add_argument("--share", type=int, default=1, help="users among whom the rate is shared: as many as -u")
    group.add_argument("--slo-p99-ms", type=float, default=10.0, help="the run fails when p99 is above")
    group.add_argument(
        "--slo-failures", type=float, default=0.0, help="the run fails above this share of wrong answers"
    )
    group.add_argument("--warm-up", type=float, default=3.0, help="seconds at the start that do not count")
    group.add_argument("--issuer", default="", help="issuer of the tokens")
    group.add_argument("--keys", default="", help="folder with the issuer's key.pem and jwks.json")
    group.add_argument("--tokens", default="", help="file with tokens that were minted before")
    group.add_argument("--envoy", default="", help="base URL of Envoy, for GatewayUser")
    group.add_argument("--plain", default="", help="base URL of the same without ext_authz: both are used by turns")
    group.add_argument("--slice", type=float, default=1.0, help="seconds of one turn")
    group.add_argument("--grpc", default="", help="host:port of extauthz, for CheckUser")
    group.add_argument("--result", default="", help="write the verdict to this file as JSON")


class Run:
    """What this process of locust keeps of the run."""

    ledger = Ledger()
    shares: dict[str, float] = {}  # noqa: RUF012 - one run a process


@events.test_start.add_listener
def _begin(environment: Environment, **_: Any) -> None:  # noqa: ARG001, ANN401 - locust's signature
    Run.ledger, Run.shares = Ledger(), {}


@events.report_to_master.add_listener
def _report(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - locust's signature
    data["extauthz"] = Run.ledger.take()


@events.worker_report.add_listener
def _collect(client_id: str, data: dict[str, Any]) -> None:
    Run.ledger.merge(client_id, data["extauthz"], Run.shares)


class Sent(NamedTuple):
    """What came with a question."""

    route: str
    sample: Sample
    counts: bool


class ArrivalUser(User):  # type: ignore[misc]
    """Sends requests when they are due, whether or not earlier ones were answered."""

    abstract = True
    transport = ""

    def on_start(self) -> None:
        options = self.options = self.environment.parsed_options
        sharp_timers()
        self.mix = Mix(Minter(Issuer(options.issuer.removesuffix(REALM), Path(options.keys))), seed=id(self))
        if options.tokens:
            self.mix.load(Path(options.tokens))
        self.mix.mint_all()
        self.clients: dict[str, Client] = self.connect()
        gc.collect()
        gc.freeze()  # or the collector looks at all of locust now and then, which the server would be charged with
        Run.ledger.begin()
        self.mean = options.share / options.rate
        self.random = random.Random(id(self))
        self.due = perf_counter()
        self.counted_from = self.due + options.warm_up
        # The wall clock, so that all processes of a run take the same route at the same time.
        self.to_wall = time.time() - perf_counter()

    def on_stop(self) -> None:
        for client in self.clients.values():
            client.close()

    @task
    def arrive(self) -> None:
        """Ask what is due, count what was answered, let locust's own greenlets run; until the run ends."""
        while self.environment.runner.state in _RUNNING:
            now = perf_counter()
            while self.due <= now:
                sample = self.mix.draw()
                route, counts = self.route(self.due)
                Run.ledger.late.append(now - self.due)
                question = self.question(sample)._replace(label=Sent(route, sample, counts))
                self.clients[route].ask(question, self.due)
                self.due += self.random.expovariate(1 / self.mean)
            self.count(turn(self.clients.values(), min(self.due - perf_counter(), _LONGEST_TURN)))
            gevent.sleep(0)
        end = perf_counter() + TIMEOUT
        while any(client.in_flight for client in self.clients.values()) and perf_counter() < end:
            self.count(turn(self.clients.values(), _LONGEST_TURN))
            gevent.sleep(0)

    def route(self, due: float) -> tuple[str, bool]:
        """The route of the moment, and whether it counts."""
        wall = due + self.to_wall
        counts = due >= self.counted_from
        if PLAIN not in self.clients:
            return CHECKED, counts
        turn, within = divmod(wall, self.options.slice)
        return (CHECKED if turn % 2 else PLAIN), counts and within >= _EDGE

    def count(self, answers: Iterable[Answer]) -> None:
        """Into the ledger, and into locust's own statistics."""
        for answer in answers:
            sent: Sent = answer.question.label
            expected = sent.sample.expected if sent.route == CHECKED else 200
            status = self.status(answer) if answer.kind > 0 else answer.kind
            wrong = "" if status == expected else f"{sent.sample.name}: expected {expected}, got {status}"
            latency = answer.ended - answer.due
            if sent.counts:
                Run.ledger.add(sent.route, latency, wrong)
            self.environment.events.request.fire(
                request_type=f"{self.transport} {sent.route}",
                name=sent.sample.name,
                response_time=latency * 1000,
                response_length=len(answer.body),
                exception=AssertionError(wrong) if wrong else None,
            )

    def connect(self) -> dict[str, Client]:
        """A client for each route."""
        raise NotImplementedError

    def question(self, sample: Sample) -> Question:
        """As it goes onto the wire."""
        raise NotImplementedError

    def status(self, answer: Answer) -> int:
        """What the HTTP client gets."""
        raise NotImplementedError


class GatewayUser(ArrivalUser):
    """Clients in front of Envoy, over HTTP/2."""

    transport = "http"

    def connect(self) -> dict[str, Client]:
        bases = {CHECKED: self.options.envoy, PLAIN: self.options.plain}
        pseudo = ((":method", "GET"), (":scheme", "http"), (":authority", HOST))
        return {
            route: Client(_address(base), pseudo, connections=CONNECTIONS, timeout=TIMEOUT, read_status=True)
            for route, base in bases.items()
            if base
        }

    def question(self, sample: Sample) -> Question:
        return Question(literal(((":path", sample.path), *sample.headers.items())), b"")

    def status(self, answer: Answer) -> int:
        return answer.kind


class CheckUser(ArrivalUser):
    """An Envoy without Envoy: CheckRequests straight to the server."""

    transport = "grpc"

    def connect(self) -> dict[str, Client]:
        address = _address(f"//{self.options.grpc}")
        return {CHECKED: Client(address, grpc_headers(TIMEOUT), connections=CONNECTIONS, timeout=TIMEOUT)}

    def question(self, sample: Sample) -> Question:
        return Question(b"", framed(check_request(sample.headers, sample.path, sample.method)))

    def status(self, answer: Answer) -> int:
        return read_answer(answer.body)[0]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:  # noqa: ANN401 - locust's signature
    """Fail the run when the SLO does not hold; of several processes the master judges."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options: Any = environment.parsed_options
    verdict = Run.ledger.verdict({"p99": options.slo_p99_ms}, options.slo_failures)
    verdict["processes"] = len(Run.shares) if isinstance(environment.runner, MasterRunner) else 1
    if options.result:
        Path(options.result).write_text(json.dumps({"rate": options.rate, **verdict}, indent=1) + "\n")
    print(f"SLO {'broken' if verdict['problems'] else 'met'} at {options.rate:g} requests a second:")
    for route, found in verdict["routes"].items():
        print(f"  {route:8} {json.dumps(found)}")
    print(f"  locust used {verdict['client_share']} of a core, and was late by {verdict['client_late_ms']} ms")
    for kind, times in sorted(Run.ledger.wrong.items(), key=lambda item: -item[1])[:10]:
        print(f"  {times} x {kind}")
    for problem in verdict["problems"]:
        print(f"  {problem}")
    environment.process_exit_code = 1 if verdict["problems"] else 0
