"""The metrics contract: what is counted, under which bounded labels. `families.py` writes it out for a scrape.

Rule 1: a label's value is from the code, the configuration, the live bundle or an operator's order, and there is a
limit to their number; whatever else comes is `other`.
Rule 2: `observe` takes no lock and reads no clock.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.registry import Collector

from extauthz.bundle.compare import CHANGES, SKIPS
from extauthz.guards import Summary
from extauthz.model.decision import Allow
from extauthz.model.record import DecisionRecord
from extauthz.telemetry.business import Business
from extauthz.telemetry.contract import BOUNDS
from extauthz.telemetry.counters import Shards
from extauthz.telemetry.families import Readings, families
from extauthz.telemetry.options import MetricsOptions
from extauthz.telemetry.readings import BundleLabels, CandidateReadings, JournalReadings, ReplayReadings, SourceReadings
from extauthz.telemetry.report import Report, report
from extauthz.telemetry.tallies import OTHER, Names, tally

SHED_CAUSES = frozenset({"queue", "verification", "tenant", "deadline", "draining", "connection", "memory", OTHER})
ACTIVATION_RESULTS = frozenset(
    {"activated", "rejected", "unchanged", "unreachable", "held", "rolled_back", "pinned", "promoted", OTHER}
)
BUNDLE_ORDERS = frozenset({"rollback", "pin", "unpin", "promote", OTHER})
ORDER_RESULTS = frozenset({"done", "refused", OTHER})
REFRESH_RESULTS = frozenset({"refreshed", "unchanged", "failed", "stale", OTHER})
QUESTIONS = frozenset({"introspection", "first_use", OTHER})
QUESTION_RESULTS = frozenset({"memory", "answered", "unanswered", "crowded", OTHER})
INTROSPECTION_RESULTS = frozenset(
    {"active", "inactive", "unavailable", "refused", "garbled", "downgraded", "left_alone", "unconfigured", OTHER}
)
CANDIDATE_RESULTS = frozenset({"agreed", "disagreed", "failed", OTHER})

MAX_EMERGENCIES = 100  # ids that get series of their own; operators may order any number in the life of a process
_SAMPLED = frozenset("13579bdf")  # last digit of a traceparent whose sampled flag is set


class Metrics(Collector):
    """Counts every Check. Register `metrics` itself with a prometheus_client registry: it is the collector."""

    def __init__(self, options: MetricsOptions, clock: Callable[[], float] = time.time) -> None:
        self._shards = Shards()
        self._business = Business(options.business)
        self._clock = clock
        self._bundle: BundleLabels | None = None
        self._names = Names()
        self._series = self._names.series
        self._keys: dict[str, tuple[int, float | None]] = {}
        self._journal: Callable[[], JournalReadings] | None = None
        self._revocations: Callable[[], Mapping[str, int]] = dict
        self._emergencies: Callable[[], Iterable[tuple[str, Summary]]] = tuple
        self._on_use: Callable[[DecisionRecord], None] = _nothing
        self._used: set[str] = set()
        self._replay: Callable[[], ReplayReadings] | None = None
        self._transport: tuple[str, str] | None = None
        self._source: Callable[[], SourceReadings] | None = None
        self._candidate: Callable[[], CandidateReadings | None] = _none
        self._candidate_policies: frozenset[str] = frozenset()
        self._inflight: Callable[[], int] = lambda: 0
        self._waiting: Callable[[], int] = lambda: 0
        self._dropped_spans: Callable[[], int] | None = None

    @property
    def collector(self) -> "Metrics":
        """What to register with a prometheus_client registry."""
        return self

    # --- the path

    def observe(self, record: DecisionRecord) -> None:
        """Count one Check."""
        shard = self._shards.mine()
        decision, duration = record.decision, record.duration
        if not duration >= 0.0:  # the clock may have been set back meanwhile
            duration = 0.0
        place = bisect_left(BOUNDS, duration)
        precedent = decision.precedent if isinstance(decision, Allow) else None
        if precedent is None or not shard.count_again((precedent, place), self._series):
            shard.count_as_one(tally(decision, place), self._series, None if precedent is None else (precedent, place))
        outcome = decision.reason.outcome
        shard.sums[outcome] += duration
        if record.traceparent[-1:] in _SAMPLED:
            shard.exemplars[outcome, place] = (record.traceparent[3:35], duration, record.time)

        evidence = decision.evidence
        if evidence.emergency:
            shard.counts["emergency_uses", evidence.emergency_kind, self._emergency(evidence.emergency)] += 1
            self._on_use(record)

        if self._business.counters:
            metadata = decision.obligations.metadata if isinstance(decision, Allow) else ()
            for key in self._business.keys(record, dict(metadata)):
                shard.counts[key] += 1

    def _emergency(self, name: str) -> str:
        if name not in self._used and len(self._used) < MAX_EMERGENCIES:
            self._used.add(name)
        return name if name in self._used else OTHER

    # --- beside the path

    def set_bundle(self, labels: BundleLabels) -> None:
        """The bundle that decides from now on. Series of names that are gone stay until the process ends."""
        self._names = Names(labels.profiles, labels.tenants, labels.issuers, labels.rules)
        self._series = self._names.series
        self._keys = {issuer: keys for issuer, keys in self._keys.items() if issuer in labels.issuers}
        self._bundle = labels

    def activation(self, result: str) -> None:
        """Count an attempt to activate a bundle."""
        self._count("activations", result if result in ACTIVATION_RESULTS else OTHER)

    def bundle_order(self, order: str, result: str) -> None:
        """Count an order of an operator."""
        self._count("orders", order if order in BUNDLE_ORDERS else OTHER, result if result in ORDER_RESULTS else OTHER)

    def set_keys(self, issuer: str, keys: int, fetched_at: float | None) -> None:
        """Keys known for an issuer; `fetched_at` in seconds since the epoch, None for keys of the bundle."""
        if issuer in self._names.issuers:
            self._keys = {**self._keys, issuer: (keys, fetched_at)}

    def refresh(self, issuer: str, result: str) -> None:
        """Count an attempt to fetch an issuer's keys."""
        known = issuer if issuer in self._names.issuers else OTHER
        self._count("refreshes", known, result if result in REFRESH_RESULTS else OTHER)

    def load(self, result: str) -> None:
        """Count an attempt to load a candidate bundle."""
        self._count("candidate_loads", result if result in ACTIVATION_RESULTS else OTHER)

    def set_candidate(self, source: Callable[[], CandidateReadings | None], policies: frozenset[str]) -> None:
        """Where a scrape reads how the candidate fares, and the names in it that may become label values."""
        self._candidate, self._candidate_policies = source, policies

    def candidate_checks(self, result: str, count: int) -> None:
        """Count Checks that were given to the candidate."""
        self._shards.mine().counts["candidate_checks", result if result in CANDIDATE_RESULTS else OTHER] += count

    def candidate_skipped(self, cause: str) -> None:
        """Count a Check of the sample that was not compared."""
        self._count("candidate_skipped", cause if cause in SKIPS else OTHER)

    def disagreements(self, change: str, policy: str, count: int) -> None:
        """Count Checks that the candidate bundle decides differently; `policy` is its own or the live one's."""
        known = not policy or policy in self._candidate_policies or policy in self._names.rules
        key = ("disagreements", change if change in CHANGES else OTHER, policy if known else OTHER)
        self._shards.mine().counts[key] += count

    def shed(self, cause: str) -> None:
        """Count a Check refused without a decision."""
        self._count("shed", cause if cause in SHED_CAUSES else OTHER)

    def question(self, kind: str, result: str) -> None:
        """Count what became of a question to the outside."""
        known = kind if kind in QUESTIONS else OTHER
        self._count("questions", known, result if result in QUESTION_RESULTS else OTHER)

    def introspection(self, issuer: str, result: str) -> None:
        """Count what became of a question to an issuer."""
        known = issuer if issuer in self._names.issuers else OTHER
        self._count("introspections", known, result if result in INTROSPECTION_RESULTS else OTHER)

    def set_transport(self, kind: str, *, fell_back: bool) -> None:
        """Which transport serves, and whether that is not the one that was wished."""
        self._transport = (kind, "true" if fell_back else "false")

    def set_bundles(self, source: Callable[[], SourceReadings]) -> None:
        """Where a scrape reads how the source of bundles fares."""
        self._source = source

    def set_waiting(self, source: Callable[[], int]) -> None:
        """Where a scrape reads how many Checks wait for an answer from outside."""
        self._waiting = source

    def set_replay(self, source: Callable[[], ReplayReadings]) -> None:
        """Where a scrape reads how the store of used proofs fares."""
        self._replay = source

    def set_inflight(self, source: Callable[[], int]) -> None:
        """Where a scrape reads the number of Checks in flight."""
        self._inflight = source

    def set_journal(self, source: Callable[[], JournalReadings]) -> None:
        """Where a scrape reads how the journal fares."""
        self._journal = source

    def set_revocations(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Where a scrape reads how many revocations are in force, by where they stand."""
        self._revocations = source

    def set_emergencies(
        self, source: Callable[[], Iterable[tuple[str, Summary]]], on_use: Callable[[DecisionRecord], None]
    ) -> None:
        """Where a scrape reads what is frozen and opened, by where it stands, and who is told of each use."""
        self._emergencies, self._on_use = source, on_use

    def set_dropped_spans(self, source: Callable[[], int]) -> None:
        """Where a scrape reads how many spans were dropped."""
        self._dropped_spans = source

    def decisions(self) -> dict[str, int]:
        """Checks since the start by reason code, for the status page."""
        found: dict[str, int] = {}
        for key, count in self._shards.total().counts.items():
            if key[0] == "checks":
                found[key[2]] = found.get(key[2], 0) + count
        return found

    def collect(self) -> Iterable[Metric]:
        """All families, for prometheus_client."""
        return families(self._readings())

    def report(self) -> Report:
        """The same for a supervisor, which adds up several workers' before it writes them out."""
        return report(self._readings())

    def _readings(self) -> Readings:
        return Readings(
            total=self._shards.total(),
            now=self._clock(),
            bundle=self._bundle,
            source=self._source() if self._source else None,
            candidate=self._candidate(),
            keys=self._keys,
            revocations=self._revocations(),
            emergencies=tuple(self._emergencies()),
            replay=self._replay() if self._replay else None,
            journal=self._journal() if self._journal else None,
            transport=self._transport,
            inflight=self._inflight(),
            waiting=self._waiting(),
            dropped_spans=self._dropped_spans() if self._dropped_spans else None,
            business=self._business.counters,
        )

    def _count(self, *key: str) -> None:
        self._shards.mine().counts[key] += 1


def _none() -> None:
    return None


def _nothing(_record: DecisionRecord) -> None:
    pass
