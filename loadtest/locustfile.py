"""Load on extauthz at a constant arrival rate: straight over gRPC, or over HTTP through Envoy; fails above the SLO.

Run by `make load` (which starts everything) or by hand against a running stack:

    locust -f loadtest/locustfile.py --headless -u 1 -t 60s --rate 1000 --slo-p99-ms 10 \
        --issuer http://127.0.0.1:9180/realms/banking-system --keys .demo/keys \
        --envoy http://127.0.0.1:10000 --grpc 127.0.0.1:9000 --html report.html GatewayUser

Latency counts from the moment a request was due, not from when it could be sent: a server that stalls is charged
for every request that had to wait (no coordinated omission).
"""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import gevent
import grpc
import grpc.experimental.gevent
from gevent.lock import BoundedSemaphore
from geventhttpclient import HTTPClient
from locust import User, events, task
from locust.env import Environment
from mix import HOST, Mix, Sample

from extauthz.cli.demo_stack import REALM, Issuer
from extauthz.cli.demo_tokens import Minter
from extauthz.wire.twin import Check, build_check, read_answer

grpc.experimental.gevent.init_gevent()

CHECK = "/envoy.service.auth.v3.Authorization/Check"
DEADLINE_SECONDS = 1.0
MAX_IN_FLIGHT = 512


@events.init_command_line_parser.add_listener
def _arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("extauthz")
    group.add_argument("--rate", type=float, default=200, help="requests a second, spread over all users")
    group.add_argument("--slo-p99-ms", type=float, default=10.0, help="the run fails when p99 is above")
    group.add_argument(
        "--slo-failures", type=float, default=0.0, help="the run fails above this share of wrong answers"
    )
    group.add_argument("--warm-up", type=float, default=3.0, help="seconds at the start that do not count")
    group.add_argument("--issuer", default="", help="issuer of the tokens")
    group.add_argument("--keys", default="", help="folder with the issuer's key.pem and jwks.json")
    group.add_argument("--envoy", default="", help="base URL of Envoy, for GatewayUser")
    group.add_argument("--grpc", default="", help="host:port of extauthz, for CheckUser")
    group.add_argument("--result", default="", help="write the verdict to this file as JSON")


class Ledger:
    """Exact latencies of what counts; locust itself rounds to whole milliseconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.wrong: dict[str, int] = {}
        self.started = time.monotonic()

    def add(self, due: float, warm_up: float, wrong: str) -> None:
        if due - self.started < warm_up:
            return
        self.seconds.append(time.monotonic() - due)
        if wrong:
            self.wrong[wrong] = self.wrong.get(wrong, 0) + 1

    def percentile_ms(self, share: float) -> float:
        """Nearest rank; 0 when nothing was measured."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1000 if ranked else 0.0


LEDGER = Ledger()


@events.test_start.add_listener
def _begin(environment: Environment, **_: Any) -> None:  # noqa: ARG001, ANN401 - locust's signature
    LEDGER.__init__()  # type: ignore[misc]


class ArrivalUser(User):  # type: ignore[misc]
    """Sends requests when they are due, whether or not earlier ones were answered."""

    abstract = True
    transport = ""

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.mix = Mix(Minter(Issuer(options.issuer.removesuffix(REALM), Path(options.keys))))
        self.interval = self.environment.runner.target_user_count / options.rate
        self.warm_up = options.warm_up
        self.slots = BoundedSemaphore(MAX_IN_FLIGHT)
        self.due = time.monotonic()

    @task
    def arrive(self) -> None:
        """One arrival: sleep until it is due, then send it beside the others."""
        self.due += self.interval
        if (wait := self.due - time.monotonic()) > 0:
            gevent.sleep(wait)
        if not self.slots.acquire(blocking=False):
            LEDGER.add(self.due, self.warm_up, "more than 512 requests in flight")
            return
        gevent.spawn(self._one, self.mix.draw(), self.due)

    def _one(self, sample: Sample, due: float) -> None:
        wrong = ""
        try:
            status = self.send(sample)
            if status != sample.expected:
                wrong = f"{sample.name}: expected {sample.expected}, got {status}"
        except Exception as error:  # noqa: BLE001 - any failure is a result of the run
            wrong = f"{sample.name}: {type(error).__name__}: {error}"
        finally:
            self.slots.release()
        LEDGER.add(due, self.warm_up, wrong)
        self.environment.events.request.fire(
            request_type=self.transport,
            name=sample.name,
            response_time=(time.monotonic() - due) * 1000,
            response_length=0,
            exception=AssertionError(wrong) if wrong else None,
        )

    def send(self, sample: Sample) -> int:
        """Send it and return the HTTP status the client gets."""
        raise NotImplementedError


class GatewayUser(ArrivalUser):
    """A client in front of Envoy."""

    transport = "http"

    def on_start(self) -> None:
        super().on_start()
        self.client = HTTPClient.from_url(
            self.environment.parsed_options.envoy, concurrency=MAX_IN_FLIGHT, network_timeout=5, connection_timeout=5
        )

    def send(self, sample: Sample) -> int:
        """Through Envoy, over kept-alive connections."""
        response = self.client.request(sample.method, sample.path, headers={**sample.headers, "host": HOST})
        response.read()
        return int(response.status_code)


class CheckUser(ArrivalUser):
    """An Envoy without Envoy: CheckRequests straight to the server, built and read by the second implementation."""

    transport = "grpc"

    def on_start(self) -> None:
        super().on_start()
        channel = grpc.insecure_channel(self.environment.parsed_options.grpc)
        self.check = channel.unary_unary(CHECK)

    def send(self, sample: Sample) -> int:
        """As the sidecar would ask about this request."""
        headers = tuple(sample.headers.items())
        raw = build_check(Check(method=sample.method, path=sample.path, host=HOST, headers=headers))
        return read_answer(self.check(raw, timeout=DEADLINE_SECONDS)).http_status


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:  # noqa: ANN401 - locust's signature
    """Fail the run when the SLO does not hold."""
    options = environment.parsed_options
    count, wrong = len(LEDGER.seconds), sum(LEDGER.wrong.values())
    percentiles = {name: round(LEDGER.percentile_ms(share), 3) for name, share in _SHARES.items()}
    problems = [
        *([] if count else ["no request was measured"]),
        *(
            []
            if percentiles["p99"] <= options.slo_p99_ms
            else [f"p99 {percentiles['p99']} ms > {options.slo_p99_ms} ms"]
        ),
        *([] if wrong <= options.slo_failures * count else [f"{wrong} of {count} answers were wrong"]),
    ]
    verdict = {"rate": options.rate, "measured": count, "wrong": wrong, "latency_ms": percentiles, "problems": problems}
    if options.result:
        Path(options.result).write_text(json.dumps(verdict | {"wrong_by_kind": LEDGER.wrong}, indent=2) + "\n")
    print(f"SLO {'broken' if problems else 'met'} at {options.rate:g} requests a second: {json.dumps(verdict)}")
    for kind, times in sorted(LEDGER.wrong.items(), key=lambda item: -item[1])[:10]:
        print(f"  {times} x {kind}")
    environment.process_exit_code = 1 if problems else 0


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
