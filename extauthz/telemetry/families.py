"""Writes counts out as the families of the metrics contract. `FAMILIES` is also the table in docs/metrics.md."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

from extauthz.guards import Summary
from extauthz.guards.spans import MAX_SECONDS
from extauthz.telemetry.counters import Shard
from extauthz.telemetry.options import BusinessCounter
from extauthz.telemetry.readings import BundleLabels, JournalReadings, ReplayReadings, SourceReadings

# Upper bounds in seconds: 0.1 to 100 ms; a filter's usual timeout is 25 ms.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1)


# What the values of one gauge become when several workers have it.
Across = Literal[
    "sum",
    "total",  # a sum in which stays what ended runs had, as with counters: a gauge that only grows
    "max",
    "min",
    "worker",  # it has a label for the worker, and the supervisor writes it
]


class Family(Struct, frozen=True):
    """One row of the contract. `key` is the name under which `Metrics` counts it, "" when it is read elsewhere."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str
    key: str = ""
    across: Across | None = None  # of a gauge; what counts is added up


FAMILIES = (
    Family("extauthz_checks_total", "counter", ("outcome", "reason", "profile"), "Checks answered.", "checks"),
    Family(
        "extauthz_check_duration_seconds", "histogram", ("outcome",), "From the arrival of a Check to its decision."
    ),
    Family(
        "extauthz_tenant_checks_total",
        "counter",
        ("tenant", "outcome"),
        "Checks by registered tenant; `other` is every other or none.",
        "tenants",
    ),
    Family(
        "extauthz_policy_matches_total",
        "counter",
        ("policy", "rule", "effect", "mode"),
        "Rules that decided (mode enforce) or would have matched (mode shadow).",
        "policies",
    ),
    Family(
        "extauthz_candidate_disagreements_total",
        "counter",
        ("change", "policy"),
        "Checks that the candidate bundle decides differently.",
        "disagreements",
    ),
    Family("extauthz_bundle_info", "gauge", ("revision", "digest"), "1 for the live bundle.", across="max"),
    Family("extauthz_bundle_age_seconds", "gauge", (), "Since the live bundle was activated.", across="max"),
    Family(
        "extauthz_bundle_activations_total", "counter", ("result",), "Attempts to activate a bundle.", "activations"
    ),
    Family(
        "extauthz_bundle_steps_total",
        "counter",
        ("step", "result"),
        "Steps of bundles on their way into force: `passed` or `failed`.",
    ),
    Family(
        "extauthz_bundle_contact_age_seconds",
        "gauge",
        (),
        "Since the source of bundles was last heard, or the start.",
        across="max",
    ),
    Family(
        "extauthz_bundle_too_old", "gauge", (), "1 while the source was not heard for too long, else 0.", across="max"
    ),
    Family(
        "extauthz_bundle_key_expires_timestamp_seconds",
        "gauge",
        (),
        "When the key ends that vouches for the live bundle; absent when it does not.",
        across="min",
    ),
    Family("extauthz_jwks_keys", "gauge", ("issuer",), "Keys known.", across="min"),
    Family("extauthz_jwks_age_seconds", "gauge", ("issuer",), "Since the keys were last fetched.", across="max"),
    Family("extauthz_jwks_refreshes_total", "counter", ("issuer", "result"), "Attempts to fetch keys.", "refreshes"),
    Family(
        "extauthz_token_verifications_total",
        "counter",
        ("issuer", "result", "cached"),
        "Access tokens verified; result is `valid` or the reason code.",
        "verifications",
    ),
    Family(
        "extauthz_revocations",
        "gauge",
        ("source",),
        "Revocations in force, of the bundle or made at run time.",
        across="min",
    ),
    Family(
        "extauthz_emergencies",
        "gauge",
        ("kind", "source"),
        "Freezes, break glass and drills of it in force.",
        across="max",
    ),
    Family(
        "extauthz_emergency_end_timestamp_seconds",
        "gauge",
        ("kind", "source"),
        "When the next of them ends by itself; no series when there is none.",
        across="min",
    ),
    Family(
        "extauthz_emergency_uses_total",
        "counter",
        ("kind", "id"),
        "Checks that a freeze refused, break glass let pass, or a drill would have let pass.",
        "emergency_uses",
    ),
    Family(
        "extauthz_questions_total",
        "counter",
        ("kind", "result"),
        "Questions of decisions to the outside: introspections, and first uses of proofs.",
        "questions",
    ),
    Family(
        "extauthz_introspections_total",
        "counter",
        ("issuer", "result"),
        "Questions to issuers about tokens: `active`, `inactive`, or why there was no answer.",
        "introspections",
    ),
    Family(
        "extauthz_replay_entries",
        "gauge",
        (),
        "Used DPoP proofs and ids of signed bodies in the memory of this process.",
        across="sum",
    ),
    Family(
        "extauthz_replay_refusals_total",
        "counter",
        ("cause",),
        "Proofs and signed bodies not let in: `replayed`, `full` (no room) or `failed` (no answer).",
    ),
    Family(
        "extauthz_journal_records_total",
        "counter",
        ("sink",),
        "Records written to the journal (sink `journal`) or delivered.",
    ),
    Family(
        "extauthz_journal_bytes", "gauge", ("sink",), "Bytes written to the journal since the start.", across="total"
    ),
    Family(
        "extauthz_journal_writes_total",
        "counter",
        ("sink",),
        "Writes to the journal; under load one is for many records.",
    ),
    Family(
        "extauthz_journal_sink_lag_records",
        "gauge",
        ("sink",),
        "Records that a sink has not delivered yet.",
        across="sum",
    ),
    Family(
        "extauthz_journal_failures_total", "counter", ("sink",), "Writes that failed: of the journal, or of a sink."
    ),
    Family(
        "extauthz_journal_lost_records_total",
        "counter",
        ("sink",),
        "Records that retention removed before the sink had delivered them.",
    ),
    Family(
        "extauthz_transport_info",
        "gauge",
        ("kind", "fell_back"),
        "1 for the gRPC transport in use; `fell_back` is `true` where this grpcio is unfit for the loop.",
        across="max",
    ),
    Family("extauthz_inflight_checks", "gauge", (), "Checks being answered.", across="sum"),
    Family("extauthz_waiting_checks", "gauge", (), "Those of them that wait for an answer from outside.", across="sum"),
    Family("extauthz_shed_total", "counter", ("cause",), "Checks refused without a decision.", "shed"),
    Family("extauthz_spans_dropped_total", "counter", (), "Spans that were sampled but not delivered."),
    Family("extauthz_worker_ready", "gauge", ("worker",), "1 while a worker answers by the bundle.", across="worker"),
    Family(
        "extauthz_worker_restarts_total",
        "counter",
        ("worker", "cause"),
        "Workers that ended without being asked to, and were started again.",
    ),
    Family("extauthz_worker_checks_total", "counter", ("worker",), "Checks answered by a worker."),
    Family("extauthz_worker_memory_bytes", "gauge", ("worker",), "Resident memory of a worker.", across="worker"),
)
_BY_NAME = {family.name: family for family in FAMILIES}


