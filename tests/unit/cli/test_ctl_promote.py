"""`extauthz ctl promote` against a whole server: what was compared comes into force, if the gate lets it pass."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from extauthz.cli.ctl import command
from tests.unit.bundle.small_bundle import BUNDLE, POLICY
from tests.unit.cli.emergency_server import ACCOUNT, WHO, Running
from tests.unit.cli.test_ctl_bundles import until

REFUSED = 1
LIMITED = {"limit": 9}  # of a caller whom the live bundle refuses, and the second candidate lets pass


class Site(Running):
    """A server with a candidate that differs in its revision alone."""

    def __init__(self, directory: Path) -> None:
        self.candidate = directory / "candidate"
        super().__init__(
            directory,
            bundle__stateDirectory=directory / "state",
            bundle__candidate__directory=self.candidate,
            bundle__candidate__pollSeconds=0.1,
            bundle__candidate__maxShare=1.0,
            bundle__candidate__gate__minCompared=3,
            bundle__candidate__gate__minSeconds=0,
        )

    def offer(self, name: str, limit: int = 10) -> None:
        """Make a candidate of the live bundle."""
        self.candidate.mkdir(exist_ok=True)
        for file in self.bundle.rglob("*.*"):
            if file.is_file() and "tests" not in file.parts:
                place = self.candidate / file.relative_to(self.bundle)
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(file.read_bytes())
        (self.candidate / "policy.yaml").unlink(missing_ok=True)
        fresh = self.candidate / ".fresh"
        fresh.write_text(f"{BUNDLE.replace('small-1', name)}---\n{POLICY.replace('limit >= 10', f'limit >= {limit}')}")
        fresh.rename(self.candidate / "bundle.yaml")
        assert until(lambda: self.page()["candidate"]["revision"] == name), self.page()["candidate"]

    def compare(self, checks: int, **claims: Any) -> None:
        """Let so many Checks be compared."""
        had = self.compared()
        for _ in range(checks):
            self.ask(ACCOUNT, **claims)
        assert until(lambda: self.compared() >= had + checks), self.page()["candidate"]

    def compared(self) -> int:
        comparison = self.page()["candidate"]["comparison"]
        return int(comparison["compared"]) if comparison else 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "candidate").mkdir()
    found = Site(tmp_path)
    yield found
    found.stop()


def test_exactly_what_was_compared_comes_into_force_and_a_rollback_goes_back(site: Site) -> None:
    site.offer("next")
    said = site.ctl("promote", *WHO)
    assert REFUSED == said.exit_code
    assert "extauthz: the gate does not let `next` pass: " in said.stderr
    site.compare(3)
    digest = site.page()["candidate"]["digest"]
    done = site.order("promote")
    assert ("next", "small-1", digest) == (site.by(), done["before"]["revision"], done["after"]["digest"])
    assert digest == site.page()["bundle"]["digest"]
    (kind, detail) = site.events("bundle_promoted")[-1]
    assert ("done", "small-1", "next", "operator-1", "INC-1") == tuple(
        detail[name] for name in ("result", "from", "to", "operator", "reason")
    )
    assert "3 Checks compared" in detail["basis"]
    assert "forced" not in detail
    assert "bundle_promoted" == kind
    rolled = json.loads(site.ctl("rollback", *WHO, "--format", "json").stdout)
    assert ("small-1", "small-1") == (site.by(), rolled["after"]["revision"])


def test_what_the_source_still_holds_waits_also_after_a_restart_until_it_has_caught_up(site: Site) -> None:
    site.offer("next")
    site.compare(3)
    assert "small-1" == site.order("promote")["waiting"]
    site.restart()
    bundle = site.page()["bundle"]
    assert ("next", "promotion", "small-1") == (bundle["revision"], bundle["heldBy"], bundle["waiting"])
    said = site.ctl("unpin", *WHO)
    assert "`next` was promoted: what is newer comes by itself" in said.stderr
    for file in ("policy.yaml", "tests/staff.yaml"):
        (site.bundle / file).unlink()
    site.write("bundle.yaml", (site.candidate / "bundle.yaml").read_text())
    assert until(lambda: not site.page()["bundle"].get("heldBy"))
    assert "next" == site.by()


def test_a_disagreement_stops_it_and_force_is_on_record_with_what_it_overrode(site: Site) -> None:
    site.offer("wider", limit=5)
    site.compare(3, **LIMITED)
    said = site.ctl("promote", *WHO)
    assert REFUSED == said.exit_code
    assert "the gate does not let `wider` pass: " in said.stderr
    assert said.stderr.strip().endswith("; ".join(site.page()["candidate"]["notPromotableBecause"]))
    assert "small-1" == site.by()
    refused = site.events("bundle_order")[-1][1]
    assert ("promote", "refused") == (refused["order"], refused["result"])
    tried = site.order("promote", "--force", "--dry-run")
    assert (["staff"], True) == (tried["changes"]["changed"], tried["dryRun"])
    assert "small-1" == site.by()
    done = site.order("promote", "--force")
    assert done["forced"]
    assert done["overridden"]
    assert "policy_allowed" == site.reason(ACCOUNT, **LIMITED)
    detail = site.events("bundle_promoted")[-1][1]
    assert "true" == detail["forced"]
    assert done["overridden"][0] in detail["overridden"]
    history = json.loads(site.ctl("revisions", "--format", "json").stdout)["history"]
    assert ("promote", True, "INC-1") == (history[0]["what"], history[0]["forced"], history[0]["reason"])


def test_without_a_candidate_and_while_pinned_nothing_is_promoted(site: Site) -> None:
    assert "extauthz: there is no candidate" in site.ctl("promote", "--force", *WHO).stderr
    site.offer("next")
    site.ctl("pin", *WHO)
    assert "`small-1` is pinned by operator-1" in site.ctl("promote", "--force", *WHO).stderr
    assert "small-1" == site.by()


def test_help_has_examples_and_exit_codes() -> None:
    text = CliRunner().invoke(command, ["promote", "--help"]).stdout
    assert "extauthz ctl promote --force" in text
    assert "Exit codes: 0 " in text
