"""The metrics contract: every family with its labels. Names are public API; docs/metrics.md says what they mean.

Rule: every label is bounded by configuration or code.
"""

from typing import Literal

from msgspec import Struct

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
        "Checks that the candidate bundle decides differently, by what would change.",
        "disagreements",
    ),
    Family(
        "extauthz_candidate_checks_total",
        "counter",
        ("result",),
        "Checks given to the candidate bundle: it `agreed`, `disagreed` or `failed`.",
        "candidate_checks",
    ),
    Family(
        "extauthz_candidate_skipped_total",
        "counter",
        ("cause",),
        "Checks of the sample that were not compared.",
        "candidate_skipped",
    ),
    Family(
        "extauthz_candidate_loads_total",
        "counter",
        ("result",),
        "Attempts to load a candidate bundle.",
        "candidate_loads",
    ),
    Family(
        "extauthz_candidate_seconds_total", "counter", (), "Time spent on the candidate: its share of the processor."
    ),
    Family("extauthz_candidate_info", "gauge", ("revision", "digest"), "1 for the candidate bundle.", across="max"),
    Family(
        "extauthz_candidate_promotable",
        "gauge",
        (),
        "1 when the candidate has passed the gate, else 0; absent without a candidate.",
        across="min",
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
        "extauthz_bundle_orders_total",
        "counter",
        ("order", "result"),
        "Orders of operators about bundles: `done` or `refused`.",
        "orders",
    ),
    Family(
        "extauthz_bundle_held_since_timestamp_seconds",
        "gauge",
        ("by",),
        "Since when an operator keeps a bundle in force against its source, by its kind; else absent.",
        across="min",
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
        "1 for the gRPC transport in use; `fell_back` is `true` where the loop's self-check failed.",
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
