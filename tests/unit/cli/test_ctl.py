"""`extauthz ctl`, as an operator types it, against a whole server in this process."""

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner, Result

import extauthz.admin.control
from extauthz.app import build
from extauthz.cli.ctl import command
from extauthz.settings import load_settings
from extauthz.wire.twin import Answer, Check, Peer, build_check, read_answer
from tests.documents import OPEN

FRONT = "spiffe://cluster.local/ns/web/sa/front"
BUNDLE = f"""{OPEN}---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: front}}
spec:
  effect: allow
  rules: [{{name: any, from: [{{principals: ["spiffe://cluster.local/*"]}}]}}]
---
apiVersion: extauthz.io/v1
kind: Revocation
metadata: {{name: old}}
spec:
  entries: [{{client: gone}}, {{client: over, until: 2001-01-01T00:00:00Z}}]
"""
WHO = ("--operator", "operator-1", "--reason", "INC-1")
SERVICE = ("revoke", "--service", FRONT, "--until", "1h")


class Running:
    """A server with a control socket."""

    def __init__(self, directory: Path) -> None:
        (directory / "bundle").mkdir()
        (directory / "bundle" / "bundle.yaml").write_text(BUNDLE)
        self.directory, self.socket = directory, directory / "control.sock"
        values = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "admin.controlSocket": self.socket,
            "revocations.file": directory / "revoked",
            "bundle.directory": directory / "bundle",
            "journal.directory": directory / "journal",
            "transport.drainDelaySeconds": 0,
        }
        self.server = build(load_settings(None, {}, [f"{key}={value}" for key, value in values.items()]))
        self.addresses = self.server.start()

    def ask(self, principal: str = FRONT) -> Answer:
        with grpc.insecure_channel(self.addresses.grpc) as channel:
            raw = build_check(
                Check(host="open.test", path="/", source=Peer(address="10.0.0.1", port=1, principal=principal))
            )
            return read_answer(channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(raw, timeout=10))

    def ctl(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, env={"EXTAUTHZ_ADMIN__CONTROL_SOCKET": str(self.socket)})

    def events(self) -> list[dict[str, Any]]:
        lines = "".join(file.read_text() for file in self.directory.glob("journal/segment-*")).splitlines()
        found = [json.loads(line)["event"].get("lifecycle", {}) for line in lines]
        return [event for event in found if event.get("kind", "").startswith("revocation")]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.server.stop(lambda _seconds: False)


def test_a_service_is_frozen_and_restored(running: Running) -> None:
    assert running.ask().allowed
    said = running.ctl(*SERVICE, *WHO)
    assert 0 == said.exit_code
    entry = said.stdout.split()[1]
    assert f"service {FRONT}" in said.stdout
    assert f"extauthz ctl restore {entry} --reason TEXT --operator NAME --socket {running.socket}" in said.stdout
    answer = running.ask()
    assert (403, "emergency_denied") == (answer.http_status, answer.metadata["reason"])
    assert running.ask(f"{FRONT}-2").allowed
    listed = running.ctl("revocations")
    assert f"{entry}  service {FRONT}, until " in listed.stdout
    assert "1 revoked at run time, 1 by the bundle" in listed.stdout
    assert 0 == running.ctl("restore", entry, *WHO).exit_code
    assert running.ask().allowed
    assert "0 revoked at run time, 1 by the bundle" in running.ctl("revocations").stdout


def test_what_is_revoked_at_run_time_stays_so_under_a_new_bundle(running: Running) -> None:
    running.ctl(*SERVICE, *WHO)
    (running.directory / "bundle" / "bundle.yaml").write_text(
        BUNDLE.replace("{client: gone}", "{client: new}, {client: newer}")
    )
    end = time.monotonic() + 10
    while "2 by the bundle" not in running.ctl("revocations").stdout:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "emergency_denied" == running.ask().metadata["reason"]


def test_every_change_is_on_record_with_who_and_why(running: Running) -> None:
    entry = json.loads(running.ctl(*SERVICE, *WHO, "--format", "json").stdout)
    running.ctl("restore", entry["id"], "--operator", "operator-2", "--reason", "closed")
    opened, added, removed = running.events()
    assert ("revocations_opened", {"entries": "0", "file": "created"}) == (opened["kind"], opened["detail"])
    assert ("revocation_added", "operator-1", "INC-1") == (
        added["kind"],
        added["detail"]["operator"],
        added["detail"]["reason"],
    )
    assert ("revocation_removed", "operator-2", "closed") == (
        removed["kind"],
        removed["detail"]["operator"],
        removed["detail"]["reason"],
    )
    assert {str(entry["uid"])} == {event["detail"]["uid"] for event in (added, removed)}
    assert {(entry["id"], "service", FRONT)} == {
        tuple(event["detail"][key] for key in ("id", "selector", "value")) for event in (added, removed)
    }


def test_the_gauge_counts_both_sources_and_leaves_out_what_has_ended(running: Running) -> None:
    running.ctl(*SERVICE, *WHO)
    text = httpx.get(f"http://{running.addresses.admin}/metrics").text
    assert 'extauthz_revocations{source="bundle"} 1.0' in text
    assert 'extauthz_revocations{source="runtime"} 1.0' in text


