"""Several workers' reports → the families of one scrape.

Rule 1: a counter never goes back: what an ended run had counted stays.
Rule 2: a gauge speaks of the workers that run, by the rule that its row in `FAMILIES` states.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.registry import Collector

from extauthz.telemetry.contract import FAMILIES, Across
from extauthz.telemetry.counters import Shard, add
from extauthz.telemetry.families import counted
from extauthz.telemetry.options import BusinessCounter
from extauthz.telemetry.report import NOTHING, Rendered, Report, Sample

_RULES = {family.name: family.across for family in FAMILIES if family.across}
_MERGE: Mapping[Across, Callable[[float, float], float]] = {
    "sum": lambda one, other: one + other,
    "total": lambda one, other: one + other,
    "max": max,
    "min": min,
}


class Totals(Collector):
    """The sum over all workers. Threads may share it."""

    def __init__(self, business: Iterable[BusinessCounter]) -> None:
        self._business = tuple(business)
        self._lock = threading.Lock()
        self._running: dict[int, Report] = {}  # by worker
        self._ended = Shard(threading.current_thread())
        self._ended_checks: dict[int, int] = {}  # by worker
        self._ended_families: dict[str, Rendered] = {}

    def update(self, worker: int, report: Report) -> None:
        """The latest of a worker's run."""
        with self._lock:
            self._running[worker] = report

    def end(self, worker: int) -> None:
        """The run is over: what it had counted stays, what it was is no more."""
        with self._lock:
            report = self._running.pop(worker, NOTHING)
            add(self._ended, report.shard)
            self._ended_checks[worker] = self._ended_checks.get(worker, 0) + report.checks
            for family in report.families:
                if _keeps(family):
                    self._ended_families[family.name] = _merged([family, *self._kept(family.name)])

    def checks(self) -> dict[int, int]:
        """Checks answered, by worker."""
        with self._lock:
            found = dict(self._ended_checks)
            for worker, report in self._running.items():
                found[worker] = found.get(worker, 0) + report.checks
            return found

    def decisions(self) -> dict[str, int]:
        """Checks by reason code, for the status page."""
        found: dict[str, int] = {}
        for key, count in self._shard().counts.items():
            if key[0] == "checks":
                found[key[2]] = found.get(key[2], 0) + count
        return found

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        yield from counted(self._shard(), self._business)
        with self._lock:
            by_name: dict[str, list[Rendered]] = {name: [family] for name, family in self._ended_families.items()}
            for report in self._running.values():
                for family in report.families:
                    by_name.setdefault(family.name, []).append(family)
        for found in by_name.values():
            yield _metric(_merged(found))

    def _shard(self) -> Shard:
        total = Shard(threading.current_thread())
        with self._lock:
            for shard in (self._ended, *(report.shard for report in self._running.values())):
                add(total, shard)
        return total

    def _kept(self, name: str) -> list[Rendered]:
        return [self._ended_families[name]] if name in self._ended_families else []


def _rule(family: Rendered) -> Across:
    """A gauge that nobody thought of is a sum, which its test refuses."""
    return "total" if family.type == "counter" else _RULES.get(family.name, "sum")


def _keeps(family: Rendered) -> bool:
    return _rule(family) == "total"


def _merged(families: list[Rendered]) -> Rendered:
    first = families[0]
    merge = _MERGE[_rule(first)]
    samples: dict[Sample, float] = {}
    for family in families:
        for sample, value in family.samples.items():
            samples[sample] = merge(samples[sample], value) if sample in samples else value
    return Rendered(first.name, first.type, first.help, samples)


def _metric(family: Rendered) -> Metric:
    metric = Metric(family.name, family.help, family.type)
    for (name, labels), value in family.samples.items():
        metric.add_sample(name, dict(labels), value)
    return metric
