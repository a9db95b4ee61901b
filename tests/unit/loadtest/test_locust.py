"""Locust's ledger, its distribution over processes, the SLO's verdict, and the two listeners that are compared."""

import json
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from extauthz.cli.demo_envoy import Envoy, endpoints, render_config
from extauthz.cli.demo_stack import CHECKOUT
from loadtest import gateway, servers, slo
from loadtest.ledger import CHECKED, PLAIN, Ledger
from loadtest.locust_run import Locust


def ledger(checked: list[float], plain: list[float] | None = None) -> Ledger:
    found = Ledger()
    for latency in checked:
        found.add(CHECKED, latency, "")
    for latency in plain or []:
        found.add(PLAIN, latency, "")
    return found


def test_a_run_within_its_limits_has_no_problem() -> None:
    verdict = ledger([0.001] * 99 + [0.02]).verdict({"p99": 10.0}, 0.0)
    assert [] == verdict["problems"]
    assert {"count": 100, "p50": 1.0, "p90": 1.0, "p99": 1.0, "p99.9": 20.0, "max": 20.0} == verdict["routes"][CHECKED]


def test_what_ext_authz_adds_is_the_difference_of_both_routes() -> None:
    verdict = ledger([0.003] * 100, [0.001] * 100).verdict({}, 0.0)
    assert 2.0 == verdict["routes"]["added"]["p99"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Ledger(), "no request was measured"),
        (ledger([0.02] * 100), "p99 20.0 ms > 10 ms"),
    ],
)
def test_what_a_run_misses_is_a_problem(found: Ledger, said: str) -> None:
    assert [said] == found.verdict({"p99": 10.0}, 0.0)["problems"]


def test_wrong_answers_are_a_problem_beyond_the_share_that_may_be() -> None:
    found = ledger([0.001] * 98)
    found.add(CHECKED, 0.001, "no token: expected 401, got 200")
    found.add(CHECKED, 0.001, "no token: expected 401, got 200")
    assert ["2 of 100 answers were wrong"] == found.verdict({}, 0.0)["problems"]
    assert [] == found.verdict({}, 0.02)["problems"]


def test_several_processes_make_one_exact_ledger() -> None:
    """The master adds what the workers report, in parts; nothing is rounded or counted twice."""
    one, other, master = ledger([0.001] * 10, [0.0005]), ledger([0.1]), Ledger()
    other.wrong["forged"] = 2
    shares: dict[str, float] = {}
    for process, worker in (("a", one), ("b", other), ("a", one)):
        taken = worker.take()
        taken["share"] = 0.25
        master.merge(process, taken, shares)
    verdict = json.loads(json.dumps(master.verdict({}, 1.0)))
    assert (11, 100.0) == (verdict["routes"][CHECKED]["count"], verdict["routes"][CHECKED]["max"])
    assert 1 == verdict["routes"][PLAIN]["count"]
    assert {"forged": 2} == verdict["wrong_by_kind"]
    assert [0.25, 0.25] == verdict["client_share"]


def test_the_rate_is_shared_by_as_many_users_as_there_are_workers() -> None:
    arguments = Locust("GatewayUser", 1000, 30, {"envoy": "http://127.0.0.1:1"}, 3).arguments(Path("result.json"))
    given = dict(pairwise(arguments))
    assert ("3", "3", "1000", "http://127.0.0.1:1") == tuple(
        given[name] for name in ("-u", "--share", "--rate", "--envoy")
    )
    assert "GatewayUser" == arguments[-1]


def test_locust_reads_the_file_and_knows_its_options() -> None:
    """In a process of its own: importing locust changes the standard library's sockets."""
    command = [sys.executable, "-m", "locust", "-f", servers.HOME / "locustfile.py", "--list"]
    known = (
        "rate",
        "share",
        "slo-p99-ms",
        "slo-failures",
        "warm-up",
        "slice",
        "issuer",
        "keys",
        "envoy",
        "plain",
        "grpc",
    )
    options = [part for name in known for part in (f"--{name}", "1")]
    listed = subprocess.run([*command, *options], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    assert {"GatewayUser", "CheckUser"} <= set(listed.stdout.split())
    assert (
        2
        == subprocess.run([*command, "--nonsense", "1"], cwd=servers.ROOT, capture_output=True, check=False).returncode
    )


def row(rate: int, **changed: Any) -> dict[str, Any]:
    good = {
        "rate": rate,
        "with": {"p99": 3.0},
        "without": {"p99": 1.5},
        "added": {"p99": 1.5, "p99.9": 4.0},
        "wrong": 0,
        "wrong_by_kind": {},
        "measured": 28_000,
        "due": 30_000,
    }
    return good | changed


def test_a_gateway_within_the_slo_misses_nothing() -> None:
    assert [] == slo.judge([row(rate) for rate in slo.RATES])


@pytest.mark.parametrize(
    ("rate", "changed", "said"),
    [
        (200, {"with": {"p99": 10.0}}, "p99 with ext_authz is 10.00 ms"),
        (1000, {"added": {"p99": 2.1, "p99.9": 4.0}}, "adds 2.10 ms at p99, the limit is 2 ms"),
        (1000, {"added": {"p99": 1.0, "p99.9": 5.1}}, "adds 5.10 ms at p99.9, the limit is 5 ms"),
        (2000, {"added": {"p99": 4.1, "p99.9": 9.0}}, "adds 4.10 ms at p99, the limit is 4 ms"),
        (500, {"wrong": 3}, "3 of 28000 answers were wrong"),
        (500, {"measured": 10_000}, "the client was the limit"),
        (500, {"with": {}}, "nothing was measured"),
    ],
)
def test_what_a_gateway_misses_is_said(rate: int, changed: dict[str, Any], said: str) -> None:
    (line,) = slo.judge([row(rate, **changed)])
    assert line.startswith(f"at {rate} requests a second")
    assert said in line


def test_both_routes_differ_by_asking_alone_and_envoy_takes_them(tmp_path: Path) -> None:
    values = {
        "listen_port": 0,
        "upstream_port": 1,
        "authz_endpoints": endpoints([1, tmp_path / "socket"]),
        "access_log": tmp_path / "log",
    }
    config = gateway.add_plain(render_config(CHECKOUT / "deploy" / "demo" / "envoy.yaml", values))
    inbound, plain = config["static_resources"]["listeners"]
    asking, silent = (each["filter_chains"][0]["filters"][0]["typed_config"] for each in (inbound, plain))
    assert "envoy.filters.http.ext_authz" in [each["name"] for each in asking["http_filters"]]
    assert ["envoy.filters.http.router"] == [each["name"] for each in silent["http_filters"]]
    assert {**asking, "http_filters": []} == {**silent, "http_filters": []}
    with ExitStack() as stack:
        for name, built in (("envoy", config), ("upstream", gateway.upstream_config())):
            envoy = Envoy(built, tmp_path, name)
            stack.callback(envoy.stop)
            assert all(port > 0 for port in envoy.ports.values())
