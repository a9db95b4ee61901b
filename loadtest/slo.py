"""What ext_authz adds to a request through a real Envoy, at 200 to 2,000 a second: `make slo`.

Locust sends a bank's day (loadtest/mix.py) over HTTP/2 at a constant rate, one second through the listener with
ext_authz, the next through the same listener without it, by turns, in one run; the upstream is an Envoy that answers
itself. Latency counts from when a request was due. Everything shares this machine's cores, the client included: its
own share and lateness are reported, and are in both routes alike.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from extauthz.cli.demo_tokens import Minter
from loadtest import gateway, report, servers
from loadtest.figures import SHARES
from loadtest.gateway import Running
from loadtest.ledger import CHECKED, PLAIN
from loadtest.locust_run import Locust, run
from loadtest.mix import Mix

RATES = (200, 500, 1000, 2000)
P99_MS = 10.0  # of a request with ext_authz, at every rate
ADDED_MS = {1000: {"p99": 2.0, "p99.9": 5.0}, 2000: {"p99": 4.0}}
WARM_UP = 3.0
STARTING = 1.0  # seconds that locust takes before it begins
KEPT = 0.8  # of what was due must have been measured, or the client was the limit


def measure(running: Running, rate: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One rate."""
    options: dict[str, str | float | Path] = {
        "slo-p99-ms": P99_MS,
        "issuer": running.issuer.name,
        "keys": running.issuer.keys,
        "tokens": work / "tokens.json",
        "envoy": running.checked,
        "plain": running.plain,
        "warm-up": WARM_UP,
    }
    before = {name: servers.cpu_seconds(pid) for name, pid in _pids(running).items()}
    allowed = servers.checks(running.server)
    locust = Locust("GatewayUser", rate, given.seconds + WARM_UP + STARTING, options, given.workers)
    _, verdict = run(locust, work)
    if not verdict:
        sys.exit(f"locust has left no result at {rate} a second")
    checks = max(1.0, servers.checks(running.server) - allowed)
    used = {name: servers.cpu_seconds(pid) - before[name] for name, pid in _pids(running).items()}
    routes = verdict["routes"]
    return {
        "rate": rate,
        "with": routes.get(CHECKED, {}),
        "without": routes.get(PLAIN, {}),
        "added": routes.get("added", {}),
        "wrong": verdict["wrong"],
        "wrong_by_kind": verdict["wrong_by_kind"],
        "measured": verdict["measured"],
        "due": int(rate * given.seconds),
        "client_share": verdict["client_share"],
        "client_late_ms": verdict["client_late_ms"],
        "cpu_us": {name: round(seconds / checks * 1e6, 1) for name, seconds in used.items() if name == "extauthz"},
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in used.items()},
    }


def _pids(running: Running) -> dict[str, int]:
    return {
        "extauthz": running.server.pid,
        "envoy": running.envoy.child.pid,
        "upstream": running.upstream.child.pid,
    }


def judge(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was missed, one line each."""
    missed = []
    for row in rows:
        where = f"at {row['rate']} requests a second"
        if not row["with"] or not row["without"]:
            missed.append(f"{where} nothing was measured")
            continue
        if row["with"]["p99"] >= P99_MS:
            missed.append(f"{where} p99 with ext_authz is {row['with']['p99']:.2f} ms, the limit is {P99_MS:g} ms")
        for name, limit in ADDED_MS.get(row["rate"], {}).items():
            if row["added"][name] > limit:
                missed.append(
                    f"{where} ext_authz adds {row['added'][name]:.2f} ms at {name}, the limit is {limit:g} ms"
                )
        if row["measured"] < KEPT * row["due"]:
            missed.append(f"{where} only {row['measured']} of {row['due']} were measured: the client was the limit")
        if row["wrong"]:
            missed.append(f"{where} {row['wrong']} of {row['measured']} answers were wrong: {row['wrong_by_kind']}")
    return missed


def write(result: dict[str, Any]) -> list[Path]:
    """slo.json, plots and page."""
    rows = result["rates"]
    rates = [row["rate"] for row in rows]
    latency = [
        report.Series(f"{name} {route} ext_authz", rates, [row[route].get(name, 0.0) for row in rows])
        for route in ("with", "without")
        for name in ("p50", "p99", "p99.9")
    ]
    names = [f"{rate}/s" for rate in rates]
    added = [report.Series(f"added {name}", names, [row["added"].get(name, 0.0) for row in rows]) for name in SHARES]
    goals = {f"{rate}/s": limits["p99"] for rate, limits in ADDED_MS.items()}
    plots = {
        "latency": report.lines(
            "Latency through Envoy, from when a request was due", "requests/s", "ms", latency, log=True
        ),
        "added": report.bars("Added by ext_authz (red: limit of p99)", "ms", added, goals),
    }
    head = ("rate", "route", "requests", *SHARES, "max", "wrong", "client CPU", "extauthz us a Check")
    table = [
        (
            *(row["rate"], route, row[route].get("count"), *(row[route].get(name) for name in (*SHARES, "max"))),
            *(row["wrong"], sum(row["client_share"]), row["cpu_us"]["extauthz"]),
        )
        for row in rows
        for route in ("without", "with", "added")
    ]
    tables = [
        report.Table(f"Milliseconds, transport {result['transport']}", head, table),
        report.Table("Measured on", ("", ""), list(result["environment"].items())),
    ]
    return report.write(servers.RESULTS, "slo", result, plots, tables, result["missed"])


def main() -> int:
    """Measure, write, judge: 1 when a limit was missed."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--seconds", type=float, default=30.0, help="of one rate, half of them for each route (30)")
    cli.add_argument("--rates", type=int, nargs="+", default=list(RATES), help="requests a second (200 500 1000 2000)")
    cli.add_argument("--workers", type=int, default=0, help="processes of locust beside a master (0: just one)")
    cli.add_argument("--unix-socket", action="store_true", help="between Envoy and the server, as in one pod")
    cli.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = cli.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="extauthz-slo-") as name, ExitStack() as stack:
        running = gateway.start(Path(name), stack, report.say, tuple(given.set), unix_socket=given.unix_socket)
        transport = servers.transport_kind(running.server)
        report.say("minting the tokens of the mix")
        Mix(Minter(running.issuer)).save(Path(name) / "tokens.json")
        for rate in given.rates:
            report.say(f"{given.seconds:g} s at {rate} requests a second, with and without ext_authz by turns")
            rows.append(measure(running, rate, given, Path(name)))
    missed = judge(rows)
    result = {
        "rates": rows,
        "transport": transport,
        "unix_socket": given.unix_socket,
        "client": "locust, HTTP/2, latency from when a request was due",
        "limits": {"p99_ms": P99_MS, "added_ms": ADDED_MS},
        "missed": missed,
        "environment": report.environment(),
    }
    report.say_files(write(result))
    for line in missed:
        report.say(f"MISSED: {line}")
    if not missed:
        report.say("every limit was kept")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
