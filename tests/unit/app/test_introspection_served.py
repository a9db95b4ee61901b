"""Opaque tokens through the whole server in this process: real gRPC, real journal, a real issuer on loopback."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from extauthz.app import StartError, build
from extauthz.settings import SettingsError, load_settings
from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.authorization_server import AuthorizationServer, body, slow
from tests.documents import OPEN, introspected

CHECK = "/envoy.service.auth.v3.Authorization/Check"
READERS = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: scope
    from: [{scopes: [accounts]}]
    to: [{hosts: [api.test]}]
  - name: public
    to: [{hosts: [open.test]}]
"""


class Running:
    """A started server, its issuer and its client."""

    def __init__(self, directory: Path, issuer: AuthorizationServer, **settings: Any) -> None:
        self.issuer = issuer
        (directory / "bundle").mkdir()
        (directory / "bundle" / "bundle.yaml").write_text(policies(issuer))
        (directory / "secret").write_text("s3cret")
        client = f"{{bank: {{clientId: rs, clientSecretFile: {directory / 'secret'}}}}}"
        values = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "bundle.directory": directory / "bundle",
            "journal.directory": directory / "journal",
            "introspection.clients": client,
            "introspection.allowHttpLoopback": "true",
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        self.server = build(load_settings(None, {}, [f"{key}={value}" for key, value in values.items()]))
        self.addresses = self.server.start()
        self.channel = grpc.insecure_channel(self.addresses.grpc, options=[("grpc.use_local_subchannel_pool", 1)])

    def ask(self, token: str = "", host: str = "api.test", timeout: float = 10) -> Answer:
        return read_answer(self.send(token, host, timeout).result())

    def send(self, token: str, host: str = "api.test", timeout: float = 10) -> Any:
        headers = (("authorization", f"Bearer {token}"),) if token else ()
        raw = build_check(Check(host=host, path="/a", headers=headers))
        return self.channel.unary_unary(CHECK).future(raw, timeout=timeout)

    def issuer_status(self) -> Any:
        (found,) = httpx.get(f"http://{self.addresses.admin}/status").json()["issuers"]
        return found

    def metric(self, line: str) -> bool:
        return f"{line}\n" in httpx.get(f"http://{self.addresses.admin}/metrics").text


def policies(issuer: AuthorizationServer) -> str:
    asked = introspected(issuer.endpoint, "only: true, cacheSeconds: 1, timeoutSeconds: 2")
    return f"{asked}---{OPEN}---{READERS}"


def active(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"active": True, "sub": "alice", "aud": "accounts", "exp": now + 300, "scope": "accounts", **changes}


@pytest.fixture
def issuer() -> Iterator[AuthorizationServer]:
    made = AuthorizationServer()
    made.tokens["good"] = active()
    yield made
    made.close()


@pytest.fixture
def running(tmp_path: Path, issuer: AuthorizationServer) -> Iterator[Running]:
    made = Running(tmp_path, issuer)
    yield made
    made.server.stop(lambda _seconds: True)
    made.channel.close()


def test_int_02_an_opaque_token_passes_while_its_issuer_says_that_it_is_active(running: Running) -> None:
    assert httpx.get(f"http://{running.addresses.admin}/readyz").status_code == 200  # no keys to wait for
    assert running.ask("good").allowed
    assert running.ask("good").allowed
    assert 1 == len(running.issuer.asked)
    status = httpx.get(f"http://{running.addresses.admin}/status").json()
    assert "answering" == status["issuers"][0]["introspection"]
    denied = running.ask("unknown")
    assert (401, "token_inactive") == (denied.http_status, denied.metadata["reason"])
    running.issuer.tokens["good"] = {"active": False}
    time.sleep(1.1)
    assert "token_inactive" == running.ask("good").metadata["reason"]
    for line in (
        'extauthz_introspections_total{issuer="bank",result="active"} 1.0',
        'extauthz_introspections_total{issuer="bank",result="inactive"} 2.0',
        'extauthz_questions_total{kind="introspection",result="memory"} 1.0',
        'extauthz_questions_total{kind="introspection",result="answered"} 3.0',
        'extauthz_token_verifications_total{cached="true",issuer="bank",result="valid"} 1.0',
        "extauthz_waiting_checks 0.0",
    ):
        assert running.metric(line), line


