"""Good Checks beside clients that abuse HTTP/2: streams opened and reset in a loop, and frames that cost work.

Reports how many rounds came through, what good Checks took meanwhile, and memory before, at most, and after; does not
judge. A flood is a process of its own, so that it takes no time from the good client.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Self

from extauthz.cli.demo_stack import start_issuer
from loadtest import report, servers
from loadtest.abuse import SHAPES
from loadtest.http2 import Question
from loadtest.openloop import Client, poisson, sharp_timers
from loadtest.questions import OFFICERS, grpc_headers, officers
from loadtest.servers import Target
from loadtest.tally import Tally

RATE = 200.0  # good Checks a second
TIMEOUT = 1.0


@contextmanager
def flooding(address: tuple[str, int], shape: str, seconds: float, count: int) -> Iterator[list[dict[str, float]]]:
    """`count` processes that do so; what they report is in the list when the block is left."""
    command = [sys.executable, "-m", "loadtest.abuse", shape, str(address[1]), str(seconds)]
    running = [subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE) for _ in range(count)]  # noqa: S603
    found: list[dict[str, float]] = []
    try:
        yield found
        found += [json.loads(each.communicate(timeout=seconds + 30)[0]) for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()


class Memory:
    """The most that a server has while this is open, in MiB."""

    def __init__(self, pid: int) -> None:
        self._pid, self.most, self._stop = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def now(self) -> float:
        """Resident memory of the server and its workers."""
        found: int = sum(each.memory_info().rss for each in servers.processes(self._pid))
        return found / 2**20

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            self.most = max(self.most, self.now())

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()


def measure(
    target: Target, questions: Sequence[Question], shapes: Sequence[str], seconds: float, connections: int
) -> list[dict[str, Any]]:
    """A calm phase, then one of each shape."""
    rows = []
    for shape in ("", *shapes):
        client, tally = Client(target.address, grpc_headers(TIMEOUT), connections=2, timeout=TIMEOUT), Tally()
        before = Memory(target.pid).now()
        with (
            Memory(target.pid) as memory,
            flooding(target.address, shape, seconds, connections if shape else 0) as sent,
        ):
            for answers in client.open_loop(list(poisson(RATE, seconds)), cycle(questions)):
                tally.add(answers)
        client.close()
        time.sleep(2.0)
        rows.append(
            {
                "shape": shape or "calm",
                "rounds_per_second": round(sum(each["rounds"] for each in sent) / seconds),
                "connections": sum(each["connections"] for each in sent),
                "good_ms": tally.latency_ms("200 policy_allowed"),
                "good": dict(tally.outcomes),
                "memory_mib": {"before": round(before), "most": round(memory.most), "after": round(memory.now())},
            }
        )
        report.say(json.dumps(rows[-1]))
    return rows


def table(rows: list[dict[str, Any]]) -> report.Table:
    """For the page."""
    cells = [
        (
            row["shape"],
            row["rounds_per_second"],
            row["connections"],
            row["good_ms"]["p50"],
            row["good_ms"]["p99"],
            str(row["good"]),
            "/".join(str(each) for each in row["memory_mib"].values()),
        )
        for row in rows
    ]
    head = ("shape", "rounds/s", "connections", "p50 ms", "p99 ms", "good", "MiB before/most/after")
    return report.Table(f"Good Checks ({RATE:g}/s) beside abused HTTP/2", head, cells)


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=8.0, help="of one phase (8)")
    options.add_argument("--connections", type=int, default=1, help="hostile clients at once (1)")
    options.add_argument("--shapes", default=",".join(SHAPES), help="in this order; one may come again")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the server")
    given = options.parse_args()
    sharp_timers()
    with tempfile.TemporaryDirectory(prefix="extauthz-resets-") as name, ExitStack() as stack:
        work = Path(name)
        issuer = start_issuer(work, stack)
        target = servers.start_extauthz(work, stack, issuer, given.set)
        rows = measure(target, officers(issuer, OFFICERS), given.shapes.split(","), given.seconds, given.connections)
    report.say_files(report.write(servers.RESULTS, "resets", {"phases": rows}, {}, [table(rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
