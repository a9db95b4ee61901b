"""A real Prometheus scrapes the server and evaluates the shipped rules over what it does."""

import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from extauthz.cli.demo_processes import Child
from extauthz.cli.demo_requests import MANAGER, OFFICER
from extauthz.cli.demo_stack import CHECKOUT, copy_bundle, start_server
from tests.envoy.clients import send_h1
from tests.envoy.variants import Variant

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "extauthz.rules.yaml"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Prometheus:
    """A running Prometheus that scrapes one target every half second."""

    def __init__(self, target: str, work: Path) -> None:
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "extauthz", "static_configs": [{"targets": [target]}]}],
        }
        file = work / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        listen = self.url.removeprefix("http://")
        self.child = Child(
            "prometheus",
            [
                shutil.which("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={work / 'tsdb'}",
                f"--web.listen-address={listen}",
                "--enable-feature=exemplar-storage",
            ],
            work / "prometheus.log",
        )
        self.child.await_ready(self._ready)

    def _ready(self) -> bool | None:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK or None
        except httpx.TransportError:
            return None

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The vector now, by label values in order of the labels' names."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return {tuple(v for _, v in sorted(row["metric"].items())): float(row["value"][1]) for row in result}

    def until(self, expression: str, expected: dict[tuple[str, ...], float]) -> None:
        deadline = time.monotonic() + 15
        while (found := self.query(expression)) != expected:
            assert time.monotonic() < deadline, (expression, found, expected)
            time.sleep(0.2)


@pytest.fixture(scope="module")
def watched_bank(tmp_path_factory, issuer):
    """A bank whose every decision is a test's of this module."""
    work = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        yield start_server(work, stack, copy_bundle(CHECKOUT / "examples" / "banking", work / "bundle", issuer))


@pytest.fixture(scope="module")
def prometheus(watched_bank, tmp_path_factory):
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (Debian package `prometheus`)")
    running = Prometheus(watched_bank.admin.removeprefix("http://"), tmp_path_factory.mktemp("prometheus"))
    yield running
    running.child.stop()


def test_prometheus_shows_what_was_decided(prometheus, watched_bank, launch_envoy, minter):
    """Outcomes by reason, tenants, policies, keys, bundle and journal, as an SRE would query them."""
    port = launch_envoy(Variant(), authz_port=watched_bank.port).port
    manager = [("authorization", f"Bearer {minter.mint(MANAGER.claims)}")]
    officer = [("authorization", f"Bearer {minter.mint(OFFICER.claims)}")]
    for _ in range(3):
        assert 200 == send_h1(port, "/api/loans/l-1", manager).status
    assert 403 == send_h1(port, "/api/loans/l-1", officer).status
    assert 401 == send_h1(port, "/api/loans/l-1").status

    prometheus.until(
        'sum by (outcome, reason) (extauthz_checks_total{profile="internal-api"})',
        {("allow", "policy_allowed"): 3, ("deny", "no_policy_matched"): 1, ("deny", "no_credential"): 1},
    )
    prometheus.until('sum by (outcome) (extauthz_tenant_checks_total{tenant="acme"})', {("allow",): 3, ("deny",): 1})
    prometheus.until("sum(extauthz_check_duration_seconds_count)", {(): 5})
    prometheus.until("count(extauthz_jwks_keys > 0)", {(): 1})
    assert 1 == len(prometheus.query("extauthz_bundle_info"))
    assert {(): 0} == prometheus.query("sum(extauthz_journal_failures_total) or vector(0)")
    assert {(): 3} == prometheus.query('sum(extauthz_policy_matches_total{effect="allow", mode="enforce"})')


def test_prometheus_accepts_the_exposition_and_the_rules(prometheus):
    """No scrape is refused, every rule evaluates, and a healthy server raises no alert."""
    prometheus.until('count(up{job="extauthz"} == 1)', {(): 1})
    deadline = time.monotonic() + 15
    while True:
        groups = httpx.get(f"{prometheus.url}/api/v1/rules").json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] == "ok" for rule in rules):
            break
        assert time.monotonic() < deadline, [r for r in rules if r["health"] != "ok"]
        time.sleep(0.2)
    assert len(rules) > 15
    assert [] == [r["name"] for r in rules if r.get("state") == "firing"]
    targets = httpx.get(f"{prometheus.url}/api/v1/targets").json()["data"]["activeTargets"]
    assert [""] == [target["lastError"] for target in targets]
