"""How many Checks a worker takes, and what becomes of the rest: `make capacity`.

First closed loops with more and more streams, by h2load, whose questions are all the same; then with different ones,
by our own client: the most of these that are allowed a second is the capacity. Then constant rates of half, one, two
and four times that, as of several Envoys, each followed by a calm rate, for the time that passes until it is answered
normally; the same of Checks that each bring a signature to verify, for which the capacity is lower and a refusal is
cheap beside it. Latency counts from when a Check was due. Last, good tokens beside a flood of forged ones.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from extauthz.cli.demo_stack import start_issuer
from loadtest import capacity_report, figures, flood, h2load, phases, report, servers
from loadtest.http2 import Question
from loadtest.openloop import Client, sharp_timers
from loadtest.questions import FORGERIES, OFFICERS, forgeries, grpc_headers, officers
from loadtest.servers import Target
from loadtest.tally import Tally

ALLOWED = "200 policy_allowed"
VERIFIED = "401 token_signature_invalid"  # what a forged token ends in: its signature was looked at
REFUSALS = ("503 overloaded", "503 deadline_exceeded")
STREAMS = (1, 2, 4, 8, 16, 32)
FACTORS = (0.5, 1.0, 2.0, 4.0)
ENVOYS = 4  # connections at a constant rate
TIMEOUT = 0.25  # seconds: Envoy's, sent along and kept
GOODPUT = {2.0: 0.95, 4.0: 0.90}  # of capacity
P99_MS = 10.0
RECOVERY_SECONDS = 1.0
CALM, CALM_SECONDS = 0.5, 3.0


def curve(target: Target, question: bytes, work: Path, seconds: float, core: int | None) -> list[dict[str, Any]]:
    """Closed loops: for each number of streams, what was allowed a second and how long it took."""
    rows = []
    headers = grpc_headers(TIMEOUT)
    for streams in STREAMS:
        trial = h2load.closed_loop(target.address, headers, question, h2load.Shape(streams, 500, core=core), work)
        shape = h2load.Shape(streams, max(500, int(seconds * trial.answered / trial.seconds)), core=core)
        before = servers.allowed(target)
        done = h2load.closed_loop(target.address, headers, question, shape, work)
        row = {
            "streams": streams,
            "answered_rps": round(done.answered / done.seconds, 1),
            "allowed_rps": round((servers.allowed(target) - before) / done.seconds, 1),
            "latency_ms": figures.latency_ms(done.latencies),
        }
        rows.append(row)
        report.say(f"{streams:3} streams: {row['allowed_rps']:8.0f} allowed/s, {row['latency_ms']}")
    return rows


def find_capacity(target: Target, asked: Sequence[Question], seconds: float) -> float:
    """The most that are allowed a second, of different questions, in closed loops that fill no queue."""
    found: list[float] = []
    for streams in (8, 16):
        client = Client(target.address, grpc_headers(TIMEOUT), connections=ENVOYS, timeout=TIMEOUT)
        try:
            for count in (len(asked), None):
                wanted = count or int(found.pop() * seconds)
                start = perf_counter()
                tally = Tally().take(client.closed_loop(streams, wanted, cycle(asked)))
                found.append(tally.outcomes[ALLOWED] / (perf_counter() - start))
        finally:
            client.close()
    return max(found)


class Kind(NamedTuple):
    """Checks of one price."""

    name: str
    asked: Sequence[Question]
    decided: str  # the outcome that counts as goodput
    capacity: float  # a second


def overload(target: Target, kind: Kind, factor: float, seconds: float) -> dict[str, Any]:
    """A constant rate of `factor` times the capacity, then calm."""
    capacity = kind.capacity
    client = Client(target.address, grpc_headers(TIMEOUT), connections=ENVOYS, timeout=TIMEOUT)
    steps = [(factor * capacity, seconds), (CALM * capacity, CALM_SECONDS)]
    try:
        load = phases.run(client, steps, cycle(kind.asked), seed=int(factor * 100))
    finally:
        client.close()
    during = phases.part(load, 0.0, seconds)
    goodput = during.outcomes[kind.decided] / seconds
    row: dict[str, Any] = {
        "kind": kind.name,
        "decided": kind.decided,
        "factor": factor,
        "offered_rps": round(sum(during.outcomes.values()) / seconds, 1),
        "goodput_rps": round(goodput, 1),
        "goodput_share": round(goodput / capacity, 4),
        "admitted_ms": during.latency_ms(kind.decided),
        "outcomes": during.as_json(),
        "recovery_seconds": phases.recovery(load, seconds, kind.decided, P99_MS / 1000),
        "client_cpu_share": load.client_share,
        "client_late_p99_ms": load.client_late_ms,
    }
    report.say(
        f"{kind.name}, {factor:g}x: {row['offered_rps']:.0f}/s offered, {row['goodput_share']:.1%} of capacity decided,"
        f" p99 {row['admitted_ms']['p99']:.2f} ms, calm after {row['recovery_seconds']:g} s,"
        f" {dict(during.outcomes)}"
    )
    return row


def judge(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was missed, one line each."""
    missed = []
    for row in rows:
        factor, where = row["factor"], f"{row['kind']}: at {row['factor']:g} times the capacity"
        goal = GOODPUT.get(factor)
        if goal is not None and row["goodput_share"] < goal:
            missed.append(f"{where} goodput is {row['goodput_share']:.1%} of capacity, at least {goal:.0%} is wanted")
        if factor != 1.0 and row["admitted_ms"]["p99"] >= P99_MS:
            missed.append(f"{where} p99 of the admitted is {row['admitted_ms']['p99']:.2f} ms, {P99_MS:g} is the limit")
        if row["recovery_seconds"] > RECOVERY_SECONDS:
            missed.append(
                f"{where} calm came back after {row['recovery_seconds']:g} s, {RECOVERY_SECONDS:g} is the limit"
            )
        silent = {
            name: each["count"] for name, each in row["outcomes"].items() if name not in (row["decided"], *REFUSALS)
        }
        if silent:
            missed.append(f"{where} some were neither decided nor refused explicitly: {silent}")
    return missed


