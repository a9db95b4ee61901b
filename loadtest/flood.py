"""Good tokens beside a flood of forged ones, over the real server: their p99 with and without, A B A B.

First the server's capacity for forged tokens is found, with so few in flight that none is shed. Then good tokens come
at a constant rate; in every other phase forged ones come beside them at twice that capacity, each forgery another, so
that no cache helps. Latency counts from when a Check was due. Reports, does not judge.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from heapq import merge
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

from extauthz.cli.demo_stack import Issuer, start_issuer
from loadtest import phases, report, servers
from loadtest.http2 import Question
from loadtest.openloop import Client, poisson, sharp_timers
from loadtest.questions import FORGERIES, OFFICERS, forgeries, grpc_headers, officers
from loadtest.servers import Target
from loadtest.tally import Tally

RATE = 200.0  # good tokens a second
FACTOR = 2.0  # forged ones, of the capacity for them
FEW = 8  # in flight while capacity is looked for
TIMEOUT = 1.0


def measure(target: Target, issuer: Issuer, *, seconds: float, rate: float = RATE, rounds: int = 2) -> dict[str, Any]:
    """Capacity for forged tokens, and (calm, flooded) phases by turns."""
    good, forged = officers(issuer, OFFICERS), forgeries(issuer, FORGERIES)
    capacity = find_capacity(target, forged, seconds / 2)
    report.say(f"capacity for forged tokens: {capacity:.0f} a second")
    rows = []
    for number in range(rounds):
        for flooded in (False, True):
            sent = FACTOR * capacity if flooded else 0.0
            row = _phase(target, good, forged, (rate, sent, seconds), seed=number + 1)
            rows.append(row)
            report.say(
                f"{row['forged_rps']:.0f} forged a second: good tokens p50 {row['good_ms']['p50']:.2f} ms,"
                f" p99 {row['good_ms']['p99']:.2f} ms, {row['good']}"
            )
    return {"capacity_rps": round(capacity, 1), "good_rps": rate, "phases": rows}


def find_capacity(target: Target, forged: Sequence[Question], seconds: float) -> float:
    """How many of these are answered a second, with so few in flight that none is shed."""
    client = Client(target.address, grpc_headers(TIMEOUT), timeout=TIMEOUT)
    trial, start = 500, perf_counter()
    for _ in client.closed_loop(FEW, trial, cycle(forged)):
        pass
    wanted = int(trial / (perf_counter() - start) * seconds)
    start = perf_counter()
    for _ in client.closed_loop(FEW, wanted, cycle(forged)):
        pass
    found = wanted / (perf_counter() - start)
    client.close()
    return found


def _phase(
    target: Target,
    good: Sequence[Question],
    forged: Sequence[Question],
    load: tuple[float, float, float],
    seed: int,
) -> dict[str, Any]:
    """Both kinds on connections of their own, as of two Envoys."""
    rate, flood_rate, seconds = load
    arrivals = [(offset, False) for offset in poisson(rate, seconds, seed)]
    if flood_rate:
        flood = [(offset, True) for offset in poisson(flood_rate, seconds, seed + 100)]
        arrivals = list(merge(arrivals, flood))
    goods, forgers = cycle(good), cycle(forged)
    questions = (next(forgers) if is_forged else next(goods) for _, is_forged in arrivals)
    client = Client(target.address, grpc_headers(TIMEOUT), connections=2, timeout=TIMEOUT)
    tallies = {"good": Tally(), "forged": Tally()}
    for answers in client.open_loop([offset for offset, _ in arrivals], questions):
        for name, tally in tallies.items():
            tally.add(answer for answer in answers if (answer.question.label == "forged") == (name == "forged"))
    client.close()
    allowed = tallies["good"].latency_ms("200 policy_allowed")
    return {
        "forged_rps": round(flood_rate, 1),
        "good_ms": allowed,
        "good": dict(tallies["good"].outcomes),
        "forged": dict(tallies["forged"].outcomes),
    }


def table(result: dict[str, Any]) -> report.Table:
    """For the page."""
    rows = [
        (row["forged_rps"], row["good_ms"]["p50"], row["good_ms"]["p99"], str(row["good"]), str(row["forged"]))
        for row in result["phases"]
    ]
    title = f"Good tokens ({result['good_rps']:g}/s) beside forged ones (capacity {result['capacity_rps']:g}/s)"
    return report.Table(title, ("forged/s", "p50 ms", "p99 ms", "good", "forged"), rows)


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    options.add_argument("--rate", type=float, default=RATE, help=f"good tokens a second ({RATE:g})")
    options.add_argument("--seconds", type=float, default=8.0, help="of one phase (8)")
    options.add_argument("--rounds", type=int, default=2, help="calm and flooded in turn (2)")
    given = options.parse_args()
    sharp_timers()
    with tempfile.TemporaryDirectory(prefix="extauthz-flood-") as name, ExitStack() as stack:
        work = Path(name)
        issuer = start_issuer(work, stack)
        target = servers.start_extauthz(work, stack, issuer)
        with phases.quiet(servers.separate(target.pid)):
            result = measure(target, issuer, seconds=given.seconds, rate=given.rate, rounds=given.rounds)
    report.say_files(report.write(servers.RESULTS, "flood", result, {}, [table(result)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
