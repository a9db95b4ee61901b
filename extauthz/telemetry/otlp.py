"""From the SDK's spans to the bytes of an OTLP export, with messages of our own that have the same field numbers.

Rule 1: pure. What an export needs of the world is in `exporter.py`.
"""

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from extauthz.generated.extauthz.v1.otlp_pb2 import (
    AnyValue,
    ArrayValue,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    InstrumentationScope,
    KeyValue,
    Resource,
    ResourceSpans,
    ScopeSpans,
    Span,
    Status,
)

# trace.proto, `SpanFlags`, above the W3C flags: whether it is known that the parent is remote, and whether it is.
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """An `ExportTraceServiceRequest`. The spans are of one provider and one tracer, and at least one."""
    resource, scope = spans[0].resource, spans[0].instrumentation_scope
    who = InstrumentationScope(name=scope.name, version=scope.version or "") if scope else InstrumentationScope()
    one = ScopeSpans(
        scope=who, spans=[_span(span) for span in spans], schema_url=(scope.schema_url if scope else "") or ""
    )
    everything = ResourceSpans(
        resource=Resource(attributes=_attributes(resource.attributes)),
        scope_spans=[one],
        schema_url=resource.schema_url,
    )
    return ExportTraceServiceRequest(resource_spans=[everything]).SerializeToString()


def rejected(answer: bytes) -> tuple[int, str]:
    """How many spans a collector did not take although it answered 200, and why."""
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    return partial.rejected_spans, partial.error_message


def _span(span: ReadableSpan) -> Span:
    context, parent = span.context, span.parent
    return Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        trace_state=context.trace_state.to_header(),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
        name=span.name,
        kind=Span.SpanKind.Value(f"SPAN_KIND_{span.kind.name}"),
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=_attributes(span.attributes or {}),
        dropped_attributes_count=span.dropped_attributes,
        status=Status(message=span.status.description or "", code=Status.StatusCode.Value(_status(span))),
        flags=_flags(context, parent),
    )


def _status(span: ReadableSpan) -> str:
    return f"STATUS_CODE_{span.status.status_code.name}"


def _flags(context: SpanContext, parent: SpanContext | None) -> int:
    return int(context.trace_flags) | _HAS_IS_REMOTE | (_IS_REMOTE if parent and parent.is_remote else 0)


def _attributes(values: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items()]


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
        case _:
            return AnyValue(string_value=str(value).encode("utf-8", "replace").decode())
