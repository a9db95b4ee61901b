"""Starting and dying with revocations on disk: what was revoked stays so, or the server does not start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import OPEN


class Process:
    """`extauthz serve` with a control socket, and `extauthz ctl` beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.socket, self.file = directory, directory / "control.sock", directory / "revoked"
        (directory / "bundle").mkdir()
        (directory / "bundle" / "bundle.yaml").write_text(OPEN)
        self.set: dict[str, Any] = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "admin.controlSocket": self.socket,
            "revocations.file": self.file,
            "bundle.directory": directory / "bundle",
            "journal.directory": directory / "journal",
            "transport.drainDelaySeconds": 0,
        }
        self.process: subprocess.Popen[str] | None = None

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")}
        return subprocess.Popen([sys.executable, "-m", "extauthz", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)  # fmt: skip

    def run(self) -> subprocess.Popen[str]:
        ports = ("--ports-file", str(self.directory / "ports"))
        self.process = self.command(
            "serve", *ports, *(part for k, v in self.set.items() for part in ("--set", f"{k}={v}"))
        )
        return self.process

    def serve(self) -> None:
        (self.directory / "ports").unlink(missing_ok=True)
        self.run()
        end = time.monotonic() + 30
        while not (self.directory / "ports").exists():
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def fail(self) -> tuple[int, list[str]]:
        process = self.run()
        _, err = process.communicate(timeout=30)
        return process.returncode, err.splitlines()

    def ctl(self, *arguments: str) -> Any:
        process = self.command("ctl", *arguments, "--socket", str(self.socket), "--format", "json")
        out, err = process.communicate(timeout=30)
        assert 0 == process.returncode, err
        return json.loads(out)

    def revoke(self, client: str) -> str:
        return self.ctl("revoke", "--client", client, "--until", "1h", "--reason", "INC-1", "--operator", "operator-1")[
            "id"
        ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    found = Process(tmp_path)
    yield found
    if found.process and found.process.poll() is None:
        found.process.kill()
        found.process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_jwt_13_what_ctl_was_told_is_revoked_survives_the_process(server: Process, number: int) -> None:
    server.serve()
    kept = server.revoke("app-1")
    over = server.revoke("app-2")
    server.ctl("restore", over, "--reason", "over", "--operator", "operator-1")
    server.end(number)
    assert server.socket.exists() == (number == signal.SIGKILL)
    server.serve()
    assert [kept] == [entry["id"] for entry in server.ctl("revocations")["entries"]]


def test_of_a_damaged_file_the_copy_is_read_and_said_so(server: Process) -> None:
    server.serve()
    kept = server.revoke("app-1")
    server.end(signal.SIGTERM)
    server.file.write_text(server.file.read_text().replace("app-1", "app-2"))
    server.serve()
    assert [(kept, "app-1")] == [(found["id"], found["value"]) for found in server.ctl("revocations")["entries"]]
    server.process.send_signal(signal.SIGTERM)
    _, err = server.process.communicate(timeout=30)
    assert f"the revocation file `{server.file}` was restored from its copy: its digest does not fit" in err


def test_a_file_that_is_damaged_with_its_copy_exits_with_4_and_leaves_nothing_behind(server: Process) -> None:
    server.serve()
    server.revoke("app-1")
    server.end(signal.SIGTERM)
    damaged = server.file.read_text().replace("app-1", "app-2")
    for file in (server.file, server.file.with_name("revoked.copy")):
        file.write_text(damaged)
    code, (line,) = server.fail()
    assert 4 == code
    assert line.startswith(f"extauthz: the revocation file `{server.file}` is damaged: its digest does not fit")
    assert (damaged, False) == (server.file.read_text(), server.socket.exists())


def test_a_file_whose_directory_is_missing_exits_with_4(server: Process) -> None:
    server.set["revocations.file"] = server.directory / "nowhere" / "revoked"
    code, (line,) = server.fail()
    assert (4, True) == (code, line.endswith("cannot be used: no such file or directory"))


def test_an_occupied_control_socket_exits_with_4_and_stays_its_owners(server: Process) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(server.socket))
        other.listen()
        code, lines = server.fail()
        assert server.socket.exists()
    assert (4, [f"extauthz: cannot listen on `{server.socket}` for control: another process listens on it"]) == (
        code,
        lines,
    )


def test_a_control_socket_without_a_file_exits_with_3(server: Process) -> None:
    del server.set["revocations.file"]
    code, (line,) = server.fail()
    assert 3 == code
    assert "`admin.controlSocket` needs `revocations.file`: what is revoked must survive a restart" in line