def main() -> int:
    """Measure, write, judge: 1 when a goal was missed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=5.0, help="of one rate (5)")
    options.add_argument("--free", action="store_true", help="do not pin server and client to a core each")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = options.parse_args()
    sharp_timers()
    h2load.say_if_absent()
    with tempfile.TemporaryDirectory(prefix="extauthz-capacity-") as name, ExitStack() as stack:
        work = Path(name)
        report.say("starting the issuer and extauthz with examples/banking")
        issuer = start_issuer(work, stack)
        target = servers.start_extauthz(work, stack, issuer, given.set)
        asked = officers(issuer, OFFICERS)
        core = servers.separate(target.pid) if not given.free else None
        warm = Client(target.address, grpc_headers(5.0), timeout=5.0)
        for _ in warm.closed_loop(8, 2 * len(asked), cycle(asked)):
            pass
        warm.close()
        rows = curve(target, asked[0].body, work, given.seconds / 2, core)
        with phases.quiet(core):
            capacity = find_capacity(target, asked, given.seconds)
            report.say(f"capacity: {capacity:.0f} Checks a second")
            forged = forgeries(issuer, FORGERIES)
            verified = flood.find_capacity(target, forged, given.seconds / 2)
            report.say(f"capacity for signatures: {verified:.0f} a second")
            kinds = Kind("cached", asked, ALLOWED, capacity), Kind("signatures", forged, VERIFIED, verified)
            overloads = [overload(target, kind, factor, given.seconds) for kind in kinds for factor in FACTORS]
            flooded = flood.measure(target, issuer, seconds=given.seconds)
        result = {
            "capacity_rps": round(capacity, 1),
            "signatures_rps": round(verified, 1),
            "transport": servers.transport_kind(target),
            "pinned": core is not None,
            "timeout_seconds": TIMEOUT,
            "closed_loop": rows,
            "overload": overloads,
            "flood": flooded,
            "missed": (missed := judge(overloads)),
            "goals": {"goodput_share": GOODPUT, "admitted_p99_ms": P99_MS, "recovery_seconds": RECOVERY_SECONDS},
            "environment": report.environment(),
        }
    report.say_files(capacity_report.write(result))
    for line in missed:
        report.say(f"MISSED: {line}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
