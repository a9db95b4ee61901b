"""Deltas over HTTPS: what changed, verified as a whole; and the whole again when something else is here."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from extauthz.bundle import Package, pack, unpack
from extauthz.bundle.delta import make_delta
from extauthz.cli.bundle import command
from extauthz.sources import Activation, BundleOptions, BundleSource, Live
from extauthz.sources.bundles.options import FetchOptions, TrustedKeyOptions, TrustOptions
from tests.archives import Signer
from tests.faults.bundle_server import BundleServer, send
from tests.unit.bundle.small_bundle import BUNDLE, files

OWN, STRANGER = Signer(), Signer()


def package(sequence: int, owners: str = '{"alice": ["1"]}', signer: Signer = OWN) -> Package:
    named = {**files(bundle=BUNDLE.replace("small-1", f"r{sequence}")), "data/owners.json": owners.encode()}
    return signer.package(named, sequence, revision=f"r{sequence}")


class Deltas(BundleServer):
    """Answers with a delta when it is asked for one (RFC 3229), else with the whole."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.delta = b""
        self.statuses: list[int] = []
        self.holds = False

    def offer(self, now: Package, delta: Package) -> None:
        self.delta = pack(delta)
        self.publish(pack(now))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        known = handler.headers.get("if-none-match")
        if self.delta and known not in {None, self.tag} and handler.headers.get("a-im") == "extauthz-files":
            self.statuses.append(226)
            send(handler, 226, self.delta, etag=self.tag, im="extauthz-files")
            return
        self.statuses.append(304 if known == self.tag else 200)
        super().answer(handler)


class Server:
    """A source that is asked when the test says so."""

    def __init__(self, server: Deltas, state: Path) -> None:
        self.live, self.reports = Live(), list[Activation]()
        fetch = FetchOptions(ca_file=str(server.ca_file), wait_seconds=0, timeout_seconds=5.0)
        trust = TrustOptions(keys=(TrustedKeyOptions(id=OWN.id),))
        options = BundleOptions(url=server.url, fetch=fetch, trust=trust, state_directory=str(state))
        self.source = BundleSource(options, self.live, self.reports.append)
        self.source.begin()

    def ask(self) -> str:
        self.source.refresh()
        return self.live.status().revision

    @property
    def owners(self) -> Any:
        assert self.live.latest is not None
        return self.live.latest.policies._facts.files["owners"]


@pytest.fixture
def web(tmp_path: Path) -> Any:
    found = Deltas(tmp_path)
    found.publish(pack(package(1)))
    yield found
    found.down()


def test_what_changed_is_enough(web: Deltas, tmp_path: Path) -> None:
    """The bundle is put together from what is on the disk, and stands there whole for the next restart."""
    server = Server(web, tmp_path / "state")
    assert server.ask() == "r1"
    now = package(2, '{"alice": ["2"]}')
    delta = make_delta(package(1).files, now)
    assert {"bundle.yaml", "data/owners.json"} == delta.files.keys()
    web.offer(now, delta)
    assert server.ask() == "r2"
    assert server.owners == {"alice": ["2"]}
    assert web.statuses == [200, 226]
    web.down()
    again = Server(web, tmp_path / "state")
    assert again.live.status().revision == "r2"
    assert again.live.status().digest == server.live.status().digest
    web.up()


def test_a_delta_to_something_else_makes_the_server_ask_for_the_whole(web: Deltas, tmp_path: Path) -> None:
    """It missed a state: that is no rejection and no reason to wait for somebody."""
    server = Server(web, tmp_path / "state")
    assert server.ask() == "r1"
    now = package(3, '{"alice": ["2"]}')
    web.offer(now, make_delta(package(2, '{"alice": ["2"]}').files, now))
    assert server.ask() == "r1"
    assert server.ask() == "r3"
    assert web.statuses == [200, 226, 200]
    assert [report.result for report in server.reports] == ["activated", "activated"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda _: package(2, signer=STRANGER), "key"),
        (lambda now: Package({**now.files, "data/owners.json": b"{}"}, now.manifest, now.signatures), "digest differs"),
        (lambda now: Package({**now.files, "more.yaml": b""}, now.manifest, now.signatures), "does not list"),
        (lambda _: package(0, '{"alice": ["9"]}'), "a rollback"),
    ],
)
def test_a_delta_is_trusted_no_more_than_the_whole(web: Deltas, tmp_path: Path, spoil: Any, why: str) -> None:
    """Signature, digests, list of files and sequence are those of the whole bundle."""
    server = Server(web, tmp_path / "state")
    assert server.ask() == "r1"
    web.offer(package(2), make_delta(package(1).files, spoil(package(2, '{"alice": ["2"]}'))))
    assert server.ask() == "r1"
    assert server.reports[-1].result == "rejected"
    assert server.reports[-1].step == "verify"
    assert why in str(server.reports[-1].findings[0])


def test_files_that_are_missing_without_a_delta_are_missing(web: Deltas, tmp_path: Path) -> None:
    """Only an answer that says it is a delta is completed."""
    server = Server(web, tmp_path / "state")
    assert server.ask() == "r1"
    web.publish(pack(make_delta(package(1).files, package(2))))
    assert server.ask() == "r1"
    assert "not there" in str(server.reports[-1].findings[0])


def test_the_command_writes_what_servers_take(web: Deltas, tmp_path: Path) -> None:
    old, new, out = (tmp_path / name for name in ("old.tar.gz", "new.tar.gz", "delta.tar.gz"))
    now = package(2, '{"alice": ["2"]}')
    old.write_bytes(pack(package(1)))
    new.write_bytes(pack(now))
    done = CliRunner().invoke(command, ["delta", str(old), str(new), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert f"2 of {len(now.files)} files" in done.output
    assert unpack(out.read_bytes(), "delta") == make_delta(package(1).files, now)
