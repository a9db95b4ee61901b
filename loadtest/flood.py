"""Good tokens beside a flood of forged ones, over the real server: their p99 with and without, A B A B.

First the server's capacity for forged tokens is found, with so few calls in flight that none is shed. Then good tokens
come at a constant rate; in every other phase processes of their own send forged ones at twice that capacity, each
forgery another, so that no cache helps. Latency counts from when a call was due. Reports, does not judge: what floods
and what is flooded share one machine here.
"""

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any

import grpc
import tokens
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

CHECK = "/envoy.service.auth.v3.Authorization/Check"
DEADLINE_SECONDS = 1.0
IN_FLIGHT = 512  # of all processes that flood
FEW_IN_FLIGHT = 8  # the same, while capacity is looked for
FORGERIES = 500
GOOD = 200  # subjects in rotation
STARTED_SECONDS = 30


class Ledger:
    """Latencies and reasons of one phase."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.reasons: Counter[str] = Counter()
        self._lock = Lock()

    def add(self, due: float, call: Any) -> None:  # noqa: ANN401 - a grpc.Future
        """Count a finished call."""
        elapsed = (time.perf_counter() - due) * 1e3
        error = call.exception()
        reason = type(error).__name__ if error else _reason(call.result())
        with self._lock:
            self.milliseconds.append(elapsed)
            self.reasons[reason] += 1

    def percentile(self, share: float) -> float:
        """Milliseconds, nearest rank."""
        ranked = sorted(self.milliseconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def _reason(raw: bytes) -> str:
    answer = CheckResponse.FromString(raw)
    fields = answer.dynamic_metadata.fields
    return fields["reason"].string_value if "reason" in fields else f"status {answer.status.code}"


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """A server of its own with the bundle of `tokens`; its gRPC address."""
    bundle, ports = directory / "bundle", directory / "ports.json"
    bundle.mkdir()
    for name, content in tokens.files().items():
        (bundle / name).write_bytes(content)
    values = {
        "listen.address": "127.0.0.1:0",
        "admin.address": "127.0.0.1:0",
        "bundle.directory": bundle,
        "journal.directory": directory / "journal",
    }
    flags = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "extauthz", "serve", "--ports-file", str(ports), *flags]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own command
    try:
        end = time.monotonic() + STARTED_SECONDS
        while not ports.exists():
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"the server did not start: {(directory / 'log').read_text()}")
            time.sleep(0.05)
        yield json.loads(ports.read_text())["grpc"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STARTED_SECONDS)


def _call(address: str) -> Any:  # noqa: ANN401 - a grpc multi-callable
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    return channel.unary_unary(CHECK)


def flood(address: str, rate: float, in_flight: int, forged: list[bytes], stop: Event, sent: Any) -> None:  # noqa: ANN401 - a shared int
    """Send forged tokens at `rate` a second (0: as fast as they are answered) until told to stop."""
    call, places, count = _call(address), Semaphore(in_flight), 0
    start = time.perf_counter()
    while not stop.is_set():
        if rate and (ahead := count / rate - (time.perf_counter() - start)) > 0:
            time.sleep(min(ahead, 0.01))
            continue
        if not places.acquire(timeout=0.1):
            continue
        future = call.future(forged[count % len(forged)], timeout=DEADLINE_SECONDS)
        future.add_done_callback(lambda _: places.release())
        count += 1
    sent.value += count


def good(address: str, rate: float, seconds: float, asked: list[bytes]) -> Ledger:
    """Good tokens at a constant rate."""
    call, ledger, calls = _call(address), Ledger(), []
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            time.sleep(ahead)
        future = call.future(asked[number % len(asked)], timeout=DEADLINE_SECONDS)
        future.add_done_callback(lambda done, due=due: ledger.add(due, done))
        calls.append(future)
    for future in calls:
        future.exception()
    return ledger


@contextmanager
def flooded(address: str, rate: float, processes: int, forged: list[bytes], achieved: list[float]) -> Iterator[None]:
    """While inside, forged tokens arrive; afterwards `achieved` has how many a second."""
    context = multiprocessing.get_context("spawn")
    stop, counts = context.Event(), [context.Value("q", 0) for _ in range(processes)]
    in_flight = (IN_FLIGHT if rate else FEW_IN_FLIGHT) // processes
    workers = [
        context.Process(target=flood, args=(address, rate / processes, in_flight, forged, stop, each))
        for each in counts
    ]
    for worker in workers:
        worker.start()
    time.sleep(2.0)  # until they are under way
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start + 2.0
    stop.set()
    for worker in workers:
        worker.join()
    achieved.append(sum(each.value for each in counts) / seconds)


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    options.add_argument("--rate", type=float, default=100.0, help="good tokens a second")
    options.add_argument("--seconds", type=float, default=8.0, help="of one phase")
    options.add_argument("--phases", type=int, default=4, help="calm and flooded in turn")
    options.add_argument("--processes", type=int, default=2, help="that flood")
    options.add_argument("--result", type=Path, default=None, help="write the figures to this file as JSON")
    given = options.parse_args()
    forged = [tokens.question(f"Bearer {tokens.token(number, forged=True)}") for number in range(FORGERIES)]
    asked = [tokens.question(f"Bearer {tokens.token(number)}") for number in range(GOOD)]
    rows = []
    with tempfile.TemporaryDirectory() as directory, server(Path(directory)) as address:
        good(address, given.rate, 2.0, asked)
        capacity: list[float] = []
        with flooded(address, 0, given.processes, forged, capacity):
            time.sleep(given.seconds / 2)
        print(f"capacity for forged tokens here: {capacity[0]:.0f} a second")
        for number in range(given.phases):
            rate: list[float] = []
            if number % 2:
                with flooded(address, 2 * capacity[0], given.processes, forged, rate):
                    ledger = good(address, given.rate, given.seconds, asked)
            else:
                ledger = good(address, given.rate, given.seconds, asked)
            name = f"flooded, {rate[0]:.0f} a second sent" if rate else "calm"
            p50, p99 = ledger.percentile(0.5), ledger.percentile(0.99)
            print(f"{name:36} good tokens: p50 {p50:7.2f} ms, p99 {p99:7.2f} ms, {dict(ledger.reasons)}")
            rows.append({"phase": name, "p50_ms": p50, "p99_ms": p99, "reasons": dict(ledger.reasons)})
    if given.result:
        given.result.write_text(json.dumps({"capacity": capacity[0], "phases": rows}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
