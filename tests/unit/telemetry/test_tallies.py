"""Counting alike Checks as one gives what counting each of them in each series gives."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.telemetry import Metrics, MetricsOptions, counters
from extauthz.telemetry.tallies import Names, tally
from tests.unit.telemetry.test_metrics import BUNDLE, records

OTHER_BUNDLE = replace(BUNDLE, revision="2", profiles=frozenset({"acme"}), tenants=frozenset({"read"}), rules={})


def counted(metrics: Metrics) -> dict[Any, int]:
    counts = metrics._shards.total().counts
    return {key: count for key, count in counts.items() if key[0] != "duration" and count}


def one_by_one(asked: list[tuple[Any, Any]]) -> dict[Any, int]:
    found: Counter[Any] = Counter()
    for bundle, record in asked:
        names = Names(bundle.profiles, bundle.tenants, bundle.issuers, bundle.rules)
        found.update(key for key in names.series(tally(record.decision, 0)) if key[0] != "duration")
    return dict(found)


@given(st.lists(records, min_size=1, max_size=6), st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_many_of_a_kind_are_counted_as_if_each_was_under_the_names_of_its_time(found, order):
    metrics = Metrics(MetricsOptions())
    asked = []
    before = None
    for changed, number in order:
        bundle = OTHER_BUNDLE if changed else BUNDLE
        if bundle is not before:
            metrics.set_bundle(bundle)
        before = bundle
        record = found[number % len(found)]
        metrics.observe(record)
        asked.append((bundle, record))
        assert one_by_one(asked) == counted(metrics)


def test_kinds_beyond_the_limit_are_counted_too(monkeypatch):
    monkeypatch.setattr(counters, "_MAX_ALIKE", 2)
    shard = counters.Shards().mine()

    def series(tenant):
        return [("tenants", tenant), ("checks",)]

    for _ in range(3):
        for tenant in "abcde":
            shard.count_as_one(tenant, series)
    assert 2 == len(shard._kept[2])
    assert {("checks",): 15, **{("tenants", tenant): 3 for tenant in "abcde"}} == shard.written_out()
