"""The servers under test: started, pinned, their processor time and counters read, always ended."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from extauthz.cli.demo_processes import Child, read_port
from extauthz.cli.demo_stack import CHECKOUT, Issuer, copy_bundle, start_server

CLIENT_CORE, SERVER_CORE = 0, 1  # places in the list of cores we may use
HOME = Path(__file__).parent
RESULTS = HOME / "results"
ROOT = HOME.parent


class Target(NamedTuple):
    """A running server."""

    name: str
    pid: int
    port: int
    admin: str = ""  # base URL, of extauthz alone
    journal: Path | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port


def start_noop(work: Path, stack: ExitStack, answer: bytes) -> Target:
    """The no-op server, answering with these bytes."""
    file, ports = work / "answer.bin", work / "noop.port"
    file.write_bytes(answer)
    command: list[str | Path] = [sys.executable, HOME / "noop.py", "--answer", file, "--ports-file", ports]
    for variable in ("GRPC_EXPERIMENTS", "GRPC_POLL_STRATEGY"):
        os.environ.pop(variable, None)  # the stock server as it comes
    child = Child("no-op", command, work / "noop.log")
    stack.callback(child.stop)
    return Target("no-op", child.pid, child.await_ready(lambda: read_port(ports)))


def start_extauthz(work: Path, stack: ExitStack, issuer: Issuer, settings: Sequence[str] = ()) -> Target:
    """`extauthz serve` with examples/banking, journal and metrics on."""
    # The folder of a bundle is watched, for that is how a new one is put into its place: nobody else may write there.
    own = work / "extauthz"
    own.mkdir()
    bundle = copy_bundle(CHECKOUT / "examples" / "banking", own / "bundle", issuer)
    server = start_server(own, stack, bundle, settings)
    return Target("extauthz", server.child.pid, server.port, server.admin, server.journal)


def processes(pid: int) -> list[psutil.Process]:
    """The process and its workers."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far, ended threads included."""
    if sys.platform != "linux":
        return sum(sum(each.cpu_times()[:2]) for each in processes(pid))
    # clock_getcpuclockid(3): the scheduler's own count, in nanoseconds, for the whole process.
    return sum(time.clock_gettime_ns((~each.pid << 3) | 2) for each in processes(pid)) / 1e9


def pin(pid: int, cores: set[int]) -> None:
    """Let every thread of a process and of its children run on these cores only."""
    for process in processes(pid):
        for thread in process.threads():
            try:
                os.sched_setaffinity(thread.id, cores)
            except ProcessLookupError:  # it has ended meanwhile
                continue


def separate(pid: int) -> int | None:
    """Give the server a core of its own; the client's core, None where there is only one."""
    places = cores()
    if len(places) < 2:  # noqa: PLR2004 - one for each
        return None
    pin(pid, {places[SERVER_CORE]})
    return places[CLIENT_CORE]


def cores() -> list[int]:
    """The cores we may use."""
    return sorted(os.sched_getaffinity(0))


def transport_kind(target: Target) -> str:
    """Which transport the server says it runs."""
    return str(httpx.get(f"{target.admin}/status").json()["transport"]["kind"])


def counters(target: Target, name: str, *labels: str) -> Mapping[tuple[str, ...], float]:
    """A counter of the server's /metrics, summed by these labels."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{target.admin}/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                key = tuple(sample.labels.get(label, "") for label in labels)
                found[key] = found.get(key, 0.0) + sample.value
    return found


def allowed(target: Target) -> float:
    """Checks that the server has allowed so far."""
    return counters(target, "extauthz_checks_total", "outcome").get(("allow",), 0.0)


def checks(target: Target) -> float:
    """Checks that the server has answered so far."""
    return counters(target, "extauthz_checks_total").get((), 0.0)
