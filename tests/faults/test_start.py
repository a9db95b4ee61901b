"""Starting when something is wrong: one clear line, the right exit code or readiness, nothing half-done.

Each case runs `extauthz serve` as a process of its own.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.documents import PUBLIC
from tests.faults.process import Started, until

ISSUER = """
---
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: idp}
spec:
  preset: rfc9068
  issuer: https://idp.test
  audiences: [api]
  algorithms: [ES256]
  jwks: {uri: "https://127.0.0.1:1/certs"}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    if started.process and started.process.poll() is None:
        started.process.kill()
        started.process.communicate(timeout=10)


def test_a_good_start_says_where_it_listens_and_a_good_stop_exits_with_0(server: Started) -> None:
    server.serve()
    assert (200, []) == server.ready()
    assert "SERVING" == server.health()
    assert server.ask().allowed
    assert "no_policy_matched" == server.ask("/other").metadata["reason"]
    code, lines = server.stop()
    assert 0 == code
    listening = next(line for line in lines if line["message"] == "listening")
    assert (server.grpc, True) == (listening["grpc"], listening["ready"])
    assert ["stopping", "stopped"] == [line["message"] for line in lines][-2:]


def test_the_journal_of_a_stopped_server_verifies(server: Started) -> None:
    server.serve()
    server.ask()
    assert 0 == server.stop(signal.SIGINT)[0]
    command = [sys.executable, "-m", "extauthz", "audit", "verify", str(server.journal)]
    assert 0 == subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def test_a_second_signal_cuts_the_drain_short(server: Started) -> None:
    server.set["transport.drainDelaySeconds"] = 60
    server.serve()
    assert server.process
    server.process.send_signal(signal.SIGTERM)
    assert until(lambda: server.ready() == (503, ["the server is draining"]))
    assert "NOT_SERVING" == server.health()
    assert server.ask().allowed  # whoever has not heard of the drain yet is still answered
    before = time.monotonic()
    assert 0 == server.stop()[0]
    assert time.monotonic() - before < 10


def test_without_a_bundle_it_runs_undecided_and_not_ready_and_recovers_by_itself(server: Started) -> None:
    content = (server.bundle / "bundle.yaml").read_text()
    (server.bundle / "bundle.yaml").unlink()
    server.bundle.rmdir()
    server.serve()
    assert (503, ["no bundle is in force"]) == server.ready()
    assert 200 == httpx.get(f"{server.admin}/livez").status_code
    assert "NOT_SERVING" == server.health()
    answer = server.ask()
    assert (False, 503, "no_bundle") == (answer.allowed, answer.http_status, answer.metadata["reason"])
    server.bundle.mkdir()
    (server.bundle / "bundle.yaml").write_text(content)
    assert until(lambda: server.ready() == (200, []))
    assert "SERVING" == server.health()
    assert server.ask().allowed
    code, lines = server.stop()
    rejected = [line for line in lines if line["message"] == "bundle rejected"]
    assert (0, 1) == (code, len(rejected))
    assert "the directory does not exist" in rejected[0]["first"]


def test_an_invalid_bundle_is_reported_once_and_replaced_by_a_valid_one(server: Started) -> None:
    (server.bundle / "bundle.yaml").write_text(PUBLIC.replace("effect: allow", "effect: alow"))
    server.serve()
    assert (503, ["no bundle is in force"]) == server.ready()
    found = httpx.get(f"{server.admin}/status").json()["bundle"]
    assert "rejected" == found["lastResult"]
    assert "bundle.yaml:13: spec.effect" in found["lastFindings"][0]
    time.sleep(0.5)
    (server.bundle / "bundle.yaml").write_text(PUBLIC)
    assert until(lambda: server.ready() == (200, []))
    lines = server.stop()[1]
    assert 1 == len([line for line in lines if line["message"] == "bundle rejected"])


def test_a_bad_change_leaves_the_good_bundle_in_force(server: Started) -> None:
    server.serve()
    (server.bundle / "bundle.yaml").write_text("kind: Nonsense\n")
    status = f"{server.admin}/status"
    assert until(lambda: httpx.get(status).json()["bundle"]["lastResult"] == "rejected")
    assert (200, []) == server.ready()
    assert server.ask().allowed


