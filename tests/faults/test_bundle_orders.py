"""Orders about bundles and death: what was answered is in force on every worker, and after every kind of end."""

import http.client
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.process import until
from tests.faults.test_emergency_orders import WHO, Bank
from tests.unit.bundle.small_bundle import BUNDLE

ACCOUNT = "/api/acme/accounts/1"


class Site(Bank):
    """The small bank, with kept revisions."""

    def __init__(self, directory: Path, workers: int = 1) -> None:
        super().__init__(directory, workers)
        self.set |= {"bundle.stateDirectory": directory / "state", "transport.drainGraceSeconds": 1}

    def publish(self, name: str) -> None:
        fresh = self.bundle / ".fresh"
        fresh.write_text(BUNDLE.replace("small-1", name))
        fresh.rename(self.bundle / "bundle.yaml")

    def status(self) -> Any:
        return httpx.get(f"{self.admin}/status").json()

    def revisions(self) -> list[str]:
        """Of every worker."""
        found = self.status()
        return [worker["revision"] for worker in found["workers"]] or [found["bundle"]["revision"]]

    def published(self, name: str) -> "Site":
        self.publish(name)
        assert until(lambda: set(self.revisions()) == {name}), self.status()
        return self

    def rollback(self, **how: Any) -> dict[str, Any]:
        return self.order("POST", "/bundle/rollback", how | WHO)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    if found.process and found.process.poll() is None:
        found.kill()


def test_every_worker_follows_before_it_is_answered_and_after_its_death(tmp_path: Path) -> None:
    site = Site(tmp_path, workers=2)
    site.serve()
    try:
        site.published("two").published("three")
        assert ("two", "three") == ((done := site.rollback())["after"]["revision"], done["waiting"])
        assert ["two", "two"] == site.revisions()
        for worker in range(2):
            os.kill(site.status()["workers"][worker]["pid"], signal.SIGKILL)
            assert until(lambda worker=worker: site.status()["workers"][worker]["ready"] and site.status()["workers"][worker]["restarts"] == 1, 30)  # fmt: skip
        assert ["two", "two"] == site.revisions()
        site.order("POST", "/bundle/unpin", WHO)
        assert ["three", "three"] == site.revisions()
        for worker in range(2):
            orders = [event for event in _events(site.journal / f"worker-{worker}") if event["detail"].get("order")]
            assert [("bundle_rolled_back", "two"), ("bundle_unpinned", "three")] == [
                (event["kind"], event["detail"]["to"]) for event in orders
            ]
        metrics = httpx.get(f"{site.admin}/metrics").text
        assert 'extauthz_bundle_orders_total{order="unpin",result="done"} 1.0' in metrics, "once, not once a worker"
    finally:
        site.stop()


def test_every_worker_promotes_what_all_together_have_compared(tmp_path: Path) -> None:
    """Each alone has seen too little; the gate is asked about the sum."""
    site = Site(tmp_path, workers=2)
    candidate = shutil.copytree(site.bundle, tmp_path / "candidate")
    (candidate / "bundle.yaml").write_text(BUNDLE.replace("small-1", "next"))
    gate = {"minCompared": 6, "minSeconds": 0}
    site.set |= {"bundle.candidate.directory": candidate, "bundle.candidate.maxShare": 1.0}
    site.set |= {f"bundle.candidate.gate.{name}": value for name, value in gate.items()}
    site.serve()
    try:
        addresses = json.loads(site.ports.read_text())["workers"]
        assert until(lambda: site.status()["candidate"]["revision"] == "next")
        for address in addresses * 3:
            assert "policy_allowed" == site.reason(ACCOUNT, address)
        assert until(lambda: site.status()["candidate"]["promotable"]), site.status()["candidate"]
        done = site.order("POST", "/bundle/promote", WHO)
        assert ("next", ["next", "next"]) == (done["after"]["revision"], site.revisions())
        assert "6 Checks compared" in done["basis"]
    finally:
        site.stop()


def test_what_was_answered_before_kill_9_is_in_force_after_it(site: Site) -> None:
    site.serve()
    site.published("two").published("three")
    for expected in ("two", "small-1"):
        site.rollback()
        site.kill()
        site.serve()
        assert [expected] == site.revisions()
        assert "rollback" == site.status()["bundle"]["heldBy"]
    assert 0 == site.stop()[0]


def test_killed_at_any_moment_it_comes_back_with_one_of_the_two(site: Site) -> None:
    """The journal may then have an order that the disk does not know: it is written first."""
    site.serve()
    site.published("two").published("three")
    for turn in range(3):
        stop = threading.Timer(0.03 * turn, site.kill)
        stop.start()
        try:
            for _ in range(50):
                site.rollback()
                site.order("POST", "/bundle/unpin", WHO)
        except (OSError, ValueError, http.client.HTTPException):
            pass  # it is gone
        stop.join()
        site.serve()
        assert site.revisions()[0] in {"two", "three"}
        assert "policy_allowed" == site.reason(ACCOUNT)
        state = json.loads((site.directory / "state" / "state.json").read_text().partition("\n")[2])
        assert any(kept["id"] == state["active"] for kept in site.order("GET", "/bundle/revisions")["revisions"])
        if state["hold"] or state["waiting"]:
            site.order("POST", "/bundle/unpin", WHO)
        assert ["three"] == site.revisions()
    assert 0 == site.stop()[0]


def _events(journal: Path) -> list[dict[str, Any]]:
    lines = [line for file in sorted(journal.glob("segment-*.ndjson")) for line in file.read_text().splitlines()]
    found = [json.loads(line)["event"].get("lifecycle") for line in lines]
    return [event for event in found if event]
