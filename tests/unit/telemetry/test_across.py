"""Several workers in one scrape: nothing is counted twice, nothing goes back, and no gauge lies."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from extauthz.journal import JournalStatus, SinkStatus
from extauthz.telemetry import BundleLabels, BusinessCounter, BusinessLabel, Metrics, MetricsOptions, Report, Totals
from extauthz.telemetry.contract import FAMILIES
from tests.fakes import a_record

METHODS = BusinessCounter(name="shop_requests", labels=(BusinessLabel(name="m", source="method", values=("GET",)),))
ALLOWED = ("extauthz_checks_total", "allow", "open-banking", "policy_allowed")
Scrape = dict[tuple[str, ...], float]


class Worker:
    """What one worker counts and reads."""

    def __init__(self, digest: str = "ab", activated_at: float = 1_000.0) -> None:
        self.metrics = Metrics(MetricsOptions(business=(METHODS,)), clock=lambda: 1_060.0)
        self.metrics.set_bundle(
            BundleLabels(
                revision="r", digest=digest, activated_at=activated_at, profiles=frozenset({"open-banking"}),
                issuers=frozenset({"keycloak"}),
            )
        )  # fmt: skip
        self.records = self.lag = 0

    def check(self, times: int = 1, **record: object) -> "Worker":
        for _ in range(times):
            self.metrics.observe(a_record(**record))
        return self

    def journal(self, records: int, lag: int) -> "Worker":
        status = JournalStatus(
            position=records, records=records, bytes=10 * records, writes=records, failures=0, segments=1, head="", error="",
            sinks=(SinkStatus("stdout", lag, records - lag, 0, 0),),
        )  # fmt: skip
        self.metrics.set_journal(lambda: status)
        return self

    def report(self) -> Report:
        return self.metrics.report()


def totals(*workers: Worker) -> Totals:
    made = Totals((METHODS,))
    for number, worker in enumerate(workers):
        made.update(number, worker.report())
    return made


def scrape(found: Totals | Metrics) -> Scrape:
    """What Prometheus reads, by series and the values of its labels in order of their names."""
    registry = CollectorRegistry()
    registry.register(found)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (s.name, *(value for _, value in sorted(s.labels.items()))): s.value
        for family in families
        for s in family.samples
    }


def test_one_worker_s_totals_are_what_it_would_show_alone() -> None:
    worker = Worker().check(3).journal(7, 2)
    worker.metrics.set_keys("keycloak", 2, 1_000.0)
    worker.metrics.shed("queue")
    assert scrape(worker.metrics) == scrape(totals(worker))


def test_counters_and_histograms_are_added_up() -> None:
    found = scrape(totals(Worker().check(3, duration=0.0004), Worker().check(4, duration=0.004)))
    assert 7 == found[ALLOWED]
    assert [3, 7, 7] == [
        found["extauthz_check_duration_seconds_bucket", le, "allow"] for le in ("0.001", "0.005", "+Inf")
    ]
    assert 3 * 0.0004 + 4 * 0.004 == pytest.approx(found["extauthz_check_duration_seconds_sum", "allow"])
    assert 7 == found["shop_requests_total", "GET"]


def test_of_two_exemplars_the_newer_stays() -> None:
    newer = "00-" + "9" * 32 + "-" + "2" * 16 + "-01"
    made = totals(
        Worker().check(time=2.0, traceparent=newer, duration=0.0004), Worker().check(time=1.0, duration=0.0004)
    )
    kept = [s.exemplar.labels["trace_id"] for family in made.collect() for s in family.samples if s.exemplar]
    assert ["9" * 32] == kept


def test_what_an_ended_run_counted_stays_and_what_it_was_goes() -> None:
    made = totals(Worker().check(3).journal(7, 5), Worker().check(1).journal(1, 1))
    made.end(0)
    found = scrape(made)
    assert (4, 8, 80) == (
        found[ALLOWED],
        found["extauthz_journal_records_total", "journal"],
        found["extauthz_journal_bytes", "journal"],
    )
    assert 1 == found["extauthz_journal_sink_lag_records", "stdout"]
    made.update(0, Worker().check(2).journal(2, 0).report())
    found = scrape(made)
    assert (6, 10) == (found[ALLOWED], found["extauthz_journal_records_total", "journal"])
    assert {0: 5, 1: 1} == made.checks()
    assert {"policy_allowed": 6} == made.decisions()


def test_gauges_follow_the_rule_of_their_row() -> None:
    one, other = Worker("ab", 1_000.0).journal(9, 4), Worker("cd", 1_050.0).journal(9, 2)
    for worker, keys, fetched, inflight, revoked in ((one, 3, 1_000.0, 2, 5), (other, 1, 1_040.0, 1, 4)):
        worker.metrics.set_keys("keycloak", keys, fetched)
        worker.metrics.set_inflight(lambda inflight=inflight: inflight)
        worker.metrics.set_revocations(lambda revoked=revoked: {"runtime": revoked})
    found = scrape(totals(one, other))
    assert (1, 1) == (found["extauthz_bundle_info", "ab", "r"], found["extauthz_bundle_info", "cd", "r"])
    expected = {
        ("extauthz_bundle_age_seconds",): 60,  # the oldest
        ("extauthz_jwks_keys", "keycloak"): 1,  # what every worker knows
        ("extauthz_jwks_age_seconds", "keycloak"): 60,  # the oldest
        ("extauthz_revocations", "runtime"): 4,  # what every worker enforces
        ("extauthz_inflight_checks",): 3,
        ("extauthz_journal_sink_lag_records", "stdout"): 6,
    }
    assert expected == {series: found[series] for series in expected}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=20))
def test_no_counter_ever_goes_back(steps: Iterable[tuple[int, int, bool]]) -> None:
    """Workers count, report, end and begin again in any order."""
    made, running, before, expected = Totals(()), {}, 0.0, 0
    for number, checks, ends in steps:
        worker = running.setdefault(number, Worker())
        made.update(number, worker.check(checks).report())
        expected += checks
        if ends:
            made.end(number)
            del running[number]
        now = sum(value for series, value in scrape(made).items() if series[0] == "extauthz_checks_total")
        assert before <= now == expected
        before = now
    assert expected == sum(made.checks().values())


def test_every_gauge_says_what_several_workers_make_of_it() -> None:
    """A gauge without a rule would be summed, which of an age or a revision is a lie."""
    assert [] == [family.name for family in FAMILIES if (family.type == "gauge") != (family.across is not None)]


def test_the_page_about_metrics_says_it_of_every_gauge() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = page.partition("## Several workers")[2].partition("\n## ")[0]
    gauges = [family for family in FAMILIES if family.across not in {None, "worker"}]
    assert [] == [family.name for family in gauges if f"`{family.name}`" not in section]