class Readings(Struct):
    """All that a scrape writes out."""

    total: Shard
    now: float
    bundle: BundleLabels | None
    source: SourceReadings | None
    keys: Mapping[str, tuple[int, float | None]]
    journal: JournalReadings | None
    revocations: Mapping[str, int]
    emergencies: tuple[tuple[str, Summary], ...]  # in force, by where they stand
    replay: ReplayReadings | None
    transport: tuple[str, str] | None
    inflight: int
    waiting: int
    dropped_spans: int | None
    business: tuple[BusinessCounter, ...]


def families(readings: Readings) -> Iterator[Metric]:
    """Every family that has something to say."""
    yield from counted(readings.total, readings.business)
    yield from read(readings)


def counted(total: Shard, business: Iterable[BusinessCounter]) -> Iterator[Metric]:
    """What the path and the threads beside it count."""
    for family in FAMILIES:
        if family.key:
            yield _counted(family.name, family.help, family.labels, family.key, total)
    yield _durations(total)
    for own in business:
        labels = tuple(label.name for label in own.labels)
        yield _counted(own.name, own.help, labels, f"business:{own.name}", total)


def read(readings: Readings) -> Iterator[Metric]:
    """What a scrape reads elsewhere."""
    yield from _bundle(readings)
    yield from _keys(readings)
    yield gauge("extauthz_revocations", {(source,): count for source, count in readings.revocations.items()})
    yield from _emergencies(readings.emergencies)
    yield from _replay(readings.replay)
    yield from _journal(readings)
    yield gauge("extauthz_transport_info", {readings.transport: 1} if readings.transport else {})
    yield gauge("extauthz_inflight_checks", {(): readings.inflight})
    yield gauge("extauthz_waiting_checks", {(): readings.waiting})
    if readings.dropped_spans is not None:
        yield counter("extauthz_spans_dropped_total", {(): readings.dropped_spans})


