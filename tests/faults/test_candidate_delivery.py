"""A candidate from afar, as signed as the live bundle must be: whatever happens to it, what is in force decides on.

A real `extauthz serve`, two real HTTPS servers on the loopback, real signatures.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.archives import Signer
from tests.documents import PUBLIC
from tests.faults.bundle_server import BundleServer
from tests.faults.process import until
from tests.faults.test_bundle_delivery import OWN, Delivered, files

STRANGER = Signer()
STRICTER = PUBLIC.replace("/public/**", "/public/a")


class Compared(Delivered):
    """A server with both bundles from afar."""

    def __init__(self, directory: Path, source: BundleServer, candidates: BundleServer) -> None:
        super().__init__(directory, source)
        self.set["bundle.candidate.url"] = candidates.url
        self.set["bundle.candidate.maxShare"] = 1

    def candidate(self) -> Any:
        return httpx.get(f"{self.admin}/status").json()["candidate"]

    def compared(self) -> Any:
        found = self.candidate()["comparison"]
        return (found["compared"], found["changes"]) if found else None


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[BundleServer, BundleServer]]:
    live = BundleServer(tmp_path)
    live.publish(OWN.archive(files("r1"), 7, revision="r1"))
    candidates = BundleServer(tmp_path, live.authority)
    yield live, candidates
    live.down()
    candidates.down()


@pytest.fixture
def server(tmp_path: Path, places: tuple[BundleServer, BundleServer]) -> Iterator[Compared]:
    started = Compared(tmp_path / "server", *places)
    started.serve()
    assert until(lambda: started.ready() == (200, []))
    yield started
    if started.process and started.process.poll() is None:
        started.stop()


def test_a_candidate_passes_the_steps_of_a_live_bundle_or_is_not_compared(
    server: Compared, places: tuple[BundleServer, BundleServer]
) -> None:
    """Trust and CA are those of the live bundle; a lower sequence is no rollback, for nothing is put in force."""
    candidates = places[1]
    server.serves("r1")
    candidates.publish(STRANGER.archive(files("c1", STRICTER), 8, revision="c1"))
    assert until(lambda: server.candidate()["lastStep"] == "verify")
    assert ("rejected", "") == (server.candidate()["lastResult"], server.candidate()["revision"])

    candidates.publish(OWN.archive(files("c2", STRICTER), 3, revision="c2"))
    assert until(lambda: server.candidate()["revision"] == "c2")
    assert server.ask("/public/b").allowed
    assert until(lambda: server.compared() == (1, {"allow_to_deny": 1}))

    candidates.publish(OWN.archive(files("c3", STRICTER, outcome="deny"), 4, revision="c3"))
    assert until(lambda: server.candidate()["lastStep"] == "test")
    assert "c2" == server.candidate()["revision"]  # the former one is compared on
    server.serves("r1")

    candidates.down()
    assert until(lambda: server.candidate()["lastResult"] == "unreachable")
    server.serves("r1")
    candidates.up()
    candidates.publish(OWN.archive(files("c4"), 2, revision="c4"))
    assert until(lambda: server.candidate()["revision"] == "c4")
    assert (0, {}) == server.compared()
    server.serves("r1")
    assert until(lambda: server.compared() == (1, {}))

    server.stop()
    kinds = [event["kind"] for event in server.events() if event["kind"].startswith("candidate_")]
    assert ["rejected", "compared", "rejected", "compared"] == [
        kind.removeprefix("candidate_") for kind in kinds if kind in {"candidate_rejected", "candidate_compared"}
    ]
    assert "candidate_unreachable" in kinds
    assert 1 == sum(event["kind"] == "bundle_activated" for event in server.events())


def test_a_candidate_that_is_never_there_keeps_nobody_from_being_ready(
    tmp_path: Path, places: tuple[BundleServer, BundleServer]
) -> None:
    live, candidates = places
    candidates.down()
    server = Compared(tmp_path / "alone", live, candidates)
    server.serve()
    try:
        assert until(lambda: server.ready() == (200, []))
        assert until(lambda: server.candidate()["lastResult"] == "unreachable")
        server.serves("r1")
        assert server.candidate()["comparison"] is None
        assert ["no candidate has been compared"] == server.candidate()["notPromotableBecause"]
    finally:
        server.stop()
        candidates.up()
