"""Exact latencies of a locust run by route, mergeable between its processes; locust itself rounds to milliseconds.

Rule 1: latency counts from when a request was due; what was due while the run warmed up, or just after the route was
changed, does not count.
"""

from array import array
from collections.abc import Mapping
from time import perf_counter, process_time
from typing import Any

from loadtest.figures import latency_ms, percentile

CHECKED, PLAIN = "checked", "plain"  # through ext_authz, and past it


class Ledger:
    """What counted so far. Latencies in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, array[float]] = {}
        self.wrong: dict[str, int] = {}
        self.late: array[float] = array("d")  # how much later than due requests were sent
        self.shares: list[float] = []  # of one core, that each process of locust itself used
        self.begin()

    def begin(self) -> None:
        """Preparations are over: what this process uses itself counts from now."""
        self._started, self._used = perf_counter(), process_time()

    def add(self, route: str, latency: float, wrong: str) -> None:
        """Count one; `wrong` says what was not as expected."""
        self.seconds.setdefault(route, array("d")).append(latency)
        if wrong:
            self.wrong[wrong] = self.wrong.get(wrong, 0) + 1

    def own_share(self) -> float:
        """Of one core, that this process has used since it began."""
        return (process_time() - self._used) / max(1e-9, perf_counter() - self._started)

    def take(self) -> dict[str, Any]:
        """Everything, as plain data for another process; empties the ledger."""
        taken = {
            "seconds": {route: found.tobytes() for route, found in self.seconds.items()},
            "wrong": self.wrong,
            "late": self.late.tobytes(),
            "share": self.own_share(),
        }
        self.seconds, self.wrong, self.late = {}, {}, array("d")
        return taken

    def merge(self, process: str, taken: Mapping[str, Any], shares: dict[str, float]) -> None:
        """Add what another process has taken; `shares` keeps the last of each."""
        for route, raw in taken["seconds"].items():
            self.seconds.setdefault(route, array("d")).frombytes(raw)
        for wrong, count in taken["wrong"].items():
            self.wrong[wrong] = self.wrong.get(wrong, 0) + count
        self.late.frombytes(taken["late"])
        shares[process] = taken["share"]
        self.shares = list(shares.values())

    def verdict(self, limits: Mapping[str, float], most_wrong: float) -> dict[str, Any]:
        """Figures, and `problems`: one line for each limit (percentile of the checked route, ms) that was missed."""
        routes = {route: {"count": len(found), **latency_ms(found)} for route, found in self.seconds.items()}
        checked = routes.get(CHECKED, {})
        total, wrong = sum(len(found) for found in self.seconds.values()), sum(self.wrong.values())
        problems = [] if checked else ["no request was measured"]
        problems += [
            f"{name} {checked[name]} ms > {limit:g} ms"
            for name, limit in limits.items()
            if checked.get(name, 0) > limit
        ]
        if wrong > most_wrong * total:
            problems.append(f"{wrong} of {total} answers were wrong")
        if PLAIN in routes:
            routes["added"] = {
                name: round(checked[name] - value, 3) for name, value in routes[PLAIN].items() if name != "count"
            }
        return {
            "routes": routes,
            "measured": total,
            "wrong": wrong,
            "wrong_by_kind": self.wrong,
            "client_share": [round(share, 3) for share in self.shares or [self.own_share()]],
            "client_late_ms": {"p99": round(percentile(sorted(self.late), 0.99) * 1000, 3)},
            "problems": problems,
        }