def test_nothing_changes_over_tcp(running: Running) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert httpx.request(method, f"http://{running.addresses.admin}/revocations").status_code in {404, 405}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4h", timedelta(hours=4)), ("90s", timedelta(seconds=90)), ("7d", timedelta(days=7)), ("never", None)],
)
def test_until_is_a_time_from_now(running: Running, text: str, expected: timedelta | None) -> None:
    found = json.loads(running.ctl("revoke", "--client", "app", "--until", text, *WHO, "--format", "json").stdout)
    if expected is None:
        assert "until" not in found
    else:
        assert abs(datetime.fromisoformat(found["until"]) - datetime.now(UTC) - expected) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("revoke", "--until", "1h", *WHO), "name exactly one of --token-id, --session"),
        (("revoke", "--client", "a", "--tenant", "b", "--until", "1h", *WHO), "name exactly one of"),
        (("revoke", "--subject", "a", "--until", "1h", *WHO), "--subject needs --issuer"),
        (("revoke", "--client", "a", *WHO), "Missing option '--until'"),
        (
            ("revoke", "--client", "a", "--until", "soon", *WHO),
            "`soon` must be 90s, 30m, 4h, 7d or `never`, or RFC 3339",
        ),
        (("revoke", "--client", "a", "--until", "2100-01-01", *WHO), "`2100-01-01` must be 90s"),
        (("revoke", "--client", "a", "--until", "999999999d", *WHO), "`999999999d` must be 90s"),
        (
            ("revoke", "--client", "a", "--until", "1h", "--issued-before", "4h", *WHO),
            "`4h` must be `now`, or RFC 3339",
        ),
        (("revoke", "--client", "a", "--until", "1h", "--reason", "x"), "Missing option '--operator'"),
        (("restore", "r-1", "--operator", "x"), "Missing option '--reason'"),
    ],
)
def test_wrong_usage_exits_with_2(running: Running, arguments: tuple[str, ...], message: str) -> None:
    said = running.ctl(*arguments)
    assert 2 == said.exit_code
    assert message in " ".join(said.stderr.split())
    assert 1 == len(running.events())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("revoke", "--subject", "a", "--issuer", "idp", "--until", "1h", *WHO), "issuer: unknown issuer `idp`"),
        (("revoke", "--service", "web", "--until", "1h", *WHO), "service: `web` must be a SPIFFE ID"),
        (("revoke", "--client", "a", "--until", "2001-01-01T00:00:00Z", *WHO), "until: must be in the future"),
        (("restore", "r-1", *WHO), "no entry `r-1` is in force"),
    ],
)
def test_what_the_server_refuses_exits_with_1(running: Running, arguments: tuple[str, ...], message: str) -> None:
    said = running.ctl(*arguments)
    assert 1 == said.exit_code
    assert said.stderr.startswith(f"extauthz: {message}")


def test_what_was_not_written_down_is_in_force_and_exits_with_4(running: Running) -> None:
    (running.directory / "revoked.new").mkdir()
    said = running.ctl(*SERVICE, *WHO)
    assert 4 == said.exit_code
    assert "in force now, but it will not survive a restart: the revocation file" in said.stderr
    assert not running.ask().allowed
    entry = said.stdout.split()[1]
    said = running.ctl("restore", entry, *WHO)
    assert (4, True) == (said.exit_code, said.stderr.startswith("extauthz: still revoked: the revocation file"))
    assert not running.ask().allowed


def test_strangers_are_turned_away_with_a_word(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0o600 == stat.S_IMODE(running.socket.stat().st_mode)
    monkeypatch.setattr(extauthz.admin.control, "peer_uid", lambda _connection: 4711)
    said = running.ctl(*SERVICE, *WHO)
    assert (4, "extauthz: only the server's own user and root may use this socket\n") == (said.exit_code, said.stderr)


def test_a_socket_that_is_not_there_or_not_ours_exits_with_4(tmp_path: Path) -> None:
    def said(path: Path) -> tuple[int, str]:
        found = CliRunner().invoke(command, ["revocations", "--socket", str(path)])
        return found.exit_code, found.stderr

    path = tmp_path / "control.sock"
    missing = f"extauthz: there is no socket `{path}`: does the server run, and is `admin.controlSocket` set?\n"
    assert (4, missing) == said(path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert (4, f"extauthz: nobody answers on `{path}`: the server has ended\n") == said(path)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()
        mute.settimeout(10)
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(mute.accept()[0].close()))
        thread.start()
        code, text = said(tmp_path / "mute")
        thread.join()
    assert (4, True) == (code, "does not answer as a control socket does" in text)
    assert 2 == CliRunner().invoke(command, ["revocations"], env={"EXTAUTHZ_ADMIN__CONTROL_SOCKET": ""}).exit_code


@pytest.mark.parametrize("name", ["revoke", "revocations", "restore"])
def test_help_has_examples_and_exit_codes(name: str) -> None:
    text = CliRunner().invoke(command, [name, "--help"]).stdout
    assert f"extauthz ctl {name}" in text
    assert "Exit codes: 0 done, 1 the server refused" in text
