"""From records to the bytes of an OTLP export. Pure but for the random ids that come as an argument."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from extauthz.generated.extauthz.v1.otlp_pb2 import (
    AnyValue,
    ExportTraceServiceRequest,
    InstrumentationScope,
    KeyValue,
    ResourceSpans,
    ScopeSpans,
    Span,
    Status,
)
from extauthz.generated.extauthz.v1.otlp_pb2 import Resource as ResourceMessage
from extauthz.model.record import DecisionRecord

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
_NAME = "extauthz.check"
# Methods that semantic conventions know; any other is `_OTHER`, which also bounds what a client can write here.
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_TRACE_ID, _PARENT_ID, _SAMPLED_FLAG = slice(3, 35), slice(36, 52), 1

Value = str | int


class Resource(Struct, frozen=True):
    """Who sends the spans."""

    service_name: str
    version: str
    instance: str


def encode(records: Sequence[DecisionRecord], resource: Resource, random_bytes: Callable[[int], bytes]) -> bytes:
    """An `ExportTraceServiceRequest` with one span a record."""
    who = {
        "service.name": resource.service_name,
        "service.version": resource.version,
        "service.instance.id": resource.instance,
    }
    spans = [span(record, random_bytes) for record in records]
    scope = ScopeSpans(scope=InstrumentationScope(name="extauthz", version=resource.version), spans=spans)
    one = ResourceSpans(
        resource=ResourceMessage(attributes=_attributes(who)), scope_spans=[scope], schema_url=SCHEMA_URL
    )
    return ExportTraceServiceRequest(resource_spans=[one]).SerializeToString()


def span(record: DecisionRecord, random_bytes: Callable[[int], bytes]) -> Span:
    """The span of a Check: a child of Envoy's ext_authz span, or a root."""
    parent = record.traceparent
    start = _nanoseconds(record.time)
    outcome = record.decision.reason.outcome
    failed = outcome == "undecided"
    return Span(
        trace_id=bytes.fromhex(parent[_TRACE_ID]) if parent else random_bytes(16),
        span_id=random_bytes(8),
        parent_span_id=bytes.fromhex(parent[_PARENT_ID]) if parent else b"",
        name=_NAME,
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=start + _nanoseconds(max(0.0, record.duration)),
        attributes=_attributes(attributes(record)),
        # A denial is an answer, not an error of ours (semantic conventions, "Recording errors").
        status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
        flags=_SAMPLED_FLAG,
    )


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
        "error.type": reason.code if reason.outcome == "undecided" else "",
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


def _nanoseconds(seconds: float) -> int:
    """Whole microseconds: a float since the epoch holds no more."""
    return round(seconds * 1_000_000) * 1000


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [
        KeyValue(
            key=name,
            value=AnyValue(int_value=value)
            if isinstance(value, int)
            else AnyValue(string_value=value.encode("utf-8", "replace").decode()),
        )
        for name, value in values.items()
    ]
