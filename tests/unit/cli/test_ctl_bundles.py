"""`extauthz ctl rollback`, `pin`, `unpin` and `revisions` against a whole server."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from extauthz.cli.ctl import command
from tests.unit.bundle.small_bundle import BUNDLE, POLICY
from tests.unit.cli.emergency_server import ACCOUNT, WHO, Running

REFUSED, UNREACHABLE = 1, 4


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Site(Running):
    """A server that keeps revisions of a directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, bundle__stateDirectory=directory / "state")
        for name in ("two", "three"):
            self.publish(name)

    def publish(self, name: str, *, waits: bool = False) -> None:
        """One file, replaced at once: no state between two is ever seen."""
        policy = POLICY.replace("name: staff", "name: auditors").replace("officer", f"auditor-of-{name}")
        fresh = self.bundle / ".fresh"
        fresh.write_text(f"{BUNDLE.replace('small-1', name)}---\n{policy}")
        fresh.rename(self.bundle / "bundle.yaml")
        where = "waiting" if waits else "revision"
        assert until(lambda: self.status()[where] == name), self.status()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page()["bundle"]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.stop()


def test_a_rollback_is_in_force_with_the_next_request_and_unpin_goes_forward(site: Site) -> None:
    assert "three" == site.by()
    done = site.order("rollback")
    assert ("two", "two", "three") == (site.by(), done["after"]["revision"], done["waiting"])
    again = site.order("unpin")
    assert ("three", "two") == (site.by(), again["before"]["revision"])


def test_the_journal_has_it_before_any_decision_by_it(site: Site) -> None:
    site.order("rollback")
    site.ask(ACCOUNT)
    rolled, decided = [event for event in site.records() if event.keys() & {"lifecycle", "decision"}][-2:]
    assert ("bundle_rolled_back", "two") == (rolled["lifecycle"]["kind"], decided["decision"]["revision"])
    detail = rolled["lifecycle"]["detail"]
    expected = {
        "order": "rollback", "result": "done", "from": "three", "to": "two", "operator": "operator-1", "reason": "INC-1",
    }  # fmt: skip
    assert expected == {name: detail[name] for name in expected}
    assert {"uid", "from_digest", "to_digest"} <= detail.keys()
    assert detail["digest"] == site.status()["digest"]


def test_metrics_status_and_alert_know_of_a_pin(site: Site) -> None:
    assert "extauthz_bundle_held_since" not in site.metrics().replace("# HELP", "").partition("{by=")[1]
    began = time.time()
    site.order("pin")
    site.publish("four", waits=True)
    status = site.status()
    assert ("three", "pin", "four", "held") == (
        status["revision"], status["heldBy"], status["waiting"], status["lastResult"],
    )  # fmt: skip
    metrics = site.metrics()
    assert 'extauthz_bundle_orders_total{order="pin",result="done"} 1.0' in metrics
    assert 'extauthz_bundle_activations_total{result="held"} 1.0' in metrics
    (line,) = [each for each in metrics.splitlines() if each.startswith("extauthz_bundle_held_since")]
    assert '{by="pin"}' in line
    assert began - 1 <= float(line.split()[-1]) <= time.time()
    assert "by a pin, for " in httpx.get(f"http://{site.addresses.admin}/").text
    site.order("unpin")
    assert "four" == site.by()
    assert "extauthz_bundle_held_since_timestamp_seconds{" not in site.metrics()


def test_a_pin_survives_a_restart(site: Site) -> None:
    site.order("pin", "two")
    site.restart()
    assert ("two", "pin", "three") == (site.by(), site.status()["heldBy"], site.status()["waiting"])


def test_revisions_tell_what_is_kept_and_who_did_what_and_why(site: Site) -> None:
    site.order("rollback", "--steps", "2")
    page = json.loads(site.ctl("revisions", "--format", "json").stdout)
    assert [("three", "waiting"), ("two", "kept"), ("small-1", "rolled back to")] == [
        (found["revision"], found["state"]) for found in page["revisions"]
    ]
    assert [("rollback", "small-1", "three"), ("activated", "three", "two")] == [
        (past["what"], past["revision"], past["before"]) for past in page["history"][:2]
    ]
    assert ("operator-1", "INC-1") == (page["history"][0]["operator"], page["history"][0]["reason"])
    text = site.ctl("revisions").stdout
    assert "two  kept: sequence 0, came into force " in text
    assert "rollback small-1 (was three), by operator-1 (uid " in text
    assert "activated two (was small-1), by the source" in text


def test_a_dry_run_names_the_policies(site: Site) -> None:
    said = site.ctl("rollback", "--dry-run", *WHO)
    assert 0 == said.exit_code
    assert "would be rolled back: three -> two" in said.stdout
    assert "policies changed: auditors\n" in said.stdout
    assert "policies added: none\n" in said.stdout
    assert "three" == site.by()
    assert [] == [kind for kind, _ in site.events("bundle_rolled") + site.events("bundle_order")]


def test_a_refused_order_changes_nothing_and_is_on_record(site: Site) -> None:
    said = site.ctl("rollback", "nine", *WHO)
    assert REFUSED == said.exit_code
    assert "extauthz: no revision `nine` is kept; kept are `three`, `two`, `small-1`\n" == said.stderr
    assert "three" == site.by()
    ((kind, detail),) = site.events("bundle_order")
    assert ("bundle_order_refused", "rollback", "refused") == (kind, detail["order"], detail["result"])
    assert "no revision `nine` is kept" in detail["why"]
    assert 'extauthz_bundle_orders_total{order="rollback",result="refused"} 1.0' in site.metrics()


WRONG = [
    (("rollback", "--operator", "x"), 2, "Missing option '--reason'"),
    (("rollback", "--reason", "x"), 2, "Missing option '--operator'"),
    (("rollback", "two", "--steps", "1", *WHO), 2, "name a REVISION or give --steps, not both"),
    (("rollback", "--steps", "9", *WHO), 1, "only 2 older revisions are kept, not 9"),
    (("unpin", *WHO), 1, "nothing is pinned or rolled back: the source is followed"),
    (("pin", "--operator", "x", "--reason", " "), 1, "reason: must be 1 to 500 printable characters"),
]


def test_wrong_orders(site: Site) -> None:
    for arguments, code, expected in WRONG:
        said = site.ctl(*arguments)
        assert code == said.exit_code, arguments
        assert expected in said.output


def test_without_a_state_directory_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    running = Running(tmp_path)
    try:
        said = running.ctl("rollback", *WHO)
        assert (REFUSED, "extauthz: `bundle.stateDirectory` is not set, so no revision is kept\n") == (
            said.exit_code, said.stderr,
        )  # fmt: skip
        assert REFUSED == running.ctl("revisions").exit_code
    finally:
        running.stop()


@pytest.mark.parametrize("name", ["rollback", "pin", "unpin", "revisions"])
def test_help_has_examples_and_exit_codes(name: str) -> None:
    text = CliRunner().invoke(command, [name, "--help"]).stdout
    assert f"extauthz ctl {name}" in text
    assert "Exit codes: 0 " in text
