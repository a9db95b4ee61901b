"""The runbooks for emergencies, command by command as they are printed, against a real server behind a real Envoy.

A block of kind `console` is run line by line; what it prints must come out. Times, digests, users and ids differ each time:
an id that the page prints stands for the one that came out in its place. A line `…` stands for any lines, `…` in a line for
any text.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from extauthz.cli.demo_requests import MANAGER, OFFICER
from extauthz.cli.demo_stack import Issuer, start_server
from tests.envoy.gateway import Launch
from tests.envoy.test_revocation import Bank
from tests.envoy.variants import Variant

pytestmark = pytest.mark.skipif(
    not (shutil.which("jq") and shutil.which("curl")), reason="jq or curl is not installed (apt-get install jq curl)"
)
DOCS = Path(__file__).parents[2] / "docs" / "runbooks"
_SOCKET = "/var/lib/extauthz/control.sock"
_ID = re.compile(r"\b[fgr]-[0-9a-f]{16}\b")
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"), "<time>"),
    (re.compile(r"\(uid \d+(?: \S+)?\)"), "<uid>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
)


DENY_LOANS = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: loans}
spec:
  effect: deny
  rules:
  - {name: all, to: [{paths: [/api/loans/**]}]}
"""


class Page:
    """The commands of a page, run in one directory."""

    def __init__(self, name: str, directory: Path, environ: dict[str, str]) -> None:
        text = (DOCS / name).read_text()
        self.blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.directory, self.environ = directory, environ
        self.ids: dict[str, str] = {}  # as printed in the page: as they came out

    def run(self, block: int) -> None:
        for command, expected in _commands(self.blocks[block]):
            if command.startswith("export "):
                continue  # the socket is elsewhere in a test
            for printed, actual in self.ids.items():
                command = command.replace(printed, actual)  # noqa: PLW2901 - the same command
            done = subprocess.run(["bash", "-c", command], cwd=self.directory, env=self.environ, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
            self._compare(
                command,
                expected,
                (done.stdout + done.stderr).replace(self.environ["EXTAUTHZ_ADMIN__CONTROL_SOCKET"], _SOCKET),
            )

    def _compare(self, command: str, expected: str, actual: str) -> None:
        for printed, found in zip(_ID.findall(expected), _ID.findall(actual), strict=False):
            self.ids.setdefault(printed, found)
        for printed, found in self.ids.items():
            actual = actual.replace(found, printed)
        for pattern, word in _VARYING:
            expected, actual = pattern.sub(word, expected), pattern.sub(word, actual)
        wanted = ".*".join(re.escape(part) for part in re.sub(r"digest \S+…", "digest <digest>", expected).split("…"))
        assert re.fullmatch(wanted, actual, re.DOTALL), (
            f"$ {command}\n--- the page says\n{expected}--- came out\n{actual}"
        )


def _commands(block: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


@pytest.fixture
def bank(tmp_path: Path, issuer: Issuer, launch_envoy: Launch) -> Iterator[Bank]:
    found = Bank(tmp_path, issuer, launch_envoy)
    yield found
    found.stack.close()


def page(name: str, bank: Bank, token: str) -> Page:
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EXTAUTHZ_ADMIN__CONTROL_SOCKET": str(bank.socket),
        "USER": "operator-1",
        "GATEWAY": f"http://127.0.0.1:{bank.gateway.port}",
        "TOKEN": token,
        "JOURNAL": str(bank.server.journal),
    }
    return Page(name, bank.directory, environ)


def test_freeze(bank: Bank) -> None:
    found = page("freeze.md", bank, bank.token(MANAGER))
    assert 4 == len(found.blocks)
    for block in range(4):
        found.run(block)


def test_break_glass(bank: Bank) -> None:
    found = page("break-glass.md", bank, bank.token(OFFICER))
    assert 7 == len(found.blocks)
    found.run(0)
    keys = "".join(
        f"  - {{name: {name}, key: {(bank.directory / f'{name}.key.pub').read_text().splitlines()[1]}}}\n"
        for name in ("duty-manager", "ciso")
    )
    about = bank.bundle / "bundle.yaml"
    about.write_text(
        about.read_text().replace(
            "spec: {revision: banking-1}", f"spec:\n  revision: with-approvers\n  approvers:\n{keys}"
        )
    )
    end = time.monotonic() + 10
    while "with-approvers" not in httpx.get(f"{bank.server.admin}/status").text:
        assert time.monotonic() < end
        time.sleep(0.1)
    for block in range(1, 7):
        found.run(block)


def test_rollback(tmp_path: Path, issuer: Issuer, launch_envoy: Launch) -> None:
    bank = KeepingBank(tmp_path, issuer, launch_envoy)
    try:
        found = page("rollback.md", bank, bank.token(MANAGER))
        assert 5 == len(found.blocks)
        bank.publish("banking-2", loans=DENY_LOANS)
        for block in range(4):
            found.run(block)
        bank.publish("banking-3")
        found.run(4)
    finally:
        bank.stack.close()


class KeepingBank(Bank):
    """A bank whose server keeps revisions."""

    def start(self, launch: Launch) -> None:
        settings = [
            f"admin.controlSocket={self.socket}",
            f"revocations.file={self.directory / 'revoked'}",
            f"bundle.stateDirectory={self.directory / 'state'}",
        ]
        self.server = start_server(self.directory, self.stack, self.bundle, settings)
        self.gateway = launch(Variant(), authz_port=self.server.port)

    def publish(self, name: str, loans: str = "") -> None:
        """Replace the directory at once, as git-sync does, and wait until the server has seen it."""
        fresh = self.directory / name
        shutil.copytree(self.bundle.resolve(), fresh)
        about = fresh / "bundle.yaml"
        about.write_text(re.sub(r"revision: [\w-]+", f"revision: {name}", about.read_text()))
        (fresh / "policies" / "loans.yaml").write_text(loans)
        shutil.rmtree(fresh / "tests", ignore_errors=True)
        former = self.directory / f"before-{name}"
        self.bundle.rename(former)
        fresh.rename(self.bundle)
        end = time.monotonic() + 10
        while f'"{name}"' not in httpx.get(f"{self.server.admin}/status").text:
            assert time.monotonic() < end
            time.sleep(0.1)
