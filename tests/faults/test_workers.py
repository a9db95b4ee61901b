"""Several workers under one supervisor: what is one server to the outside, whatever becomes of one of them.

Each case runs `extauthz serve` with two workers as processes of their own.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner

from extauthz.cli.ctl import command
from extauthz.journal import verify
from extauthz.wire.twin import Answer, Check, Peer, build_check, read_answer
from tests.documents import PUBLIC
from tests.faults.process import Started, until

FRONT = "spiffe://cluster.local/ns/web/sa/front"
WHO = ("--operator", "operator-1", "--reason", "INC-1")


class Workers(Started):
    """A server of two workers, its settings and its files."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.set["workers.count"] = 2

    def serve(self) -> "Workers":
        super().serve()
        self.addresses: list[str] = json.loads(self.ports.read_text())["workers"]
        assert until(lambda: self.readyz()["workers"] == {"ready": 2, "of": 2})
        return self

    def readyz(self) -> Any:
        return httpx.get(f"{self.admin}/readyz").json()

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.admin}/status").json()["workers"]
        return found

    def ask_worker(self, worker: int, path: str = "/public/a", principal: str = FRONT) -> Answer:
        with grpc.insecure_channel(self.addresses[worker]) as channel:
            peer = Peer(address="10.0.0.1", port=1, principal=principal)
            raw = build_check(Check(host="open.test", path=path, source=peer))
            return read_answer(channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(raw, timeout=10))

    def metric(self, series: str) -> float:
        text = httpx.get(f"{self.admin}/metrics").text
        found = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        assert len(found) == 1, (series, text)
        return float(found[0])

    def kill(self, worker: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.workers()[worker]["pid"], number)

    def is_back(self, worker: int, restarts: int = 1) -> bool:
        found = self.workers()[worker]
        return found["ready"] and found["restarts"] == restarts

    def restarts(self, worker: int) -> int:
        found: int = self.workers()[worker]["restarts"]
        return found

    def ctl(self, *arguments: str) -> Any:
        where = {"EXTAUTHZ_ADMIN__CONTROL_SOCKET": str(self.set["admin.controlSocket"])}
        said = CliRunner().invoke(command, [*arguments, "--format", "json"], env=where)
        assert 0 == said.exit_code, said.output
        return json.loads(said.stdout)

    def events(self, worker: int) -> list[dict[str, Any]]:
        """What the journal of one worker says about revocations."""
        files = sorted((self.journal / f"worker-{worker}").glob("segment-*.ndjson"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        found = [json.loads(line)["event"].get("lifecycle", {}) for line in lines]
        return [event for event in found if event.get("kind", "") in {"revocation_added", "revocation_removed"}]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Workers]:
    started = Workers(tmp_path)
    yield started
    if started.process and started.process.poll() is None:
        started.process.kill()
        started.process.communicate(timeout=30)  # the pipe ends when the workers have noticed


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A server that survives what a test does to it."""
    started = Workers(tmp_path_factory.mktemp("running")).serve()
    yield started
    assert 0 == started.stop()[0]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_two_workers_are_one_server_to_whoever_looks_at_it(server: Workers) -> None:
    server.serve()
    assert 2 == len(set(server.addresses))
    assert [True] * 5 == [server.ask_worker(worker).allowed for worker in (0, 1, 1, 1, 1)]
    assert "no_policy_matched" == server.ask_worker(0, "/other").metadata["reason"]
    assert 5 == server.metric('extauthz_checks_total{outcome="allow",profile="open",reason="policy_allowed"}')
    assert 6 == sum(
        server.metric(f'extauthz_check_duration_seconds_count{{outcome="{name}"}}') for name in ("allow", "deny")
    )
    assert [2, 4] == [server.metric(f'extauthz_worker_checks_total{{worker="{worker}"}}') for worker in (0, 1)]
    status = httpx.get(f"{server.admin}/status").json()
    assert {"policy_allowed": 5, "no_policy_matched": 1} == status["decisions"]
    assert server.addresses == [worker["address"] for worker in status["workers"]]
    assert ", ".join(server.addresses) == status["transport"]["address"]
    page = httpx.get(server.admin).text
    assert all(address in page for address in server.addresses)


def test_neither_the_supervisor_nor_its_workers_have_loaded_grpc(running: Workers) -> None:
    """So that the one never starts anything by forking grpc's threads and locks, and the others carry no second server."""
    assert running.process
    for pid in (running.process.pid, *(worker["pid"] for worker in running.workers())):
        assert "cygrpc" not in Path(f"/proc/{pid}/maps").read_text()


def test_a_killed_worker_is_back_at_its_address_while_the_other_serves_and_no_counter_goes_back(
    server: Workers,
) -> None:
    server.serve()
    for _ in range(10):
        server.ask_worker(1)
    counted = 'extauthz_checks_total{outcome="allow",profile="open",reason="policy_allowed"}'
    assert 10 == server.metric(counted)
    server.kill(1)
    assert until(lambda: server.readyz()["workers"]["ready"] == 1)
    assert (200, True) == (httpx.get(f"{server.admin}/readyz").status_code, server.ask_worker(0).allowed)
    assert 11 == server.metric(counted)
    assert until(lambda: server.is_back(1))
    assert server.ask_worker(1).allowed
    assert [12, 11] == [server.metric(counted), server.metric('extauthz_worker_checks_total{worker="1"}')]
    assert 1 == server.metric('extauthz_worker_restarts_total{cause="signal",worker="1"}')
    assert "by SIGKILL" == server.workers()[1]["lastEnd"]
    code, lines = server.stop()
    assert 0 == code
    assert 1 == len([line for line in lines if line["level"] == "error" and "worker 1 ended" in line["message"]])
    reports = [verify(server.journal / f"worker-{worker}") for worker in (0, 1)]
    assert [(True, 1), (True, 2)] == [(report.ok, report.boots) for report in reports]


def test_a_spare_takes_the_place_of_who_ends(running: Workers) -> None:
    """It was started before, so that a restart need not wait for the program to load."""
    assert running.process
    children = Path(f"/proc/{running.process.pid}/task")
    known = {worker["pid"] for worker in running.workers()}

    def spares() -> set[int]:
        return {int(pid) for file in children.glob("*/children") for pid in file.read_text().split()} - known

    assert until(lambda: len(spares()) == 1)
    (spare,) = spares()
    before = running.restarts(1)
    running.kill(1)
    assert until(lambda: running.is_back(1, before + 1))
    assert spare == running.workers()[1]["pid"]
    assert running.ask_worker(1).allowed


def test_a_worker_that_is_asked_to_end_drains_and_another_takes_its_place(running: Workers) -> None:
    """A rolling restart by hand."""
    before, counted = running.restarts(0), running.metric('extauthz_worker_checks_total{worker="0"}')
    running.ask_worker(0)
    running.kill(0, signal.SIGTERM)
    assert until(lambda: running.is_back(0, before + 1))
    assert "with exit code 0" == running.workers()[0]["lastEnd"]
    assert counted + 1 == running.metric('extauthz_worker_checks_total{worker="0"}')
    assert running.ask_worker(0).allowed


def test_sigterm_drains_all_and_ends_with_0_and_a_journal_that_verifies_as_one(server: Workers) -> None:
    server.serve()
    assert all(server.ask_worker(worker).allowed for worker in (0, 1))
    pids = [worker["pid"] for worker in server.workers()]
    assert 0 == server.stop()[0]
    assert all(gone(pid) for pid in pids)
    for worker in (0, 1):
        records = "".join(f.read_text() for f in (server.journal / f"worker-{worker}").glob("segment-*"))
        assert '"kind":"stopped"' in records
    key = str(server.journal / "signing.pub")
    audit = [sys.executable, "-m", "extauthz", "audit", "verify", str(server.journal), "--public-key", key]
    said = subprocess.run(audit, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == said.returncode, said.stdout


def test_a_second_signal_makes_haste(server: Workers) -> None:
    server.set["transport.drainDelaySeconds"] = 60
    server.serve()
    assert server.process
    server.process.send_signal(signal.SIGTERM)
    assert until(lambda: server.ready() == (503, ["the server is draining"]))
    assert server.ask_worker(0).allowed
    before = time.monotonic()
    assert 0 == server.stop()[0]
    assert time.monotonic() - before < 20


def test_without_its_supervisor_no_worker_stays(server: Workers) -> None:
    """kill -9 leaves no time to say goodbye; the next server finds the ports free."""
    server.set["transport.drainDelaySeconds"] = 60
    server.serve()
    assert server.process
    pids = [worker["pid"] for worker in server.workers()]
    server.process.kill()
    assert until(lambda: all(gone(pid) for pid in pids), 20)
    for address in server.addresses:
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
    assert all(verify(server.journal / f"worker-{worker}").ok for worker in (0, 1))


def test_a_port_that_is_taken_ends_the_start_with_4_and_its_name(server: Workers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        server.set["workers.addresses"] = f"['127.0.0.1:0', '{taken}']"
        expected = f"extauthz: worker 1: cannot listen on `{taken}`: address already in use"
        assert (4, [expected]) == server.fail()
    assert not server.journal.exists()


def test_a_worker_that_cannot_start_ends_the_start_with_its_reason(server: Workers) -> None:
    server.journal.mkdir()
    (server.journal / "worker-1").write_text("a file in its place")
    code, lines = server.fail()
    assert 4 == code
    said = [line for line in lines if not line.startswith("{")]
    assert 1 == len(said)
    assert said[0].startswith("extauthz: worker 1: journal")
    assert not server.ports.exists()


def test_a_worker_that_cannot_start_again_is_told_loudly_and_comes_back_when_it_can(server: Workers) -> None:
    server.serve()
    away, place = server.directory / "away", server.journal / "worker-1"
    place.rename(away)
    place.write_text("a file in its place")
    server.kill(1)
    # Each try is a process that is started; a busy machine takes seconds for it.
    assert until(lambda: server.metric('extauthz_worker_restarts_total{cause="start",worker="1"}') >= 2, 45)
    worker = server.workers()[1]
    assert not worker["ready"]
    assert "journal" in worker["lastEnd"]
    assert server.ask_worker(0).allowed
    assert 200 == httpx.get(f"{server.admin}/readyz").status_code
    place.unlink()
    away.rename(place)
    assert until(lambda: server.workers()[1]["ready"], 20)
    assert server.ask_worker(1).allowed
    lines = server.stop()[1]
    assert [line for line in lines if re.search(r"worker 1 ended \d times in a row, next start in", line["message"])]


def test_unix_sockets_get_a_number_each(server: Workers) -> None:
    path = server.directory / "s"
    server.set["listen.address"] = f"unix:{path}"
    server.serve()
    assert [f"unix:{path}.0", f"unix:{path}.1"] == server.addresses
    assert all(server.ask_worker(worker).allowed for worker in (0, 1))


def test_what_is_revoked_is_refused_by_every_worker_with_the_next_request_and_after_a_restart(
    server: Workers,
) -> None:
    server.set |= {"admin.controlSocket": server.directory / "c", "revocations.file": server.directory / "revoked"}
    server.serve()
    assert all(server.ask_worker(worker).allowed for worker in (0, 1))
    entry = server.ctl("revoke", "--service", FRONT, "--until", "1h", *WHO)
    assert entry["uid"] == os.geteuid()
    assert ["emergency_denied"] * 2 == [server.ask_worker(worker).metadata["reason"] for worker in (0, 1)]
    for worker in (0, 1):  # who took the order, and who was told
        server.kill(worker)
        assert until(lambda worker=worker: server.is_back(worker))
    assert ["emergency_denied"] * 2 == [server.ask_worker(worker).metadata["reason"] for worker in (0, 1)]
    assert server.ask_worker(0, principal="spiffe://cluster.local/ns/web/sa/other").allowed
    assert 1 == server.metric('extauthz_revocations{source="runtime"}')
    server.ctl("restore", entry["id"], *WHO)
    assert all(server.ask_worker(worker).allowed for worker in (0, 1))
    for worker in (0, 1):
        events = server.events(worker)
        assert ["revocation_added", "revocation_removed"] == [event["kind"] for event in events]
        assert {(entry["id"], "operator-1", FRONT)} == {
            (event["detail"]["id"], event["detail"]["operator"], event["detail"]["value"]) for event in events
        }
    frozen = server.ctl("freeze", "--everything", "--until", "1h", *WHO)
    assert ["emergency_denied"] * 2 == [server.ask_worker(worker).metadata["reason"] for worker in (0, 1)]
    server.ctl("end", frozen["id"], *WHO)
    assert all(server.ask_worker(worker).allowed for worker in (0, 1))
    server.ctl("revoke", "--service", FRONT, "--until", "1h", *WHO)
    assert 0 == server.stop()[0]
    server.ports.unlink()
    server.serve()
    assert ["emergency_denied"] * 2 == [server.ask_worker(worker).metadata["reason"] for worker in (0, 1)]


def test_the_file_of_revocations_belongs_to_one_server(server: Workers, tmp_path: Path) -> None:
    server.set |= {"admin.controlSocket": server.directory / "c", "revocations.file": server.directory / "revoked"}
    server.serve()
    other = Workers(tmp_path / "other")
    other.set |= {"admin.controlSocket": tmp_path / "d", "revocations.file": server.directory / "revoked"}
    code, lines = other.fail()
    assert (4, 1) == (code, len(lines))
    assert "belongs to another running process" in lines[0]


def test_a_new_bundle_reaches_every_worker(running: Workers) -> None:
    (running.bundle / "bundle.yaml").write_text(PUBLIC.replace("/public/**", "/open/**"))
    assert until(lambda: not running.ask_worker(0).allowed and not running.ask_worker(1).allowed)
    assert all(running.ask_worker(worker, "/open/a").allowed for worker in (0, 1))


def test_what_workers_compare_is_added_up_and_judged_together(server: Workers) -> None:
    candidate = server.directory / "candidate"
    candidate.mkdir()
    (candidate / "bundle.yaml").write_text(PUBLIC.replace("/public/**", "/public/a"))
    server.set |= {
        "bundle.candidate.directory": candidate,
        "bundle.candidate.maxShare": 1,
        "bundle.candidate.gate": "{minCompared: 5, minSeconds: 0, maxAllowToDeny: 1}",
    }
    server.serve()

    def shown() -> Any:
        return httpx.get(f"{server.admin}/status").json()["candidate"]

    assert until(lambda: all("candidate_compared" in kinds(server, worker) for worker in (0, 1)))
    for worker in (0, 1):
        for path in ("/public/a", "/public/a", "/public/b"):
            assert server.ask_worker(worker, path).allowed
    assert until(lambda: shown()["comparison"]["compared"] == 6)
    found = shown()
    assert ["2 checks differ in `allow_to_deny`, `maxAllowToDeny` is 1"] == found["notPromotableBecause"]
    (group,) = found["comparison"]["groups"]
    assert ("allow_to_deny", "readers", "read", 2) == (group["change"], group["policy"], group["rule"], group["count"])
    series = 'extauthz_candidate_disagreements_total{change="allow_to_deny",policy="readers"}'
    assert until(lambda: server.metric(series) == 2)
    page = httpx.get(server.admin).text
    assert "Disagreements" in page
    assert group["example"] in page


def kinds(server: Workers, worker: int) -> str:
    """What the journal of one worker says about its life."""
    files = sorted((server.journal / f"worker-{worker}").glob("segment-*.ndjson"))
    return "".join(line for file in files for line in file.read_text().splitlines() if '"lifecycle"' in line)