def test_with_unreachable_keys_it_runs_and_is_not_ready(server: Started) -> None:
    (server.bundle / "bundle.yaml").write_text(PUBLIC + ISSUER)
    server.serve()
    assert (503, ["the keys of issuer `idp` have not been loaded yet"]) == server.ready()
    assert "NOT_SERVING" == server.health()
    assert server.ask().allowed  # what needs no keys is decided
    issuer = httpx.get(f"{server.admin}/status").json()["issuers"][0]
    assert ("idp", 0) == (issuer["issuer"], issuer["keys"])
    assert until(lambda: bool(httpx.get(f"{server.admin}/status").json()["issuers"][0]["error"]))


def test_an_occupied_port_exits_with_4_and_writes_no_journal(server: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        server.set["listen.address"] = address
        assert (4, [f"extauthz: cannot listen on `{address}`: address already in use"]) == server.fail()
    assert not server.journal.exists()
    assert not server.ports.exists()


def test_an_occupied_admin_port_exits_with_4_and_gives_the_socket_back(server: Started) -> None:
    path = server.directory / "check.sock"
    server.set["listen.address"] = f"unix:{path}"
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        server.set["admin.address"] = address
        assert (4, [f"extauthz: cannot listen on `{address}` for admin: address already in use"]) == server.fail()
    assert not path.exists()
    assert not server.journal.exists()


def test_an_unreadable_key_exits_with_4(server: Started) -> None:
    leaf = trustme.CA().issue_cert("extauthz.test")
    certificate, key = server.directory / "tls.crt", server.directory / "tls.key"
    leaf.cert_chain_pems[0].write_to_path(certificate)
    server.set |= {"listen.tls.certificate": certificate, "listen.tls.key": key}
    assert (4, [f"extauthz: the key `{key}` cannot be read: no such file or directory"]) == server.fail()
    key.write_text("damaged")
    assert (4, [f"extauthz: the key `{key}` is not in PEM or is damaged"]) == server.fail()
    assert not server.journal.exists()


def test_an_unwritable_journal_exits_with_4(server: Started) -> None:
    server.journal.write_text("a file in its place")
    code, lines = server.fail()
    assert (4, 1) == (code, len(lines))
    assert lines[0].startswith("extauthz: journal")
    assert str(server.journal) in lines[0]
    assert "a file in its place" == server.journal.read_text()


def test_a_journal_of_another_process_exits_with_4(server: Started, tmp_path: Path) -> None:
    server.serve()
    other = Started(tmp_path / "other")
    other.set["journal.directory"] = server.journal
    code, lines = other.fail()
    assert (4, 1) == (code, len(lines))
    assert str(server.journal) in lines[0]
    assert server.ask().allowed


def test_a_missing_ca_file_exits_with_4(server: Started) -> None:
    server.set["jwks.caFile"] = server.directory / "none.pem"
    expected = f"extauthz: `jwks.caFile`: the file `{server.directory / 'none.pem'}` cannot be used: "
    assert (4, [f"{expected}no such file or directory"]) == server.fail()
    (server.directory / "none.pem").write_text("damaged")
    assert (4, [f"{expected}it holds no certificate in PEM"]) == server.fail()


def test_an_invalid_configuration_exits_with_3_and_says_all(server: Started) -> None:
    config = server.directory / "extauthz.yaml"
    config.write_text("lisen: {}\ntransport: {threads: 0}\n")
    code, lines = server.fail("--config", str(config))
    assert 3 == code
    assert [
        f"extauthz: {config}:1: lisen: unknown field `lisen`, did you mean `listen`?",
        f"extauthz: {config}:2: transport.threads: must be at least 1 and at most 64, found the number `0`",
    ] == lines
    assert not server.journal.exists()


def test_check_config_reads_and_opens_nothing(server: Started) -> None:
    process = server.run("--check-config")
    out, err = process.communicate(timeout=30)
    assert (0, "") == (process.returncode, err)
    assert out.startswith("the configuration is right, digest ")
    assert not server.journal.exists()
