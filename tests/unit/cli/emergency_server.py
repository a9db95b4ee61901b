"""A whole server in this process, with a control socket, a clock that can be moved, and callers with real tokens."""

import json
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
from click.testing import CliRunner, Result

from extauthz.app import build
from extauthz.cli.ctl import command
from extauthz.settings import load_settings
from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.approvers import pem
from tests.engine import EC_KEY, PUBLIC
from tests.unit.bundle.emergency_documents import APPROVERS
from tests.unit.bundle.small_bundle import ISSUER, files

WHO = ("--operator", "operator-1", "--reason", "INC-1")
LOAN = "/api/acme/loans/7"
ACCOUNT = "/api/acme/accounts/1"
ROUTE = "GET,POST api.bank.test/api/{tenant}/loans/**"


class Running:
    """The server, its operators and its clients."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory, self.socket, self.bundle = directory, directory / "control.sock", directory / "bundle"
        self.passed = 0.0  # seconds that have passed for every clock
        self.step = 0.0  # seconds by which the clock was set
        keys = {"keys": [{**PUBLIC["ES256"], "kid": "k1", "alg": "ES256", "use": "sig"}]}
        issuer = ISSUER.replace('jwks: {uri: "https://idp.bank.test/certs"}', "jwks: {file: keys.json}")
        self.write("keys.json", json.dumps(keys))
        for name, text in files(bundle=APPROVERS, issuer=issuer).items():
            self.write(name, text.decode())
        self.settings = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "admin.controlSocket": self.socket,
            "revocations.file": directory / "revoked",
            "bundle.directory": self.bundle,
            "bundle.pollSeconds": 0.1,
            "journal.directory": directory / "journal",
            "transport.drainDelaySeconds": 0,
            "transport.kind": "stock",  # the other reads the machine's own clock when a Check arrives
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        self.start()

    def start(self) -> None:
        flags = [f"{key}={value}" for key, value in self.settings.items()]
        self.server = build(load_settings(None, {}, flags), self.now, lambda: time.monotonic() + self.passed)
        self.addresses = self.server.start()

    def now(self) -> float:
        return time.time() + self.passed + self.step

    def stop(self) -> None:
        self.server.stop(lambda _seconds: False)

    def restart(self) -> None:
        self.stop()
        self.start()

    def write(self, name: str, text: str) -> None:
        file = self.bundle / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def token(self, **changes: Any) -> str:
        now = int(self.now())
        claims = {
            "iss": "https://idp.bank.test", "aud": "bank", "sub": "u1", "client_id": "app", "iat": now - 60, "exp": now + 3600,
            "jti": "jti-1", "tenant_id": "acme", "roles": ["officer"], "limit": 10,
        }  # fmt: skip
        return jwt.encode(claims | changes, EC_KEY, algorithm="ES256", headers={"kid": "k1", "typ": "at+jwt"})

    def ask(self, path: str = LOAN, method: str = "GET", token: str = "", **claims: Any) -> Answer:
        headers = (("authorization", f"Bearer {token or self.token(**claims)}"),)
        raw = build_check(Check(host="api.bank.test", path=path, method=method, headers=headers))
        with grpc.insecure_channel(self.addresses.grpc) as channel:
            return read_answer(
                channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(raw)
            )  # a deadline would be of the real clock

    def reason(self, path: str = LOAN, **rest: Any) -> str:
        return self.ask(path, **rest).metadata["reason"]

    def ctl(self, *arguments: str, text: str | None = None) -> Result:
        environ = {"EXTAUTHZ_ADMIN__CONTROL_SOCKET": str(self.socket)}
        return CliRunner().invoke(command, arguments, env=environ, input=text)

    def order(self, *arguments: str) -> dict[str, Any]:
        """What came of an order that must not be refused."""
        said = self.ctl(*arguments, *WHO, "--format", "json")
        assert 0 == said.exit_code, said.output
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def freeze(self, *arguments: str, until: str = "1h") -> dict[str, Any]:
        return self.order("freeze", *arguments, "--until", until)

    def page(self) -> dict[str, Any]:
        """All that /status says."""
        found: dict[str, Any] = httpx.get(f"http://{self.addresses.admin}/status").json()
        return found

    def by(self) -> str:
        """The revision that decides."""
        return self.ask(ACCOUNT).metadata["revision"]

    def request(self, *arguments: str, name: str = "inc.json") -> Path:
        """The file of a request for subject u1, if nobody else is named."""
        who = () if {"--subject", "--role"} & set(arguments) else ("--subject", "u1")
        until = () if "--until" in arguments else ("--until", "2h")
        file = self.directory / name
        why = ("--ticket", "INC-1", "--justification", "core banking is down", "--out", str(file))
        said = self.ctl("break-glass", "request", "--issuer", "bank", "--route", ROUTE, *who, *until, *why, *arguments)
        assert 0 == said.exit_code, said.output
        return file

    def approve(self, file: Path, *names: str) -> None:
        for name in names or ("duty-manager", "ciso"):
            key = self.directory / f"{name}.pem"
            key.write_bytes(pem(name))
            said = self.ctl("break-glass", "approve", str(file), "--approver", name, "--key", str(key), "--yes")
            assert 0 == said.exit_code, said.output

    def open(self, file: Path) -> Result:
        return self.ctl("break-glass", "open", str(file), "--operator", "operator-1", "--format", "json")

    def opened(self, *arguments: str) -> dict[str, Any]:
        file = self.request(*arguments)
        self.approve(file)
        said = self.open(file)
        assert 0 == said.exit_code, said.output
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def events(self, prefix: str = "emergency") -> list[tuple[str, dict[str, str]]]:
        events = [event["lifecycle"] for event in self.records() if "lifecycle" in event]
        return [(event["kind"], event["detail"]) for event in events if event["kind"].startswith(prefix)]

    def decisions(self) -> list[dict[str, Any]]:
        return [event["decision"] for event in self.records() if "decision" in event]

    def records(self) -> list[dict[str, Any]]:
        lines = "".join(file.read_text() for file in sorted(self.directory.glob("journal/segment-*"))).splitlines()
        return [json.loads(line)["event"] for line in lines]

    def metrics(self) -> str:
        return httpx.get(f"http://{self.addresses.admin}/metrics").text
