"""Spans reach a collector as OTLP over HTTP, for sampled traces only, and never hold up the path."""

import gzip
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

# A copy of OpenTelemetry's messages that is not ours: xds-protos always brings one.
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from extauthz.generated.extauthz.v1 import otlp_pb2
from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts
from extauthz.telemetry import Resource, Tracing, TracingOptions
from extauthz.telemetry.tracing import BATCH
from tests.fakes import a_record

pytestmark = pytest.mark.timeout(60)

WHO = Resource("", "0.1.0", "pod-0")
UNSAMPLED = f"00-{'1' * 32}-{'2' * 16}-00"


class Collector:
    """An OTLP/HTTP receiver on the loopback that decodes with OpenTelemetry's own messages."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.answer, self.answer_headers = 200, b"", {}
        self.open = threading.Event()  # while it is not set, requests are taken and not answered
        self.open.set()
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.exports: list[ExportTraceServiceRequest] = []
        collector = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append({name.lower(): value for name, value in self.headers.items()})
                collector.requests[-1]["path"] = self.path
                collector.open.wait(30)
                status = collector.status
                if status == 200:
                    plain = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
                    collector.bodies.append(plain)
                    collector.exports.append(ExportTraceServiceRequest.FromString(plain))
                self.send_response(status)
                self.send_header("content-length", str(len(collector.answer)))
                for name, value in collector.answer_headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(collector.answer)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.server.handle_error = lambda *_: None  # a client that gave up is no news
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

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

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def exported(collector: Collector, *records: object, who: Resource = WHO, **options: object) -> Tracing:
    tracing = Tracing(TracingOptions(endpoint=collector.url, **options), who)
    for record in records:
        tracing.observe(record)
    tracing.start()
    tracing.stop()
    return tracing


def until(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.02)
    return False


def attributes(holder: object) -> dict[str, object]:
    return {
        item.key: item.value.int_value if item.value.HasField("int_value") else item.value.string_value
        for item in holder.attributes
    }


def resource_of(collector: Collector) -> dict[str, object]:
    return attributes(collector.exports[0].resource_spans[0].resource)


# --- what a span says


def test_a_sampled_check_is_a_child_of_envoys_span(collector: Collector) -> None:
    exported(collector, a_record(time=1_795_000_000.25, duration=0.0004))
    (span,) = collector.spans()
    assert "0af7651916cd43dd8448eb211c80319c" == span.trace_id.hex()
    assert "b7ad6b7169203331" == span.parent_span_id.hex()
    assert 8 == len(span.span_id)
    assert span.span_id not in (span.parent_span_id, bytes(8))
    assert ("extauthz.check", 2) == (span.name, span.kind)
    assert 1_795_000_000_250_000_000 == span.start_time_unix_nano
    assert 400_000 == span.end_time_unix_nano - span.start_time_unix_nano


def test_a_span_is_marked_sampled_with_a_remote_parent_and_names_its_scope(collector: Collector) -> None:
    exported(collector, a_record())
    (scope,) = otlp_pb2.ExportTraceServiceRequest.FromString(collector.bodies[0]).resource_spans[0].scope_spans
    assert 0x301 == scope.spans[0].flags
    assert ("extauthz", "0.1.0") == (scope.scope.name, scope.scope.version)
    assert scope.schema_url.startswith("https://opentelemetry.io/schemas/")


def test_the_small_messages_agree_with_opentelemetrys_byte_for_byte(collector: Collector) -> None:
    """The other copy knows every field but the flags, or knows these too."""
    exported(collector, a_record(), a_record(2))
    ours = otlp_pb2.ExportTraceServiceRequest.FromString(collector.bodies[0])
    theirs = collector.exports[0]
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)


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


def test_a_denial_is_no_error_and_undecided_is_one(collector: Collector) -> None:
    deny, undecided = Deny(Reason.NO_POLICY_MATCHED), Undecided(Reason.KEYS_UNAVAILABLE)
    exported(collector, a_record(decision=deny, status=403), a_record(decision=undecided, status=503))
    spans = {attributes(span)["extauthz.outcome"]: span for span in collector.spans()}
    assert (0, 2) == (spans["deny"].status.code, spans["undecided"].status.code)
    assert "keys_unavailable" == attributes(spans["undecided"])["error.type"]
    assert "error.type" not in attributes(spans["deny"])


def test_a_span_never_holds_a_person_an_address_or_a_client_made_word(collector: Collector) -> None:
    """T-68."""
    odd = Facts(method="X" * 5000, host="evil.test", client_address="203.0.113.9")
    exported(collector, a_record(), a_record(facts=odd))
    sent = b"".join(collector.bodies)
    for word in (b"6f0c2f5e-1b7a", b"203.0.113.9", b"10.0.0.7", b"XXXX", b"evil.test", b"teller-app"):
        assert word not in sent
    assert {"GET", "_OTHER"} == {attributes(span)["http.request.method"] for span in collector.spans()}


# --- who sends it


def test_who_sends_the_spans_is_in_the_resource(collector: Collector) -> None:
    exported(collector, a_record())
    found = resource_of(collector)
    assert ("extauthz", "0.1.0", "pod-0") == (
        found["service.name"],
        found["service.version"],
        found["service.instance.id"],
    )
    assert ("opentelemetry", "python") == (found["telemetry.sdk.name"], found["telemetry.sdk.language"])


def test_the_environment_adds_to_the_resource_and_wins_over_our_defaults(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.instance.id=a%2Fb,service.name=pdp"
    )
    exported(collector, a_record())
    found = resource_of(collector)
    assert ("prod", "a/b", "pdp") == (
        found["deployment.environment.name"],
        found["service.instance.id"],
        found["service.name"],
    )


def test_a_configured_service_name_wins_over_the_environment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    exported(collector, a_record())
    exported(collector, a_record(), who=Resource("from-config", "0.1.0", "pod-0"))
    names = [attributes(export.resource_spans[0].resource)["service.name"] for export in collector.exports]
    assert ["from-environment", "from-config"] == names


def test_a_word_in_the_environment_that_is_no_number_does_not_end_the_start(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_TRACES_SAMPLER"):
        monkeypatch.setenv(name, "many")
    assert 1 == exported(collector, a_record()).exported


# --- which Checks get one


@pytest.mark.parametrize(("flags", "spans"), [("00", 0), ("01", 1), ("02", 0), ("03", 1), ("fe", 0), ("ff", 1)])
def test_only_the_sampled_flag_decides_when_there_is_a_parent(collector: Collector, flags: str, spans: int) -> None:
    """TR-01: other flags mean nothing to us."""
    exported(collector, a_record(traceparent=f"00-{'1' * 32}-{'2' * 16}-{flags}"), root_ratio=1.0)
    assert spans == len(collector.spans())


@pytest.mark.parametrize(
    ("ratio", "low_bits", "spans"), [(0.0, 0.0, 0), (0.25, 0.2, 1), (0.25, 0.3, 0), (1.0, 0.999, 1)]
)
def test_a_check_without_parent_is_sampled_by_ratio_of_its_trace_id(
    collector: Collector, ratio: float, low_bits: float, spans: int
) -> None:
    trace_id = (0xABC << 64) + int(low_bits * 2**64)
    tracing = Tracing(TracingOptions(endpoint=collector.url, root_ratio=ratio), WHO, new_trace_id=lambda: trace_id)
    tracing.observe(a_record(traceparent=""))
    assert spans == len(tracing._queue), "the path and the SDK's sampler disagree"
    tracing.start()
    tracing.stop()
    found = collector.spans()
    assert spans == len(found)
    assert all(span.parent_span_id == b"" and span.trace_id == trace_id.to_bytes(16, "big") for span in found)


def test_about_one_root_in_four_is_sampled_at_a_quarter(collector: Collector) -> None:
    tracing = exported(collector, *[a_record(traceparent="")] * 2000, root_ratio=0.25)
    assert 400 < tracing.exported < 600
    assert 0 == tracing.dropped
    assert tracing.exported == len({span.trace_id for span in collector.spans()})


def test_an_unsampled_check_takes_no_place_and_sends_nothing(collector: Collector) -> None:
    tracing = Tracing(TracingOptions(endpoint=collector.url, queue_size=1), WHO)
    for _ in range(1000):
        tracing.observe(a_record(traceparent=UNSAMPLED))
        tracing.observe(a_record(traceparent=""))
    assert (0, 0) == (len(tracing._queue), tracing.dropped)
    tracing.start()
    tracing.stop()
    assert [] == collector.requests


# --- how it is sent


def test_configured_headers_and_the_content_type_are_sent(collector: Collector) -> None:
    exported(collector, a_record(), headers={"x-api-key": "k", "Content-Type": "text/plain"})
    headers = collector.requests[0]
    assert ("application/x-protobuf", "gzip", "k", "/v1/traces") == (
        headers["content-type"],
        headers["content-encoding"],
        headers["x-api-key"],
        headers["path"],
    )


def test_an_export_can_go_without_compression(collector: Collector) -> None:
    exported(collector, a_record(), compression="none")
    assert "content-encoding" not in collector.requests[0]
    assert 1 == len(collector.spans())


def test_a_collector_is_trusted_by_the_configured_authority_alone(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    collector = Collector(context)
    try:
        assert 1 == exported(collector, a_record(), ca_file=str(tmp_path / "ca.pem")).exported
        stranger = exported(collector, a_record())
        assert (0, 1) == (stranger.exported, stranger.dropped)
    finally:
        collector.close()


def test_a_ca_file_that_cannot_be_read_is_said_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        Tracing(TracingOptions(endpoint="https://127.0.0.1:1/", ca_file="no-such-file.pem"), WHO)


def test_more_than_a_batch_goes_out_in_several_exports_none_lost(collector: Collector) -> None:
    tracing = exported(collector, *(a_record(number) for number in range(2 * BATCH + 10)))
    assert (2 * BATCH + 10, 0) == (tracing.exported, tracing.dropped)
    ids = {attributes(span)["extauthz.decision.id"] for span in collector.spans()}
    assert {f"decision-{number}" for number in range(2 * BATCH + 10)} == ids


# --- when the collector is slow, busy or gone


def test_a_full_queue_drops_and_counts_and_never_waits(collector: Collector) -> None:
    tracing = Tracing(TracingOptions(endpoint=collector.url, queue_size=3), WHO)
    for number in range(10):
        tracing.observe(a_record(number))
    assert 7 == tracing.dropped
    tracing.start()
    tracing.stop()
    assert 3 == len(collector.spans())


def test_a_collector_that_hangs_costs_spans_not_checks_nor_memory_and_spans_flow_again(collector: Collector) -> None:
    collector.open.clear()
    tracing = Tracing(TracingOptions(endpoint=collector.url, queue_size=600), WHO)
    tracing.start()
    started = time.monotonic()
    for number in range(5000):
        tracing.observe(a_record(number))
    assert time.monotonic() - started < 2
    assert len(tracing._queue) <= 600
    assert tracing.dropped > 0
    collector.open.set()
    assert until(lambda: tracing.exported + tracing.dropped == 5000)
    lost = tracing.dropped
    tracing.observe(a_record(9999))
    tracing.stop()
    assert ("decision-9999", lost) == (attributes(collector.spans()[-1])["extauthz.decision.id"], tracing.dropped)


def test_a_collector_that_is_gone_costs_spans_and_every_one_is_counted() -> None:
    tracing = Tracing(TracingOptions(endpoint="http://127.0.0.1:1/v1/traces"), WHO)
    tracing.start()
    for number in range(100):
        tracing.observe(a_record(number))
    tracing.stop()
    assert until(lambda: tracing.dropped == 100)
    assert 0 == tracing.exported


def test_a_busy_collector_is_asked_again(collector: Collector) -> None:
    collector.status = 503
    tracing = Tracing(TracingOptions(endpoint=collector.url), WHO)
    tracing.observe(a_record())
    tracing.start()
    assert until(lambda: len(collector.requests) == 2)
    collector.status = 200
    assert until(lambda: len(collector.spans()) == 1)
    tracing.stop()
    assert (1, 0) == (tracing.exported, tracing.dropped)


def test_a_collector_that_says_when_to_come_back_is_heeded(collector: Collector) -> None:
    collector.status, collector.answer_headers = 429, {"retry-after": "1"}
    tracing = Tracing(TracingOptions(endpoint=collector.url), WHO)
    tracing.observe(a_record())
    tracing.start()
    assert until(lambda: len(collector.requests) == 1)
    asked = time.monotonic()
    collector.status = 200
    assert until(lambda: len(collector.requests) == 2)
    assert 0.9 < time.monotonic() - asked
    tracing.stop()
    assert 1 == tracing.exported


@pytest.mark.parametrize("status", [301, 400, 401, 413, 500])
def test_a_refusal_is_not_repeated(collector: Collector, status: int) -> None:
    collector.status = status
    tracing = Tracing(TracingOptions(endpoint=collector.url), WHO)
    tracing.observe(a_record())
    tracing.start()
    assert until(lambda: tracing.dropped == 1)
    tracing.stop()
    assert 1 == len(collector.requests)


def test_spans_that_a_collector_rejects_with_status_200_are_counted_as_dropped(collector: Collector) -> None:
    partial = otlp_pb2.ExportTracePartialSuccess(rejected_spans=2, error_message="no quota")
    collector.answer = otlp_pb2.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    tracing = exported(collector, *(a_record(number) for number in range(5)))
    assert (3, 2) == (tracing.exported, tracing.dropped)


@pytest.mark.parametrize("answer", [b'{"partialSuccess":{}}', b"\xff" * 100, b"x" * 200_000])
def test_an_answer_that_is_no_otlp_is_still_a_success(collector: Collector, answer: bytes) -> None:
    collector.answer = answer
    assert 1 == exported(collector, a_record()).exported


def test_stopping_does_not_wait_for_a_collector_that_hangs(collector: Collector) -> None:
    collector.open.clear()
    tracing = Tracing(TracingOptions(endpoint=collector.url, timeout_seconds=60), WHO)
    for number in range(2 * BATCH):
        tracing.observe(a_record(number))
    tracing.start()
    started = time.monotonic()
    tracing.stop(1.0)
    assert time.monotonic() - started < 2
    assert until(lambda: tracing.dropped == 2 * BATCH)


def test_importing_the_room_loads_no_sdk_starts_no_thread_and_opens_no_socket() -> None:
    program = (
        "import sys, threading\n"
        "from prometheus_client import REGISTRY\n"
        "before = sorted(REGISTRY._names_to_collectors)\n"
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and print(event))\n"
        "import extauthz.telemetry\n"
        "assert threading.active_count() == 1\n"
        "assert sorted(REGISTRY._names_to_collectors) == before\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout
