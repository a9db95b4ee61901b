"""The metrics contract: names, labels, buckets; every increment; never a label that a client chose."""

import math
import re
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from extauthz.guards import Summary
from extauthz.journal import JournalStatus, SinkStatus
from extauthz.model.decision import Allow, Deny, Evidence, Obligations, ShadowMatch, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Facts
from extauthz.model.subject import Subject
from extauthz.telemetry import BundleLabels, BusinessCounter, BusinessLabel, Metrics, MetricsOptions
from extauthz.telemetry.contract import BOUNDS, FAMILIES
from tests.fakes import a_record

BANKING = BusinessCounter(
    name="banking_requests_total",
    labels=(
        BusinessLabel(name="banking_operation", source="metadata:operation", values=("payments", "loans")),
        BusinessLabel(name="customer_segment", source="tenant", values=("acme",)),
        BusinessLabel(name="compliance_check", source="outcome", values=("allow", "deny")),
    ),
)
BUNDLE = BundleLabels(
    revision="2026-11",
    digest="ab" * 32,
    activated_at=1_000.0,
    profiles=frozenset({"open-banking"}),
    tenants=frozenset({"acme", "umbrella"}),
    rules={"customers": frozenset({"read"}), "frozen": frozenset({"all"})},
    issuers=frozenset({"keycloak"}),
)


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(MetricsOptions(business=(BANKING,)), clock=lambda: 1_060.0)
    made.set_bundle(BUNDLE)
    return made


