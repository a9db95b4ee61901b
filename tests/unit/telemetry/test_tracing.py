"""Spans reach a collector as OTLP over HTTP, for sampled traces only, and never hold up the path."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts
from extauthz.telemetry import Resource, Tracing, TracingOptions
from tests.fakes import a_record

pytestmark = pytest.mark.timeout(60)

WHO = Resource("extauthz", "0.1.0", "pod-0")


class Collector:
    """An OTLP/HTTP receiver on the loopback that decodes with OpenTelemetry's own messages."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[dict[str, str]] = []
        self.exports: list[ExportTraceServiceRequest] = []
        collector = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append({**dict(self.headers.items()), "path": self.path})
                if collector.status == 200:
                    collector.exports.append(ExportTraceServiceRequest.FromString(gzip.decompress(body)))
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[object]:
        found = []
        for export in self.exports:
            for resource in export.resource_spans:
                for scope in (
                    resource.scope_spans
                    if "scope_spans" in resource.DESCRIPTOR.fields_by_name
                    else resource.instrumentation_library_spans  # an older copy of the same messages
                ):
                    found += scope.spans
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def exported(collector: Collector, *records: object, **options: object) -> Tracing:
    tracing = Tracing(TracingOptions(endpoint=collector.url, **options), WHO)
    for record in records:
        tracing.observe(record)
    tracing.start()
    until(lambda: not tracing._queue)
    tracing.stop()
    return tracing


def until(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.02)
    return False


def attributes(span: object) -> dict[str, object]:
    return {
        item.key: item.value.int_value if item.value.HasField("int_value") else item.value.string_value
        for item in span.attributes
    }


def test_a_sampled_check_is_a_child_of_envoys_span(collector: Collector) -> None:
    exported(collector, a_record(time=1_795_000_000.25, duration=0.0004))
    (span,) = collector.spans()
    assert "0af7651916cd43dd8448eb211c80319c" == span.trace_id.hex()
    assert "b7ad6b7169203331" == span.parent_span_id.hex()
    assert 8 == len(span.span_id)
    assert ("extauthz.check", 2) == (span.name, span.kind)
    assert 1_795_000_000_250_000_000 == span.start_time_unix_nano
    assert 400_000 == span.end_time_unix_nano - span.start_time_unix_nano


def test_a_span_says_what_was_decided_by_semantic_conventions(collector: Collector) -> None:
    exported(collector, a_record())
    found = attributes(collector.spans()[0])
    expected = {
        "rpc.system": "grpc",
        "rpc.service": "envoy.service.auth.v3.Authorization",
        "rpc.method": "Check",
        "http.request.method": "GET",
        "http.route": "/api/{id}",
        "http.response.status_code": 200,
        "extauthz.decision.id": "decision-1",
        "extauthz.outcome": "allow",
        "extauthz.reason": "policy_allowed",
        "extauthz.policy": "customers",
        "extauthz.tenant": "acme",
    }
    assert expected == {name: found[name] for name in expected}


def test_who_sends_the_spans_is_in_the_resource(collector: Collector) -> None:
    exported(collector, a_record())
    resource = collector.exports[0].resource_spans[0].resource
    assert {"service.name": "extauthz", "service.version": "0.1.0", "service.instance.id": "pod-0"} == attributes(
        resource
    )


def test_a_span_never_holds_a_person_an_address_or_a_client_made_word(collector: Collector) -> None:
    """T-68."""
    odd = Facts(method="X" * 5000, host="evil.test", client_address="203.0.113.9")
    exported(collector, a_record(), a_record(facts=odd))
    sent = b"".join(export.SerializeToString() for export in collector.exports)
    for word in (b"6f0c2f5e-1b7a", b"203.0.113.9", b"10.0.0.7", b"XXXX", b"evil.test", b"teller-app"):
        assert word not in sent
    assert {"GET", "_OTHER"} == {attributes(span)["http.request.method"] for span in collector.spans()}


@pytest.mark.parametrize(("flags", "spans"), [("00", 0), ("01", 1), ("02", 0), ("03", 1), ("fe", 0), ("ff", 1)])
def test_only_the_sampled_flag_decides_when_there_is_a_parent(collector: Collector, flags: str, spans: int) -> None:
    """TR-01: other flags mean nothing to us."""
    exported(collector, a_record(traceparent=f"00-{'1' * 32}-{'2' * 16}-{flags}"), root_ratio=1.0)
    assert spans == len(collector.spans())


@pytest.mark.parametrize(("ratio", "chance", "spans"), [(0.0, 0.0, 0), (0.25, 0.2, 1), (0.25, 0.3, 0), (1.0, 0.999, 1)])
def test_a_check_without_parent_is_sampled_by_ratio(
    collector: Collector, ratio: float, chance: float, spans: int
) -> None:
    tracing = Tracing(TracingOptions(endpoint=collector.url, root_ratio=ratio), WHO, chance=lambda: chance)
    tracing.observe(a_record(traceparent=""))
    tracing.start()
    tracing.stop()
    found = collector.spans()
    assert spans == len(found)
    assert all(span.parent_span_id == b"" and len(span.trace_id) == 16 for span in found)


def test_a_denial_is_no_error_and_undecided_is_one(collector: Collector) -> None:
    deny, undecided = Deny(Reason.NO_POLICY_MATCHED), Undecided(Reason.KEYS_UNAVAILABLE)
    exported(collector, a_record(decision=deny, status=403), a_record(decision=undecided, status=503))
    first, second = collector.spans()
    assert (0, 2) == (first.status.code, second.status.code)
    assert "keys_unavailable" == attributes(second)["error.type"]


def test_a_full_queue_drops_and_counts_and_never_waits(collector: Collector) -> None:
    tracing = Tracing(TracingOptions(endpoint=collector.url, queue_size=3), WHO)
    for number in range(10):
        tracing.observe(a_record(number))
    assert 7 == tracing.dropped
    tracing.start()
    tracing.stop()
    assert 3 == len(collector.spans())


def test_a_collector_that_is_gone_costs_spans_not_checks() -> None:
    tracing = Tracing(TracingOptions(endpoint="http://127.0.0.1:1/v1/traces"), WHO)
    tracing.start()
    started = time.monotonic()
    for number in range(100):
        tracing.observe(a_record(number))
    assert time.monotonic() - started < 1
    tracing.stop()
    assert until(lambda: tracing.dropped == 100)


def test_a_busy_collector_is_asked_again(collector: Collector) -> None:
    collector.status = 503
    tracing = Tracing(TracingOptions(endpoint=collector.url), WHO)
    tracing.observe(a_record())
    tracing.start()
    assert until(lambda: len(collector.requests) == 1)
    collector.status = 200
    assert until(lambda: len(collector.spans()) == 1)
    tracing.stop()
    assert (1, 0) == (tracing.exported, tracing.dropped)


def test_a_refusal_is_not_repeated(collector: Collector) -> None:
    collector.status = 400
    tracing = exported(collector, a_record())
    assert (1, 1) == (len(collector.requests), tracing.dropped)


def test_configured_headers_and_the_content_type_are_sent(collector: Collector) -> None:
    exported(collector, a_record(), headers={"x-api-key": "k"})
    headers = {name.lower(): value for name, value in collector.requests[0].items()}
    assert ("application/x-protobuf", "gzip", "k", "/v1/traces") == (
        headers["content-type"],
        headers["content-encoding"],
        headers["x-api-key"],
        headers["path"],
    )
