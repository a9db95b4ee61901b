"""Locust as child processes: one, or a master and workers on this machine; always ended."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct

from extauthz.cli.demo_processes import Child
from loadtest import servers

_LOCUSTFILE = servers.HOME / "locustfile.py"
_STOP_SECONDS = 5


class Locust(Struct, frozen=True):
    """One run. `options` are those of the locustfile, without dashes."""

    user: str
    rate: float
    seconds: float
    options: Mapping[str, str | float | Path]
    workers: int = 0  # beside a master; 0 is one process that does it all

    def arguments(self, result: Path) -> list[str]:
        """Of the process that judges."""
        users = max(1, self.workers)
        given = {"rate": self.rate, "share": users, "result": result, **self.options}
        flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        return [
            *("-f", str(_LOCUSTFILE), "--headless", "--only-summary"),
            *("-u", str(users), "-r", str(users), "-t", f"{self.seconds:g}s", "--stop-timeout", str(_STOP_SECONDS)),
            *flags,
            self.user,
        ]


def run(locust: Locust, log: Path) -> tuple[int, dict[str, Any]]:
    """(exit code, verdict); output goes to stdout, that of workers to files in `log`."""
    command = [sys.executable, "-m", "locust"]
    with tempfile.TemporaryDirectory(prefix="extauthz-locust-") as name, ExitStack() as stack:
        result = Path(name) / "result.json"
        arguments = locust.arguments(result)
        if locust.workers:
            port = _free_port()
            arguments += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
            arguments += ["--expect-workers", str(locust.workers)]
        master = subprocess.Popen([*command, *arguments], cwd=servers.ROOT)  # noqa: S603 - our own command
        stack.callback(_end, master)
        for number in range(locust.workers):
            worker = ["-f", str(_LOCUSTFILE), "--worker", "--master-host", "127.0.0.1", "--master-port", port]
            child = Child(f"locust-{number}", [*command, *worker], log / f"locust-{number}.log")
            stack.callback(child.stop)
        code = master.wait()
        return code, dict(json.loads(result.read_text())) if result.exists() else {}


def _free_port() -> str:
    """One that was free a moment ago: locust's master takes no port 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS * 2)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
