"""What a span says about a Check: what the journal may say in the clear. No subject, no address, no path, no header."""

from msgspec import Struct

from extauthz.model.record import DecisionRecord

NAME = "extauthz.check"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
# Methods that semantic conventions know; any other is `_OTHER`, which also bounds what a client can write here.
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})

Value = str | int


class Resource(Struct, frozen=True):
    """Who sends the spans. `service_name` may be empty: then that of the environment, else `extauthz`."""

    service_name: str
    version: str
    instance: str


def attributes(record: DecisionRecord) -> dict[str, Value]:
    """Semantic conventions where there are some, `extauthz.*` else; empty values are left out."""
    facts, decision = record.facts, record.decision
    evidence, reason = decision.evidence, decision.reason
    method = facts.method
    found: dict[str, Value] = {
        "rpc.system": "grpc",
        "rpc.service": "envoy.service.auth.v3.Authorization",
        "rpc.method": "Check",
        "http.request.method": method if method in _METHODS else "_OTHER" if method else "",
        "http.route": evidence.route,
        "http.response.status_code": record.status,
        "error.type": reason.code if is_error(record) else "",
        "extauthz.decision.id": record.decision_id,
        "extauthz.outcome": reason.outcome,
        "extauthz.reason": reason.code,
        "extauthz.profile": evidence.profile,
        "extauthz.policy": evidence.policy,
        "extauthz.rule": evidence.rule,
        "extauthz.tenant": evidence.tenant,
        "extauthz.revision": record.revision,
        "extauthz.interaction.id": record.interaction_id,
        "extauthz.envoy.request.id": facts.request_id[:128],
    }
    return {name: value for name, value in found.items() if value != ""}


def is_error(record: DecisionRecord) -> bool:
    """A denial is an answer, not an error of ours (semantic conventions, "Recording errors")."""
    return record.decision.reason.outcome == "undecided"


def nanoseconds(seconds: float) -> int:
    """Whole microseconds: a float since the epoch holds no more."""
    return round(seconds * 1_000_000) * 1000