def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus reads, through the OpenMetrics parser."""
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples(metrics)}


def samples(metrics: Metrics) -> list[Sample]:
    registry = CollectorRegistry()
    registry.register(metrics.collector)
    text = generate_openmetrics(registry).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return scrape(metrics).get((name, tuple(sorted(labels.items()))), 0.0)


def test_one_check_counts_once_in_every_family_that_it_concerns(metrics: Metrics) -> None:
    metrics.observe(a_record())
    assert 1 == value(
        metrics, "extauthz_checks_total", outcome="allow", reason="policy_allowed", profile="open-banking"
    )
    assert 1 == value(metrics, "extauthz_tenant_checks_total", tenant="acme", outcome="allow")
    assert 1 == value(
        metrics, "extauthz_policy_matches_total", policy="customers", rule="read", effect="allow", mode="enforce"
    )
    assert 1 == value(metrics, "extauthz_token_verifications_total", issuer="keycloak", result="valid", cached="false")
    assert 1 == value(metrics, "extauthz_check_duration_seconds_count", outcome="allow")
    assert 0 == value(metrics, "extauthz_check_duration_seconds_bucket", outcome="allow", le="0.00025")
    assert 1 == value(metrics, "extauthz_check_duration_seconds_bucket", outcome="allow", le="0.0005")


def test_the_buckets_are_those_of_the_contract() -> None:
    stated = (0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100)
    assert all(math.isclose(ms / 1000, bound) for ms, bound in zip(stated, BOUNDS, strict=True))


def test_a_duration_on_a_bound_belongs_to_its_bucket(metrics: Metrics) -> None:
    metrics.observe(a_record(duration=0.001))
    assert 0 == value(metrics, "extauthz_check_duration_seconds_bucket", outcome="allow", le="0.0005")
    assert 1 == value(metrics, "extauthz_check_duration_seconds_bucket", outcome="allow", le="0.001")


def test_names_and_labels_are_those_of_the_contract() -> None:
    contract = {
        "extauthz_checks_total": ("outcome", "reason", "profile"),
        "extauthz_check_duration_seconds": ("outcome",),
        "extauthz_tenant_checks_total": ("tenant", "outcome"),
        "extauthz_policy_matches_total": ("policy", "rule", "effect", "mode"),
        "extauthz_candidate_disagreements_total": ("change", "policy"),
        "extauthz_candidate_checks_total": ("result",),
        "extauthz_candidate_skipped_total": ("cause",),
        "extauthz_candidate_loads_total": ("result",),
        "extauthz_candidate_seconds_total": (),
        "extauthz_candidate_info": ("revision", "digest"),
        "extauthz_candidate_promotable": (),
        "extauthz_bundle_info": ("revision", "digest"),
        "extauthz_bundle_age_seconds": (),
        "extauthz_bundle_activations_total": ("result",),
        "extauthz_jwks_keys": ("issuer",),
        "extauthz_jwks_age_seconds": ("issuer",),
        "extauthz_jwks_refreshes_total": ("issuer", "result"),
        "extauthz_token_verifications_total": ("issuer", "result", "cached"),
        "extauthz_journal_records_total": ("sink",),
        "extauthz_journal_bytes": ("sink",),
        "extauthz_journal_writes_total": ("sink",),
        "extauthz_journal_sink_lag_records": ("sink",),
        "extauthz_journal_failures_total": ("sink",),
        "extauthz_inflight_checks": (),
        "extauthz_shed_total": ("cause",),
    }
    found = {family.name: family.labels for family in FAMILIES}
    assert contract == {name: found[name] for name in contract}


def test_the_trace_of_a_sampled_check_is_the_exemplar_of_its_bucket(metrics: Metrics) -> None:
    metrics.observe(a_record(duration=0.0004))
    metrics.observe(a_record(duration=0.03, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-00"))
    found = {sample.labels["le"]: sample.exemplar.labels["trace_id"] for sample in samples(metrics) if sample.exemplar}
    assert {"0.0005": "0af7651916cd43dd8448eb211c80319c"} == found


def test_the_plain_format_parses_too(metrics: Metrics) -> None:
    metrics.observe(a_record())
    registry = CollectorRegistry()
    registry.register(metrics)
    assert b'extauthz_checks_total{outcome="allow",profile="open-banking",reason="policy_allowed"} 1.0' in (
        generate_latest(registry)
    )


def test_threads_lose_no_increment(metrics: Metrics) -> None:
    """Four threads add to the same series while a fifth scrapes; the sum is exact."""
    sys.setswitchinterval(1e-6)
    try:
        stop = threading.Event()
        seen: list[float] = []

        def watch() -> None:
            while not stop.is_set():
                seen.append(value(metrics, "extauthz_check_duration_seconds_count", outcome="allow"))

        def work() -> None:
            for _ in range(5_000):
                metrics.observe(record)

        record = a_record()
        watcher = threading.Thread(target=watch)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in (watcher, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        watcher.join()
    finally:
        sys.setswitchinterval(0.005)
    assert 20_000 == value(metrics, "extauthz_check_duration_seconds_count", outcome="allow")
    assert 20_000 == value(metrics, "extauthz_tenant_checks_total", tenant="acme", outcome="allow")
    assert seen == sorted(seen)  # a counter never goes back, also when a thread ends


texts = st.text(max_size=12) | st.sampled_from(["acme", "customers", "read", "keycloak", "open-banking", "payments"])
evidences = st.builds(
    Evidence,
    subject=st.builds(Subject, issuer=texts, id=texts, issuer_name=texts),
    profile=texts,
    tenant=texts,
    policy=texts,
    rule=texts,
    shadow=st.lists(st.builds(ShadowMatch, texts, texts, texts), max_size=2).map(tuple),
    token_cached=st.booleans(),
)
decisions = st.one_of(
    st.builds(
        Allow,
        evidence=evidences,
        obligations=st.builds(Obligations, metadata=st.lists(st.tuples(st.just("operation"), texts)).map(tuple)),
    ),
    st.builds(
        Deny, reason=st.sampled_from([reason for reason in Reason if reason.outcome == "deny"]), evidence=evidences
    ),
    st.builds(
        Undecided,
        reason=st.sampled_from([reason for reason in Reason if reason.outcome == "undecided"]),
        evidence=evidences,
    ),
)
records = st.builds(
    lambda decision, method, host, duration: a_record(
        decision=decision, facts=Facts(method=method, host=host), duration=duration
    ),
    decisions,
    texts,
    texts,
    st.floats(0, 10),
)

ALLOWED = {
    "outcome": {"allow", "deny", "undecided"},
    "reason": {reason.code for reason in Reason},
    "profile": {"", "open-banking", "other"},
    "tenant": {"acme", "umbrella", "other"},
    "policy": {"", "customers", "frozen", "other"},
    "rule": {"read", "all", "other"},
    "effect": {"allow", "deny", "other"},
    "mode": {"enforce", "shadow"},
    "issuer": {"", "keycloak", "other"},
    "result": {reason.code for reason in Reason} | {"valid", "activated", "failed", "other"},
    "cached": {"true", "false"},
    "cause": {"queue", "other"},
    "change": {"allow_to_deny", "other"},
    "banking_operation": {"payments", "loans", "other"},
    "customer_segment": {"acme", "other"},
    "compliance_check": {"allow", "deny", "other"},
    "revision": {"2026-11"},
    "digest": {"ab" * 32},
    "kind": {"freeze", "freeze_everything", "break_glass", "drill"},
    "source": {"bundle", "runtime"},
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(record=records, word=texts)
def test_no_record_adds_a_series_outside_of_the_bounded_sets(
    metrics: Metrics, record: DecisionRecord, word: str
) -> None:
    """T-68: whatever clients, tokens and hosts say, the number of series is bounded by code and configuration."""
    metrics.observe(record)
    metrics.shed(word)
    metrics.activation(word)
    metrics.refresh(word, word)
    metrics.set_keys(word, 3, 1_000.0)
    metrics.disagreements(word, word, 2)
    metrics.candidate_checks(word, 2)
    metrics.candidate_skipped(word)
    metrics.load(word)
    metrics.introspection(word, word)
    for sample in samples(metrics):
        for label, found in sample.labels.items():
            if label != "le":
                assert found in ALLOWED[label], f"{sample.name}{sample.labels}"


def test_before_a_bundle_is_live_every_name_is_other() -> None:
    metrics = Metrics(MetricsOptions())
    metrics.observe(a_record())
    assert 1 == value(metrics, "extauthz_checks_total", outcome="allow", reason="policy_allowed", profile="other")


def test_a_shadow_rule_counts_as_shadow(metrics: Metrics) -> None:
    shadow = (ShadowMatch("frozen", "all", "deny"),)
    metrics.observe(a_record(decision=Deny(Reason.NO_POLICY_MATCHED, evidence=Evidence(shadow=shadow))))
    assert 1 == value(
        metrics, "extauthz_policy_matches_total", policy="frozen", rule="all", effect="deny", mode="shadow"
    )


def test_a_failed_verification_counts_its_reason(metrics: Metrics) -> None:
    metrics.observe(a_record(decision=Deny(Reason.TOKEN_EXPIRED, check="JWT-09")))
    assert 1 == value(metrics, "extauthz_token_verifications_total", issuer="", result="token_expired", cached="false")


def test_a_refused_token_counts_for_the_issuer_that_it_names(metrics: Metrics) -> None:
    metrics.observe(a_record(1, Deny(Reason.TOKEN_KEY_UNKNOWN, issuer="keycloak")))
    metrics.observe(a_record(2, Deny(Reason.TOKEN_KEY_UNKNOWN, issuer="gone")))
    metrics.observe(a_record(3, Undecided(Reason.KEYS_UNAVAILABLE, issuer="keycloak")))
    for issuer, result in (
        ("keycloak", "token_key_unknown"),
        ("other", "token_key_unknown"),
        ("keycloak", "keys_unavailable"),
    ):
        found = value(metrics, "extauthz_token_verifications_total", issuer=issuer, result=result, cached="false")
        assert 1 == found


def test_a_check_without_credential_verified_nothing(metrics: Metrics) -> None:
    metrics.observe(a_record(decision=Deny(Reason.NO_CREDENTIAL)))
    assert "extauthz_token_verifications_total" not in {name for name, _ in scrape(metrics)}


def test_business_counters_take_listed_values_and_other(metrics: Metrics) -> None:
    paid = Obligations(metadata=(("operation", "payments"),))
    odd = Obligations(metadata=(("operation", "<script>"),))
    metrics.observe(a_record(decision=Allow(evidence=Evidence(tenant="acme"), obligations=paid)))
    metrics.observe(a_record(decision=Allow(evidence=Evidence(tenant="umbrella"), obligations=odd)))
    labels = {"banking_operation": "payments", "customer_segment": "acme", "compliance_check": "allow"}
    assert 1 == value(metrics, "banking_requests_total", **labels)
    labels = {"banking_operation": "other", "customer_segment": "other", "compliance_check": "allow"}
    assert 1 == value(metrics, "banking_requests_total", **labels)


def test_bundle_keys_and_journal_are_read_at_the_scrape(metrics: Metrics) -> None:
    sink = SinkStatus("console", lag=7, delivered=93, lost=1, failures=2)
    status = JournalStatus(
        position=100, records=100, bytes=9000, writes=40, failures=3, segments=1, head="", error="", sinks=(sink,)
    )
    metrics.set_journal(lambda: status)
    metrics.set_inflight(lambda: 4)
    metrics.set_waiting(lambda: 3)
    metrics.introspection("keycloak", "inactive")
    metrics.set_keys("keycloak", 2, 1_030.0)
    metrics.activation("activated")
    metrics.refresh("keycloak", "failed")
    metrics.shed("queue")
    expected = {
        ("extauthz_bundle_info", "2026-11"): 1,
        ("extauthz_bundle_age_seconds", ""): 60,
        ("extauthz_bundle_activations_total", "activated"): 1,
        ("extauthz_jwks_keys", "keycloak"): 2,
        ("extauthz_jwks_age_seconds", "keycloak"): 30,
        ("extauthz_jwks_refreshes_total", "failed"): 1,
        ("extauthz_journal_records_total", "journal"): 100,
        ("extauthz_journal_records_total", "console"): 93,
        ("extauthz_journal_bytes", "journal"): 9000,
        ("extauthz_journal_writes_total", "journal"): 40,
        ("extauthz_journal_sink_lag_records", "console"): 7,
        ("extauthz_journal_failures_total", "journal"): 3,
        ("extauthz_journal_failures_total", "console"): 2,
        ("extauthz_journal_lost_records_total", "console"): 1,
        ("extauthz_inflight_checks", ""): 4,
        ("extauthz_waiting_checks", ""): 3,
        ("extauthz_introspections_total", "inactive"): 1,
        ("extauthz_shed_total", "queue"): 1,
    }
    found = scrape(metrics)
    for (name, word), count in expected.items():
        matching = [v for (n, labels), v in found.items() if n == name and (not word or word in dict(labels).values())]
        assert [count] == matching, name


def test_decisions_by_reason_for_the_status_page(metrics: Metrics) -> None:
    metrics.observe(a_record())
    metrics.observe(a_record(decision=Deny(Reason.NO_CREDENTIAL)))
    metrics.observe(a_record(decision=Deny(Reason.NO_CREDENTIAL)))
    assert {"policy_allowed": 1, "no_credential": 2} == metrics.decisions()


def test_observing_is_cheap(metrics: Metrics) -> None:
    record = a_record()
    best = min(_timed(metrics, record) for _ in range(5))
    assert best < 50e-6  # about 2 us on an idle core; the bound only catches a lock or a scan


def _timed(metrics: Metrics, record: DecisionRecord) -> float:
    started = time.perf_counter()
    for _ in range(500):
        metrics.observe(record)
    return (time.perf_counter() - started) / 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"business": [{"name": "extauthz_mine", "labels": []}]}', "not begin with `extauthz_`"),
        ('{"business": [{"name": "a-b", "labels": []}]}', "must be letters, digits"),
        (
            '{"business": [{"name": "a", "labels": [{"name": "x", "from": "path", "values": []}]}]}',
            "`from` must be tenant, policy",
        ),
        (
            '{"business": [{"name": "a", "labels": [{"name": "__x", "from": "tenant", "values": []}]}]}',
            "not begin with `__`",
        ),
        ('{"business": [{"name": "a", "labels": []}, {"name": "a_total", "labels": []}]}', "defined more than once"),
    ],
)
def test_a_business_counter_that_cannot_be_is_refused_with_its_name(text: str, words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(words)):
        msgspec.json.decode(text, type=MetricsOptions)


def test_a_business_counter_without_bound_is_refused() -> None:
    values = tuple(str(number) for number in range(200))
    labels = tuple(BusinessLabel(name=name, source="method", values=values) for name in ("a", "b"))
    with pytest.raises(ValueError, match="could have 40401 series, at most 10000 are allowed"):
        BusinessCounter(name="flood", labels=labels)


def test_the_page_about_metrics_lists_every_family_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "none"
        assert f"| `{family.name}` | {family.type} | {labels} | {family.help} |" in page


def test_emergencies_that_are_used_are_counted_by_id_a_hundred_of_them(metrics: Metrics) -> None:
    told = []
    metrics.set_emergencies(tuple, told.append)
    for number in range(103):
        evidence = Evidence(emergency=f"f-{number}", emergency_kind="freeze")
        metrics.observe(a_record(decision=Deny(Reason.EMERGENCY_DENIED, evidence=evidence)))
    metrics.observe(a_record(decision=Deny(Reason.EMERGENCY_DENIED)))
    name = "extauthz_emergency_uses_total"
    assert 1 == value(metrics, name, kind="freeze", id="f-0") == value(metrics, name, kind="freeze", id="f-99")
    assert 3 == value(metrics, name, kind="freeze", id="other")
    assert 103 == len(told)


def test_emergencies_in_force_are_counted_by_kind_and_the_next_end_is_shown(metrics: Metrics) -> None:
    in_force = [
        ("runtime", Summary("f-1", "freeze", "client app", 0, 2000, "INC-1")),
        ("runtime", Summary("f-2", "freeze", "client web", 0, 1000, "INC-1")),
        ("bundle", Summary("inc-1", "break_glass", "u1 may", 0, 3000, "INC-1")),
    ]
    metrics.set_emergencies(lambda: in_force, lambda _record: None)
    assert 2 == value(metrics, "extauthz_emergencies", kind="freeze", source="runtime")
    assert 1 == value(metrics, "extauthz_emergencies", kind="break_glass", source="bundle")
    assert 0 == value(metrics, "extauthz_emergencies", kind="drill", source="runtime")
    ends = "extauthz_emergency_end_timestamp_seconds"
    assert 1000 == value(metrics, ends, kind="freeze", source="runtime")
    assert [("break_glass", "bundle"), ("freeze", "runtime")] == sorted(
        (sample.labels["kind"], sample.labels["source"]) for sample in samples(metrics) if sample.name == ends
    )