def test_int_01_while_the_issuer_is_dead_it_is_503_with_retry_after_and_costs_no_time(running: Running) -> None:
    running.issuer.respond = slow(5.0, body(active()))
    calls = [running.send(f"t{number}", timeout=0.8) for number in range(6)]
    assert {503} == {read_answer(call.result()).http_status for call in calls}
    end = time.monotonic() + 10
    while not (status := running.issuer_status())["introspection"].startswith("left alone: `http://localhost:"):
        assert time.monotonic() < end, status
    assert ("introspection", 0) == (status["source"], status["keys"])
    began = time.monotonic()
    answers = [running.ask(f"u{number}") for number in range(20)]
    assert time.monotonic() - began < 1.0
    assert {(503, "introspection_unavailable", "1")} == {
        (answer.http_status, answer.metadata["reason"], answer.client_header("retry-after")) for answer in answers
    }


def test_those_who_wait_take_nothing_from_those_who_need_not(tmp_path: Path, issuer: AuthorizationServer) -> None:
    """With one deciding thread and eight Checks that wait for the issuer, other Checks are answered."""
    running = Running(tmp_path, issuer, transport__threads=1, transport__maxWaiting=8)
    gate = threading.Event()
    issuer.respond = lambda request: (gate.wait(5), body(active())(request))[1]
    waiting = [running.send(f"t{number}") for number in range(8)]
    while not running.metric("extauthz_waiting_checks 8.0"):
        assert not any(call.done() for call in waiting)
    assert all(running.ask(host="open.test").allowed for _ in range(10))
    crowded = running.ask("one-more")
    assert not any(call.done() for call in waiting)
    gate.set()
    assert (503, "introspection_unavailable") == (crowded.http_status, crowded.metadata["reason"])
    assert all(read_answer(call.result()).allowed for call in waiting)
    assert running.metric('extauthz_questions_total{kind="introspection",result="crowded"} 1.0')
    running.server.stop(lambda _seconds: True)
    running.channel.close()


def test_envoys_timeout_is_kept(running: Running) -> None:
    running.issuer.respond = slow(1.5, body(active()))
    assert "introspection_unavailable" == running.ask("good", timeout=0.8).metadata["reason"]


def test_a_stop_lets_those_who_wait_finish(running: Running) -> None:
    running.issuer.respond = slow(0.3, body(active()))
    waiting = running.send("good")
    while not running.issuer.asked:
        time.sleep(0.005)
    running.server.stop(lambda _seconds: False)
    assert read_answer(waiting.result()).allowed


def test_an_issuer_without_client_is_named_in_the_log_and_refused_with_503(
    tmp_path: Path, issuer: AuthorizationServer, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(tmp_path, issuer, introspection__clients="{}")
    assert "the settings have no `introspection.clients.bank`" in caplog.text
    assert 503 == running.ask("good").http_status
    assert [] == issuer.asked
    running.server.stop(lambda _seconds: True)
    running.channel.close()


def test_a_secret_that_cannot_be_read_ends_the_start_with_one_line(tmp_path: Path, issuer: AuthorizationServer) -> None:
    client = "{bank: {clientId: rs, clientSecretFile: /nowhere/secret}}"
    with pytest.raises(StartError, match=r"`introspection\.clients\.bank`: the file `/nowhere/secret` cannot be read"):
        Running(tmp_path, issuer, introspection__clients=client)
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(StartError, match=r"`introspection\.caFile`: the file .* holds no certificate"):
        Running(tmp_path / "bundle", issuer, introspection__caFile=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("introspection.clients={bank: {clientId: rs}}", "either `clientSecretFile` or `privateKeyFile`"),
        ("introspection.clients={bank: {clientId: rs, clientSecret: x}}", "clientSecret"),
        ("introspection.cacheEntries=1", "cacheEntries"),
        ("introspection.breaker.failures=0", "failures"),
        ("transport.maxWaiting=-1", "maxWaiting"),
    ],
)
def test_a_mistake_in_the_settings_names_its_place(flag: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace("`", ".")):
        load_settings(None, {}, [flag])
