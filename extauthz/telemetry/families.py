"""Writes counts out as the families of the metrics contract."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

from extauthz.guards import Summary
from extauthz.guards.spans import MAX_SECONDS
from extauthz.telemetry.contract import BOUNDS, FAMILIES
from extauthz.telemetry.counters import Shard
from extauthz.telemetry.options import BusinessCounter
from extauthz.telemetry.readings import BundleLabels, CandidateReadings, JournalReadings, ReplayReadings, SourceReadings

_BY_NAME = {family.name: family for family in FAMILIES}


class Readings(Struct):
    """All that a scrape writes out."""

    total: Shard
    now: float
    bundle: BundleLabels | None
    source: SourceReadings | None
    candidate: CandidateReadings | None
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
    yield from _candidate(readings.candidate)
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
        if source.hold is not None:
            yield gauge("extauthz_bundle_held_since_timestamp_seconds", {(source.hold.kind,): source.hold.since})
        if source.key_expires is not None:
            yield gauge("extauthz_bundle_key_expires_timestamp_seconds", {(): source.key_expires})


def _candidate(readings: CandidateReadings | None) -> Iterator[Metric]:
    if readings is None:
        return
    yield counter("extauthz_candidate_seconds_total", {(): readings.seconds})
    if readings.revision:
        yield gauge("extauthz_candidate_info", {(readings.revision, readings.digest): 1})
        yield gauge("extauthz_candidate_promotable", {(): int(readings.promotable)})


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
