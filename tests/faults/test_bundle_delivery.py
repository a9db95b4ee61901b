"""Every step of a bundle on its way into force, broken in turn: what is in force stays, and the error says where and why.

A real `extauthz serve`, a real HTTPS server on the loopback, real signatures.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from extauthz.bundle import Package, pack
from tests.archives import HOSTILE, Signer, with_member, zip_bomb
from tests.documents import PUBLIC
from tests.faults.bundle_server import BundleServer, cut_off
from tests.faults.process import Started, until
from tests.registry import Registry

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


def files(revision: str = "r1", policy: str = PUBLIC, outcome: str = "allow", **more: str) -> dict[str, bytes]:
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
        lambda: signed(policy=PUBLIC.replace("effect: allow", "effekt: allow")),
        "parse",
        "policy.yaml:13: spec.effekt: unknown field `effekt`, did you mean `effect`?",
    ),
    "two profiles for a route": (
        lambda: signed(policy=PUBLIC + "---" + PUBLIC.replace("{name: open}", "{name: more}").partition("---")[0]),
        "lint",
        "is already a route of profile",
    ),
    "condition that does not compile": (
        lambda: signed(policy=PUBLIC + "    condition: no.such.thing == 1\n"),
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


# --- the source


@pytest.fixture
def source(tmp_path: Path) -> Iterator[BundleServer]:
    found = BundleServer(tmp_path)
    found.publish(OWN.archive(files(), 1, revision="r1"))
    yield found
    found.down()


@pytest.fixture
def served(tmp_path: Path, source: BundleServer) -> Iterator[Delivered]:
    """A server of its own with r1 in force."""
    server = Delivered(tmp_path, source).serve()
    yield from in_force(server)


def in_force(server: Delivered) -> Iterator[Delivered]:
    assert until(lambda: server.ready() == (200, []))
    yield server
    if server.process and server.process.poll() is None:
        server.stop()


def test_a_source_gone_in_the_middle_of_an_archive_leaves_what_is_in_force(
    served: Delivered, source: BundleServer
) -> None:
    """Half an archive is never looked at; when the source is back, it is asked on."""
    archive = OWN.archive(files("r2"), 2, revision="r2")
    source.respond = cut_off(archive, len(archive) // 2)
    source.publish(archive)
    assert until(lambda: "broke off" in " ".join(served.bundle_status()["lastFindings"]))
    status = served.bundle_status()
    assert ("unreachable", "fetch", "r1") == (status["lastResult"], status["lastStep"], status["revision"])
    served.serves("r1")
    source.down()
    assert until(lambda: "cannot be reached" in " ".join(served.bundle_status()["lastFindings"]))
    served.serves("r1")
    source.respond = None
    source.up()
    assert until(lambda: served.revision() == "r2")
    kinds = [event["kind"] for event in served.events()]
    assert "bundle_unreachable" in kinds
    assert served.metric('extauthz_bundle_steps_total{result="failed",step="fetch"}') >= 2


def test_a_source_that_comes_back_with_nothing_new_is_told_too(served: Delivered, source: BundleServer) -> None:
    source.down()
    assert until(lambda: served.bundle_status()["lastResult"] == "unreachable")
    source.up()
    assert until(lambda: served.bundle_status()["lastResult"] == "unchanged")
    assert until(lambda: "bundle_reachable" in [event["kind"] for event in served.events()])


def test_a_server_whose_source_is_not_there_yet_waits_for_it(tmp_path: Path) -> None:
    source = BundleServer(tmp_path)
    source.down()
    server = Delivered(tmp_path, source).serve()
    try:
        assert (503, ["no bundle is in force"]) == server.ready()
        assert "no_bundle" == server.ask().metadata["reason"]
        source.publish(OWN.archive(files(), 1, revision="r1"))
        source.up()
        assert until(lambda: server.ready() == (200, []))
        server.serves("r1")
    finally:
        server.stop()
        source.down()


# --- the disk


def test_a_restart_needs_no_source(served: Delivered, source: BundleServer) -> None:
    """The copy on disk is verified like any other, and the source is asked whether it still holds."""
    source.down()
    served.stop()
    served.ports.unlink()
    served.serve()
    served.serves("r1")
    status = served.bundle_status()
    assert status["origin"].startswith(str(served.state))
    assert (1, OWN.id) == (status["sequence"], status["signedBy"])
    asked = len(source.asked)
    source.up()
    assert until(lambda: len(source.asked) > asked)
    assert '"v1"' == source.asked[asked][1]["if-none-match"], "nothing is downloaded twice"
    source.publish(OWN.archive(files("r2"), 2, revision="r2"))
    assert until(lambda: served.revision() == "r2")


def test_a_copy_on_disk_that_was_changed_is_not_put_in_force(served: Delivered, source: BundleServer) -> None:
    """Whoever can write to the directory, digests included, can deny service, and nothing more."""
    served.stop()
    source.down()
    (archive,) = (served.state / "revisions").glob("*.tar.gz")
    about = archive.with_name(archive.name.replace(".tar.gz", ".json"))
    forged = STRANGER.archive(files(policy=PUBLIC.replace("/public/**", "/**")), 9)
    archive.write_bytes(forged)
    about.write_text(json.dumps({**json.loads(about.read_text()), "sha256": sha256(forged).hexdigest()}))
    served.ports.unlink()
    served.serve()
    assert (503, ["no bundle is in force"]) == served.ready()
    assert "no_bundle" == served.ask().metadata["reason"]
    assert until(lambda: [e for e in served.events() if "not trusted" in e["detail"].get("first", "")] != [])
    source.up()
    assert until(lambda: served.ready() == (200, [])), "the source has a good one"
    served.serves("r1")


def test_marks_survive_a_restart(served: Delivered, source: BundleServer) -> None:
    """Anti-rollback: an old bundle with a good signature is still an old bundle."""
    source.publish(OWN.archive(files("r7"), 7, revision="r7"))
    assert until(lambda: served.revision() == "r7")
    served.stop()
    served.ports.unlink()
    source.publish(OWN.archive(files("r6"), 6, revision="r6"))
    served.serve()
    expected = "sequence 6 is lower than 7, which was in force: a rollback"
    assert until(lambda: expected in " ".join(served.bundle_status()["lastFindings"]))
    served.serves("r7")


def test_a_damaged_state_ends_the_start(served: Delivered) -> None:
    """Without marks an old bundle could come back, so there is no starting without them by accident."""
    served.stop()
    served.ports.unlink()
    (served.state / "state.json").write_text("{}")
    code, lines = served.fail()
    assert 4 == code
    assert f"extauthz: `{served.state}/state.json` is damaged: " in lines[0]


def test_going_back_needs_leave_and_is_on_record(served: Delivered, source: BundleServer, tmp_path: Path) -> None:
    source.publish(OWN.archive(files("r7"), 7, revision="r7"))
    assert until(lambda: served.revision() == "r7")
    older = OWN.archive(files("r6"), 6, revision="r6")
    source.publish(older)
    assert until(lambda: "a rollback" in " ".join(served.bundle_status()["lastFindings"]))
    (tmp_path / "older.tar.gz").write_bytes(older)
    leave = ["--state", str(served.state), "--operator", "ana", "--reason", "INC-4711"]
    command = [sys.executable, "-m", "extauthz", "bundle", "permit", str(tmp_path / "older.tar.gz"), *leave]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    source.publish(older)  # the source offers it again: another ETag
    assert until(lambda: served.revision() == "r6")
    served.serves("r6")
    assert until(lambda: "bundle_rolled_back" in [event["kind"] for event in served.events()])
    detail = next(event["detail"] for event in served.events() if event["kind"] == "bundle_rolled_back")
    assert ("r6", "6", "ana", "INC-4711") == tuple(
        detail[name] for name in ("revision", "sequence", "operator", "reason")
    )
    assert 1 == served.metric('extauthz_bundle_activations_total{result="rolled_back"}')
    served.stop()
    served.ports.unlink()
    source.down()
    served.serve()
    served.serves("r6")  # also from the disk
    source.up()
    source.publish(OWN.archive(files("r8"), 8, revision="r8"))
    assert until(lambda: served.revision() == "r8")
    source.publish(older)
    assert until(lambda: "lower than 8" in " ".join(served.bundle_status()["lastFindings"])), "leave has ended"


def test_a_full_disk_keeps_a_bundle_out_until_there_is_room(tmp_path: Path, source: BundleServer) -> None:
    """A limit on the size of files stops the write of the archive in the middle, as a full disk does."""
    server = Delivered(tmp_path, source)
    server.limits = {resource.RLIMIT_FSIZE: 200_000}
    server.serve()
    try:
        assert until(lambda: server.ready() == (200, []))
        source.publish(
            OWN.archive({**files("r2"), "data/large.json": b"[" + b"1, " * 150_000 + b"1]"}, 2, revision="r2")
        )
        expected = f"the state directory `{server.state}` cannot be used: file too large"
        assert until(lambda: expected in " ".join(server.bundle_status()["lastFindings"])), server.bundle_status()
        status = server.bundle_status()
        assert ("rejected", "activate", "r1") == (status["lastResult"], status["lastStep"], status["revision"])
        server.serves("r1")
        assert not list(server.state.rglob("*.new"))
        assert server.process
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert until(lambda: server.revision() == "r2"), "there is room again, and nobody had to do anything"
        server.serves("r2")
    finally:
        server.stop()


# --- age


def test_a_bundle_that_is_too_old_decides_no_more(tmp_path: Path, source: BundleServer) -> None:
    server = Delivered(tmp_path, source)
    server.set |= {"bundle.maxAgeSeconds": 1.5, "bundle.whenTooOld": "undecided"}
    server.serve()
    try:
        assert until(lambda: server.ready() == (200, []))
        time.sleep(2)
        server.serves("r1")
        source.down()
        assert until(lambda: server.ready()[0] == 503)
        assert ["the bundle is too old: its source has not been heard for longer than `bundle.maxAgeSeconds`"] == (
            server.ready()[1]
        )
        assert "NOT_SERVING" == server.health()
        answer = server.ask()
        assert (False, 503, "bundle_too_old") == (answer.allowed, answer.http_status, answer.metadata["reason"])
        assert (1, True) == (server.metric("extauthz_bundle_too_old"), server.bundle_status()["tooOld"])
        assert server.metric("extauthz_bundle_contact_age_seconds") > 1.5
        server.stop()
        server.ports.unlink()
        server.serve()
        assert "bundle_too_old" == server.ask().metadata["reason"], "a restart makes it no younger"
        source.up()
        assert until(lambda: server.ready() == (200, []))
        server.serves("r1")
        kinds = [event["kind"] for event in server.events()]
        assert 2 == kinds.count("bundle_too_old")
    finally:
        server.stop()


def test_a_source_that_brings_only_what_nobody_may_trust_is_not_heard(tmp_path: Path, source: BundleServer) -> None:
    """Whoever holds the source must not keep an old policy alive by sending rubbish."""
    server = Delivered(tmp_path, source)
    server.set |= {"bundle.maxAgeSeconds": 1.5, "bundle.whenTooOld": "undecided"}
    server.serve()
    try:
        assert until(lambda: server.ready() == (200, []))
        source.publish(STRANGER.archive(files("r2"), 2))
        assert until(lambda: server.ready()[0] == 503)
        source.publish(OWN.archive(files("r2"), 2, revision="r2"))
        assert until(lambda: server.ready() == (200, []))
    finally:
        server.stop()


# --- other sources


def test_a_signed_directory_is_verified_file_by_file(tmp_path: Path) -> None:
    server = Delivered(tmp_path, None)
    write(server.bundle, OWN.package(files(), 1, revision="r1"))
    server.set |= {"bundle.directory": server.bundle}
    server.serve()
    try:
        assert until(lambda: server.ready() == (200, []))
        server.serves("r1")
        assert OWN.id == server.bundle_status()["signedBy"]
        (server.bundle / "z.yaml").write_text("a: 1")
        expected = "z.yaml: the manifest does not list this file"
        assert until(lambda: expected in " ".join(server.bundle_status()["lastFindings"]))
        assert "verify" == server.bundle_status()["lastStep"]
        server.serves("r1")
        (server.bundle / "z.yaml").unlink()
        write(server.bundle, OWN.package(files("r2"), 2, revision="r2"))
        assert until(lambda: server.revision() == "r2")
        write(server.bundle, OWN.package(files(), 1, revision="r1"))
        assert until(lambda: "a rollback" in " ".join(server.bundle_status()["lastFindings"]))
        server.stop()
        server.ports.unlink()
        shutil.rmtree(server.bundle)
        server.serve()
        server.serves("r2")
    finally:
        server.stop()


def write(directory: Path, package: Package) -> None:
    """As `extauthz bundle sign` leaves a directory."""
    for name, content in package.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    (directory / ".manifest.sig").write_bytes(package.signatures or b"")
    (directory / ".manifest.json").write_bytes(package.manifest or b"")


def test_a_registry_serves_bundles_and_survives_its_lies(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    registry = Registry(authority)
    server = Delivered(tmp_path, None)
    registry.push(OWN.archive(files(), 1, revision="r1"))
    server.set |= {"bundle.oci": f"{registry.host}/policies/bank:live", "bundle.fetch.caFile": tmp_path / "ca.pem"}
    server.serve()
    try:
        assert until(lambda: server.ready() == (200, []))
        server.serves("r1")
        registry.spoil = lambda path, body: body[:-1] + b"x" if "blobs" in path else body
        registry.push(OWN.archive(files("r2"), 2, revision="r2"))
        expected = "which the registry's manifest names"
        assert until(lambda: expected in " ".join(server.bundle_status()["lastFindings"]))
        assert ("verify", "r1") == (server.bundle_status()["lastStep"], server.revision())
        registry.spoil = lambda _, body: body
        assert until(lambda: server.revision() == "r2")
        registry.push(STRANGER.archive(files("r3"), 3))
        assert until(lambda: "not trusted" in " ".join(server.bundle_status()["lastFindings"]))
        server.serves("r2")
        server.stop()
        server.ports.unlink()
        registry.stop()
        server.serve()
        server.serves("r2")
    finally:
        server.stop()


def test_a_file_that_cannot_be_used_ends_the_start(tmp_path: Path, source: BundleServer) -> None:
    server = Delivered(tmp_path, source)
    server.set["bundle.fetch.caFile"] = tmp_path / "gone.pem"
    code, lines = server.fail()
    assert (4, [f"extauthz: `bundle`: `{tmp_path}/gone.pem` cannot be read: no such file or directory"]) == (
        code,
        lines,
    )


def test_a_trusted_key_that_is_not_there_ends_the_start(tmp_path: Path, source: BundleServer) -> None:
    server = Delivered(tmp_path, source)
    server.set["bundle.trust.keys"] = '[{"file": "/nowhere.pub"}]'
    code, lines = server.fail()
    assert (4, ["extauthz: `bundle.trust.keys`: `/nowhere.pub` cannot be read: no such file or directory"]) == (
        code,
        lines,
    )


def test_workers_share_the_state_and_each_brings_a_change_into_force(tmp_path: Path, source: BundleServer) -> None:
    """Both follow the source; both know the marks; one that is started anew needs no source."""
    server = Delivered(tmp_path, source)
    server.set["workers.count"] = 2
    server.serve()
    addresses: list[str] = json.loads(server.ports.read_text())["workers"]

    def revisions() -> set[str]:
        found = set()
        for server.grpc in addresses:
            found.add(server.ask().metadata["revision"])
        return found

    try:
        assert until(lambda: server.ready()[0] == 200, 30)
        assert {"r1"} == revisions()
        for number in range(2, 5):
            source.publish(OWN.archive(files(f"r{number}"), number, revision=f"r{number}"))
            assert until(lambda number=number: revisions() == {f"r{number}"})  # type: ignore[misc]
        source.publish(OWN.archive(files("r3"), 3, revision="r3"))
        time.sleep(0.5)
        assert {"r4"} == revisions(), "no way back for either"
        assert (
            4 == json.loads((server.state / "state.json").read_text().partition("\n")[2])["marks"]["small"]["sequence"]
        )
    finally:
        server.stop()
