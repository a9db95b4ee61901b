"""`extauthz serve` as a process of its own, and what a test does with one."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.documents import PUBLIC


class Started:
    """A server process, its settings and its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bundle = directory / "bundle"
        self.bundle.mkdir(parents=True)
        (self.bundle / "bundle.yaml").write_text(PUBLIC)
        self.journal = directory / "journal"
        self.ports = directory / "ports.json"
        self.set: dict[str, Any] = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "bundle.directory": self.bundle,
            "bundle.pollSeconds": 0.1,
            "journal.directory": self.journal,
            "transport.drainDelaySeconds": 0,
        }
        self.limits: dict[int, int] = {}  # of resources, by their number
        self.process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        assignments = [part for key, value in self.set.items() for part in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "extauthz", "serve", "--ports-file", str(self.ports), *assignments, *arguments]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        for number, limit in self.limits.items():
            resource.prlimit(self.process.pid, number, (limit, resource.RLIM_INFINITY))
        return self.process

    def fail(self, *arguments: str) -> tuple[int, list[str]]:
        """Exit code and what was said, of a start that must not succeed."""
        process = self.run(*arguments)
        out, err = process.communicate(timeout=60)
        assert "" == out
        return process.returncode, err.splitlines()

    def serve(self) -> "Started":
        """Run it and wait until it listens."""
        self.run()
        assert until(self.ports.exists, 60), self.process.communicate(timeout=5)
        addresses = json.loads(self.ports.read_text())
        self.grpc, self.admin = addresses["grpc"], f"http://{addresses['admin']}"
        return self

    def ready(self) -> tuple[int, list[str]]:
        answer = httpx.get(f"{self.admin}/readyz")
        return answer.status_code, answer.json()["reasons"]

    def ask(self, path: str = "/public/a") -> Answer:
        with grpc.insecure_channel(self.grpc) as channel:
            raw = build_check(Check(host="open.test", path=path))
            return read_answer(channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(raw, timeout=10))

    def health(self) -> str:
        with grpc.insecure_channel(self.grpc) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """End it; exit code and the lines it logged."""
        assert self.process
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in err.splitlines()]


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(found)
