"""From records to spans of the OpenTelemetry SDK, and from there through its batch processor to an exporter.

Rule 1: only the thread of `Tracing` comes here.
"""

import logging
from collections.abc import Sequence

from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
)
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from extauthz.model.record import DecisionRecord
from extauthz.telemetry.spans import NAME, SCHEMA_URL, Resource, attributes, is_error, nanoseconds

log = logging.getLogger("extauthz.telemetry.tracing")

_DEFAULT_SERVICE = "extauthz"
# Given in full, or the SDK would read them from the environment and end the start when one is not a number.
_LIMITS = SpanLimits(
    max_attributes=64,
    max_events=0,
    max_links=0,
    max_span_attributes=64,
    max_event_attributes=0,
    max_link_attributes=0,
    max_attribute_length=1024,
    max_span_attribute_length=1024,
)
# The processor's thread has nothing to do: it is flushed after every batch.
_IDLE_MILLISECONDS = 60_000
_EXPORT_MILLISECONDS = 30_000  # not used by the SDK; given, or it would be read from the environment


def root_bound(ratio: float) -> int:
    """A Check without a parent is sampled when the low 64 bits of its trace id are below this."""
    return TraceIdRatioBased.get_bound_for_rate(ratio)


def resource(who: Resource) -> SdkResource:
    """Who sends: our own words, over them OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME, over these `serviceName`."""
    own = {SERVICE_NAME: _DEFAULT_SERVICE, SERVICE_VERSION: who.version, SERVICE_INSTANCE_ID: who.instance}
    configured = {SERVICE_NAME: who.service_name} if who.service_name else {}
    # What `create` is given wins over the environment, so the environment comes once more.
    return SdkResource.create(own).merge(OTELResourceDetector().detect()).merge(SdkResource(configured))


class _Ids(RandomIdGenerator):
    """The trace id of a root was drawn on the path, where the Check was sampled by it."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id


class Pipeline:
    """A tracer provider with one tracer, one processor and one exporter."""

    def __init__(self, root_ratio: float, who: Resource, exporter: SpanExporter, batch: int) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ParentBased(root=TraceIdRatioBased(root_ratio)),
            resource=resource(who),
            shutdown_on_exit=False,  # the server stops its rooms in order
            id_generator=self._ids,
            span_limits=_LIMITS,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=batch,
                max_export_batch_size=batch,
                schedule_delay_millis=_IDLE_MILLISECONDS,
                export_timeout_millis=_EXPORT_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer("extauthz", who.version, schema_url=SCHEMA_URL)
        self._propagator = TraceContextTextMapPropagator()

    def send(self, batch: Sequence[tuple[DecisionRecord, int]]) -> int:
        """Make a span of each record (with the trace id that a root shall have) and export them.

        At most as many as the processor holds: with a flush after each batch it never drops, which it would not count.
        Returns of how many records no span could be made.
        """
        failed = 0
        for record, trace_id in batch:
            try:
                self._span(record, trace_id)
            except Exception:
                failed += 1
                log.exception("a span could not be made")
        if batch:
            self._provider.force_flush()
        return failed

    def shutdown(self) -> None:
        """End the processor's thread and close the exporter."""
        self._provider.shutdown()

    def _span(self, record: DecisionRecord, trace_id: int) -> None:
        self._ids.trace_id = trace_id
        start = nanoseconds(record.time)
        span = self._tracer.start_span(
            NAME,
            context=self._propagator.extract({"traceparent": record.traceparent}),
            kind=SpanKind.SERVER,
            attributes=attributes(record),
            start_time=start,
        )
        if is_error(record):
            span.set_status(StatusCode.ERROR)
        span.end(start + nanoseconds(max(0.0, record.duration)))
