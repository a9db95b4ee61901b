"""A candidate beside the live bundle, in the whole server: what it finds is counted and recorded, and changes nothing."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from extauthz.app import Server, build
from extauthz.journal import verify
from extauthz.journal.candidates import CandidateEvent, read_candidate
from extauthz.settings import load_settings
from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.documents import OPEN

CHECK = "/envoy.service.auth.v3.Authorization/Check"
LIVE = (
    OPEN
    + """---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: public
    to: [{methods: [GET], paths: [/public/**]}]
  - name: news
    to: [{methods: [GET], paths: [/news/**]}]
"""
)
# Without `news`, with `/drafts`, and with another header for `/public/priced`.
CANDIDATE = (
    OPEN
    + """---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: editors}
spec:
  effect: allow
  rules:
  - name: drafts
    to: [{methods: [GET], paths: [/drafts/**]}]
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: closed}
spec:
  effect: deny
  rules:
  - name: secret
    to: [{paths: [/secret/**]}]
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: priced
    to: [{methods: [GET], paths: [/public/priced]}]
    obligations: {upstreamHeaders: {x-price: "'5'"}}
  - name: public
    to: [{methods: [GET], paths: [/public/**]}]
"""
)
# path → what changes, and the policy and rule that are named for it
EXPECTED = {
    "/public/a": None,
    "/news/a": ("allow_to_deny", "readers", "news"),
    "/drafts/a": ("deny_to_allow", "editors", "drafts"),
    "/secret/a": ("reason", "closed", "secret"),
    "/public/priced": ("obligations", "readers", "priced"),
    "/elsewhere": None,
}


class Running:
    """A started server with a candidate, and its clients."""

    def __init__(self, directory: Path, candidate: str = CANDIDATE, live: str = LIVE, **settings: Any) -> None:
        self.live, self.candidate, self.journal = directory / "live", directory / "candidate", directory / "journal"
        for folder, text in ((self.live, live), (self.candidate, candidate)):
            folder.mkdir(parents=True)
            (folder / "bundle.yaml").write_text(text)
        values = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "bundle.directory": self.live,
            "bundle.pollSeconds": 0.1,
            "bundle.candidate.directory": self.candidate,
            "bundle.candidate.pollSeconds": 0.1,
            "bundle.candidate.maxShare": 1.0,
            "bundle.candidate.gate.minCompared": 5,
            "bundle.candidate.gate.minSeconds": 0,
            "journal.directory": self.journal,
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        self.server: Server = build(load_settings(None, {}, [f"{key}={value}" for key, value in values.items()]))
        addresses = self.server.start()
        self.admin = f"http://{addresses.admin}"
        self.channel = grpc.insecure_channel(addresses.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stopped = False
        assert until(lambda: self.status()["lastResult"] == "activated")  # nobody waits for a candidate but we

    def ask(self, path: str) -> Answer:
        raw = build_check(Check(host="open.test", path=path))
        return read_answer(self.channel.unary_unary(CHECK)(raw, timeout=10))

    def metric(self, name: str) -> float:
        """The value of a series; 0 when there is none."""
        lines = httpx.get(f"{self.admin}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)

    def compared(self) -> float:
        return sum(
            self.metric(f'extauthz_candidate_checks_total{{result="{result}"}}')
            for result in ("agreed", "disagreed", "failed")
        )

    def status(self) -> Any:
        return httpx.get(f"{self.admin}/status").json()["candidate"]

    def recorded(self) -> list[CandidateEvent]:
        """The candidate's events, from a journal that verifies."""
        self.stop()
        assert verify(self.journal).ok
        lines = [
            line for file in sorted(self.journal.glob("segment-*.ndjson")) for line in file.read_text().splitlines()
        ]
        events = (read_candidate(json.dumps(json.loads(line)["event"]).encode()) for line in lines)
        return [event for event in events if event is not None]

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.server.stop(lambda _seconds: False)
            self.channel.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(found)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(**settings: Any) -> Running:
        started.append(Running(tmp_path / str(len(started)), **settings))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.mark.parametrize("kind", ["loop", "stock"])
def test_each_disagreement_is_counted_and_recorded_once_and_no_answer_is_another(start, kind: str) -> None:
    running = start(transport__kind=kind)
    ids = {path: answer.metadata["decision_id"] for path in EXPECTED if (answer := running.ask(path))}
    assert until(lambda: running.compared() == len(EXPECTED))
    assert running.ask("/news/a").allowed
    assert not running.ask("/drafts/a").allowed
    assert until(lambda: running.compared() == len(EXPECTED) + 2)
    for path, expected in EXPECTED.items():
        if expected is not None:
            change, policy, _ = expected
            again = path in {"/news/a", "/drafts/a"}
            name = f'extauthz_candidate_disagreements_total{{change="{change}",policy="{policy}"}}'
            assert 1 + again == running.metric(name), path
    groups = {
        (g["change"], g["policy"], g["rule"]): (g["count"], g["example"])
        for g in running.status()["comparison"]["groups"]
    }
    found = [
        (event.decision_id, (event.change, event.policy or event.live_policy, event.rule or event.live_rule))
        for event in running.recorded()
    ]
    for path, expected in EXPECTED.items():
        assert ([expected] if expected else []) == [what for decision, what in found if decision == ids[path]]
        if expected:
            assert ids[path] == groups[expected][1]
    assert 6 == len(found)


def test_the_record_names_both_bundles_and_both_decisions(start) -> None:
    running = start()
    running.ask("/news/a")
    assert until(lambda: running.compared() == 1)
    status = running.status()
    (event,) = running.recorded()
    assert ("allow_to_deny", "deny", "no_policy_matched") == (event.change, event.outcome, event.reason)
    assert ("allow", "policy_allowed", "readers", "news") == (
        event.live_outcome,
        event.live_reason,
        event.live_policy,
        event.live_rule,
    )
    assert (status["revision"], status["digest"]) == (event.revision, event.digest)
    assert status["comparison"]["liveRevision"] == event.live_revision


def test_the_gate_opens_when_enough_was_compared_without_a_disagreement(start) -> None:
    running = start()
    for _ in range(4):
        running.ask("/public/a")
    assert until(lambda: running.compared() == 4)
    assert ["4 checks were compared, `minCompared` is 5"] == running.status()["notPromotableBecause"]
    running.ask("/public/a")
    assert until(lambda: running.status()["promotable"])
    assert 1 == running.metric("extauthz_candidate_promotable")
    running.ask("/news/a")
    assert until(lambda: not running.status()["promotable"])
    assert ["1 checks differ in `allow_to_deny`, `maxAllowToDeny` is 0"] == running.status()["notPromotableBecause"]


def test_a_new_candidate_is_compared_from_nothing_and_a_bad_one_leaves_the_former(start) -> None:
    running = start()
    running.ask("/news/a")
    assert until(lambda: running.compared() == 1)
    (running.candidate / "bundle.yaml").write_text(CANDIDATE.replace("effect: deny", "effect: maybe"))
    assert until(lambda: running.status()["lastResult"] == "rejected")
    status = running.status()
    assert ("parse", 1) == (status["lastStep"], status["comparison"]["compared"])
    assert any("maybe" in finding for finding in status["lastFindings"])
    (running.candidate / "bundle.yaml").write_text(LIVE)
    assert until(lambda: running.status()["lastResult"] == "activated")
    assert 0 == running.status()["comparison"]["compared"]
    running.ask("/news/a")
    assert until(lambda: running.compared() == 2)
    assert {} == running.status()["comparison"]["changes"]


def test_nothing_is_compared_at_a_sample_of_nothing(start) -> None:
    running = start(bundle__candidate__sample=0)
    for _ in range(20):
        running.ask("/news/a")
    status = running.status()
    assert ("activated", None) == (status["lastResult"], status["comparison"])
    assert 0 == running.compared()
    assert [] == running.recorded()


def test_a_sample_is_told_by_the_decision_id(start) -> None:
    """Half of them, and the same half whoever looks: ids below the middle."""
    running = start(bundle__candidate__sample=0.5)
    ids = [running.ask("/news/a").metadata["decision_id"] for _ in range(100)]
    sampled = {each for each in ids if int(each, 16) < 1 << 127}
    assert until(lambda: running.compared() == len(sampled))
    assert sampled == {event.decision_id for event in running.recorded()}
