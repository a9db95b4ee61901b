"""Every step of a bundle on its way into force, broken in turn: what is in force stays, and the error says where and why.

A real `extauthz serve`, a real HTTPS server on the loopback, real signatures.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from extauthz.bundle import Package, pack
from tests.archives import HOSTILE, Signer, with_member, zip_bomb
from tests.faults.bundle_server import BundleServer
from tests.faults.process import POLICY, Started, until

TESTED = """
---
apiVersion: extauthz.io/v1
kind: PolicyTest
metadata: {name: readers}
spec:
  cases:
  - name: anybody reads
    request: {host: open.test, path: /public/a}
    expect: {outcome: OUTCOME}
"""
OWN, EXPIRED, STRANGER = Signer(), Signer(), Signer()


def files(revision: str = "r1", policy: str = POLICY, outcome: str = "allow", **more: str) -> dict[str, bytes]:
    about = f"apiVersion: extauthz.io/v1\nkind: Bundle\nmetadata: {{name: small}}\nspec: {{revision: {revision}}}\n"
    texts = {"bundle.yaml": about, "policy.yaml": policy + TESTED.replace("OUTCOME", outcome)}
    return {**{name: text.encode() for name, text in texts.items()}, **{k: v.encode() for k, v in more.items()}}


class Delivered(Started):
    """A server that takes its bundle from a `BundleServer`."""

    def __init__(self, directory: Path, source: BundleServer | None) -> None:
        super().__init__(directory)
        self.source = source
        self.state = directory / "state"
        del self.set["bundle.directory"]
        expired = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        keys = [{"id": OWN.id}, {"id": EXPIRED.id, "notAfter": expired}]
        self.set |= {
            "bundle.stateDirectory": self.state,
            "bundle.trust.keys": json.dumps(keys),
            "bundle.fetch.retrySeconds": 0.05,
            "bundle.fetch.retryMaxSeconds": 0.2,
            "bundle.fetch.pollSeconds": 0.2,
            "telemetry.logs.burst": 1000,
        }
        if source is not None:
            self.set |= {"bundle.url": source.url, "bundle.fetch.caFile": source.ca_file}

    def bundle_status(self) -> dict[str, Any]:
        status: dict[str, Any] = httpx.get(f"{self.admin}/status").json()["bundle"]
        return status

    def revision(self) -> str:
        return str(self.bundle_status()["revision"])

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.admin}/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def events(self) -> list[dict[str, Any]]:
        """The lifecycle events of the journal so far."""
        lines = [
            line for file in sorted(self.journal.glob("segment-*.ndjson")) for line in file.read_text().splitlines()
        ]
        found = [json.loads(line).get("event", {}) for line in lines if '"lifecycle"' in line]
        return [event["lifecycle"] for event in found]

    def serves(self, revision: str) -> None:
        """What is in force decides, by the rules of that revision."""
        answer = self.ask()
        assert (True, revision) == (answer.allowed, answer.metadata["revision"])
        assert (200, []) == self.ready()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivered]:
    """One server for all that is broken, with revision r1 in force."""
    directory = tmp_path_factory.mktemp("delivery")
    source = BundleServer(directory)
    source.publish(OWN.archive(files(), 1, revision="r1"))
    server = Delivered(directory, source).serve()
    assert until(lambda: server.revision() == "r1")
    yield server
    server.stop()
    source.down()


def good(sequence: int = 2) -> Package:
    return OWN.package(files("r2"), sequence, revision="r2")


def signed(**changes: Any) -> bytes:
    return OWN.archive(files("r2", **changes), 2, revision="r2")


YAML_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
BROKEN: Mapping[str, tuple[Callable[[], bytes], str, str]] = {
    "truncated archive": (lambda: pack(good())[:-500], "unpack", "the archive is truncated"),
    "zip bomb": (zip_bomb, "unpack", "the archive unpacks to more than"),
    **{
        name: ((lambda extra=extra: with_member(good(), *extra)), "unpack", expected)  # type: ignore[misc]
        for name, (extra, expected) in HOSTILE.items()
    },
    "not signed": (lambda: pack(Package(good().files, good().manifest)), "verify", "the bundle is not signed"),
    "wrong signature": (
        lambda: pack(Package(good().files, good().manifest, good(3).signatures)),
        "verify",
        f"the signature by key `{OWN.id[:16]}` is wrong: the manifest was changed after it was signed",
    ),
    "unknown key": (
        lambda: STRANGER.archive(files("r2"), 2),
        "verify",
        f"signed by a key that is not trusted: `{STRANGER.id[:16]}`",
    ),
    "expired key": (lambda: EXPIRED.archive(files("r2"), 2), "verify", f"key `{EXPIRED.id[:16]}` expired at 20"),
    "changed file": (
        lambda: pack(Package(files("r3"), good().manifest, good().signatures)),
        "verify",
        "bundle.yaml: the file is not the one that the manifest lists",
    ),
    "file outside the manifest": (
        lambda: pack(Package({**files("r2"), "z.yaml": b"a: 1"}, good().manifest, good().signatures)),
        "verify",
        "z.yaml: the manifest does not list this file",
    ),
    "rollback": (lambda: OWN.archive(files("r0"), 0), "verify", "is lower than 1, which was in force: a rollback"),
    "reused number": (lambda: OWN.archive(files("r0"), 1), "verify", "sequence 1 was in force with other files"),
    "broken YAML": (lambda: signed(policy="a: ["), "parse", "policy.yaml:"),
    "YAML bomb": (lambda: signed(**{"bomb.yaml": YAML_BOMB}), "parse", "bomb.yaml:1: anchor `&a` is not supported"),
    "deep YAML": (lambda: signed(**{"deep.yaml": "[" * 100_000}), "parse", "deep.yaml:1: nested more than 64 levels"),
    "duplicate keys": (lambda: signed(**{"z.yaml": "a: 1\na: 2\n"}), "parse", "z.yaml:2: key `a` is already set"),
    "unknown field": (
        lambda: signed(policy=POLICY.replace("effect: allow", "effekt: allow")),
        "parse",
        "policy.yaml:13: spec.effekt: unknown field `effekt`, did you mean `effect`?",
    ),
    "two profiles for a route": (
        lambda: signed(policy=POLICY + "---" + POLICY.replace("{name: open}", "{name: more}").partition("---")[0]),
        "lint",
        "is already a route of profile",
    ),
    "condition that does not compile": (
        lambda: signed(policy=POLICY + "    condition: no.such.thing == 1\n"),
        "compile",
        "policy.yaml:17: spec.rules[0].condition",
    ),
    "own tests fail": (lambda: signed(outcome="deny"), "test", "case `anybody reads` of `readers` fails: outcome"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_stays_out_and_says_where_and_why(site: Delivered, name: str) -> None:
    make, step, expected = BROKEN[name]
    failed = f'extauthz_bundle_steps_total{{result="failed",step="{step}"}}'
    before = site.metric(failed)
    assert site.source is not None
    site.source.publish(make())
    assert until(lambda: expected in " ".join(site.bundle_status()["lastFindings"])), site.bundle_status()
    status = site.bundle_status()
    assert ("r1", 1, "rejected", step) == (
        status["revision"],
        status["sequence"],
        status["lastResult"],
        status["lastStep"],
    )
    assert before + 1 == site.metric(failed)
    site.serves("r1")
    assert until(lambda: any(expected in event["detail"].get("first", "") for event in site.events()))
    last = site.events()[-1]
    assert ("bundle_rejected", step) == (last["kind"], last["detail"]["step"])


def test_after_all_that_a_good_one_comes_into_force(tmp_path: Path) -> None:
    """On a server of its own: the one above stays at r1 for the others."""
    source = BundleServer(tmp_path)
    source.publish(OWN.archive(files(), 1, revision="r1"))
    server = Delivered(tmp_path, source).serve()
    try:
        server.serves("r1")
        for make, _, expected in list(BROKEN.values())[::7]:
            source.publish(make())
            assert until(lambda expected=expected: expected in " ".join(server.bundle_status()["lastFindings"]))  # type: ignore[misc]
        source.publish(OWN.archive(files("r2"), 2, revision="r2"))
        assert until(lambda: server.revision() == "r2")
        server.serves("r2")
        status = server.bundle_status()
        assert (2, OWN.id, source.url) == (status["sequence"], status["signedBy"], status["origin"])
        activated = [event["detail"] for event in server.events() if event["kind"] == "bundle_activated"]
        assert [("r1", "1"), ("r2", "2")] == [(detail["revision"], detail["sequence"]) for detail in activated]
    finally:
        code, _ = server.stop()
        source.down()
    assert 0 == code