def _counted(name: str, text: str, labels: tuple[str, ...], key: str, total: Shard) -> Metric:
    family = CounterMetricFamily(name.removesuffix("_total"), text, labels=labels)
    for found, count in total.counts.items():
        if found[0] == key:
            family.add_metric(found[1:], count)
    return family


def _emergencies(found: tuple[tuple[str, Summary], ...]) -> Iterator[Metric]:
    counts = {(kind, source): 0 for kind in MAX_SECONDS for source in ("bundle", "runtime")}
    ends: dict[tuple[str, ...], float] = {}
    for source, summary in found:
        key = (summary.kind, source)
        counts[key] += 1
        ends[key] = min(summary.end, ends.get(key, summary.end))
    yield gauge("extauthz_emergencies", {(*key,): count for key, count in counts.items()})
    yield gauge("extauthz_emergency_end_timestamp_seconds", ends)


def _replay(readings: ReplayReadings | None) -> Iterator[Metric]:
    if readings is None:
        return
    yield gauge("extauthz_replay_entries", {(): readings.entries})
    counts = {"replayed": readings.replayed, "full": readings.refused_full, "failed": readings.failures}
    yield counter("extauthz_replay_refusals_total", {(cause,): count for cause, count in counts.items()})


def _durations(total: Shard) -> Metric:
    row = _BY_NAME["extauthz_check_duration_seconds"]
    family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    for outcome in total.sums:
        buckets: list[tuple[str, float, Exemplar | None]] = []
        count = 0
        for place, bound in enumerate(bounds):
            count += total.counts.get(("duration", outcome, str(place)), 0)
            kept = total.exemplars.get((outcome, place))
            exemplar = Exemplar({"trace_id": kept[0]}, kept[1], kept[2]) if kept else None
            buckets.append((bound, count, exemplar))
        family.add_metric([outcome], buckets=buckets, sum_value=total.sums[outcome])  # type: ignore[arg-type]
    return family


def _bundle(readings: Readings) -> Iterator[Metric]:
    if readings.bundle is not None:
        bundle = readings.bundle
        yield gauge("extauthz_bundle_info", {(bundle.revision, bundle.digest): 1})
        yield gauge("extauthz_bundle_age_seconds", {(): max(0.0, readings.now - bundle.activated_at)})
    source = readings.source
    if source is not None:
        yield counter("extauthz_bundle_steps_total", {tuple(step): count for step, count in source.steps.items()})
        yield gauge("extauthz_bundle_contact_age_seconds", {(): source.contact_age})
        yield gauge("extauthz_bundle_too_old", {(): int(source.too_old)})
        if source.key_expires is not None:
            yield gauge("extauthz_bundle_key_expires_timestamp_seconds", {(): source.key_expires})


def _keys(readings: Readings) -> Iterator[Metric]:
    yield gauge("extauthz_jwks_keys", {(issuer,): keys for issuer, (keys, _) in readings.keys.items()})
    ages: dict[tuple[str, ...], float] = {
        (issuer,): max(0.0, readings.now - fetched)
        for issuer, (_, fetched) in readings.keys.items()
        if fetched is not None
    }
    yield gauge("extauthz_jwks_age_seconds", ages)


def _journal(readings: Readings) -> Iterator[Metric]:
    journal = readings.journal
    if journal is None:
        return
    own = ("journal",)
    sinks = {(sink.name,): sink for sink in journal.sinks}
    yield counter(
        "extauthz_journal_records_total",
        {own: journal.records, **{name: sink.delivered for name, sink in sinks.items()}},
    )
    yield gauge("extauthz_journal_bytes", {own: journal.bytes})
    yield counter("extauthz_journal_writes_total", {own: journal.writes})
    yield gauge("extauthz_journal_sink_lag_records", {name: sink.lag for name, sink in sinks.items()})
    yield counter(
        "extauthz_journal_failures_total",
        {own: journal.failures, **{name: sink.failures for name, sink in sinks.items()}},
    )
    yield counter("extauthz_journal_lost_records_total", {name: sink.lost for name, sink in sinks.items()})


def gauge(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of the contract, its values by those of its labels."""
    row = _BY_NAME[name]
    family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def counter(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    """Likewise."""
    row = _BY_NAME[name]
    family = CounterMetricFamily(row.name.removesuffix("_total"), row.help, labels=row.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
