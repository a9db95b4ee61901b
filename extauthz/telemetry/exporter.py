"""Sends the SDK's spans to a collector: OTLP over HTTP, protobuf. Why not with OpenTelemetry's own: decision 0002.

Rule 1: every span that comes here ends in `delivered` or in `lost`.
Rule 2: an export ends, after a few attempts or when its time is up; the queue before it is bounded and drops meanwhile.
"""

import gzip
import logging
import ssl
import time
from collections.abc import Sequence

import httpx
import stamina
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from extauthz.telemetry.options import TracingOptions
from extauthz.telemetry.otlp import encode, rejected

log = logging.getLogger("extauthz.telemetry.tracing")

ATTEMPTS = 5
RETRY_SECONDS = 20.0  # no attempt begins later than that after the first
_WAIT_SECONDS, _JITTER_SECONDS, _MAX_WAIT_SECONDS = 0.25, 0.25, 5.0
# OTLP specification, "OTLP/HTTP Response": only these are worth another try.
_RETRYABLE = frozenset({429, 502, 503, 504})
_MAX_ANSWER = 64 * 1024  # bytes; what a collector says about spans that it did not take is short


class _RefusedError(Exception):
    """The collector answered with an error."""

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(f"the collector answered {status}")
        self.retryable = status in _RETRYABLE
        # RFC 9110, 10.2.3: seconds or a date. A date is as good as nothing: we do not wait that long.
        self.after = min(float(retry_after), _MAX_WAIT_SECONDS) if retry_after.isdecimal() else None


class OtlpExporter(SpanExporter):
    """One batch at a time; the SDK's batch processor sees to that."""

    def __init__(self, options: TracingOptions, client: httpx.Client | None = None) -> None:
        """Raises OSError (ssl.SSLError is one) when the CA file cannot be used."""
        self.delivered = self.lost = 0
        self.deadline: float | None = None  # once it is set: one attempt, and none later than this (monotonic)
        self._options = options
        self._client = client or httpx.Client(
            verify=ssl.create_default_context(cafile=options.ca_file or None), trust_env=False
        )
        self._headers = httpx.Headers(options.headers)
        self._headers.update({"content-type": "application/x-protobuf", "accept-encoding": "identity"})
        if options.compression == "gzip":
            self._headers["content-encoding"] = "gzip"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send these. Does not raise: what cannot be sent is counted and said once in the log."""
        try:
            missing = self._deliver(encode(spans))
        except Exception as error:  # noqa: BLE001 - rule 1, whatever it was; the next export may fare better
            self.lost += len(spans)
            log.warning("spans were not delivered: %s", error or type(error).__name__, extra={"spans": len(spans)})
            return SpanExportResult.FAILURE
        self.lost += missing
        self.delivered += len(spans) - missing
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the connections."""
        self._client.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's interface
        """Nothing is kept here."""
        return True

    def _deliver(self, message: bytes) -> int:
        """Send with retries. Returns how many spans the collector rejected."""
        body = gzip.compress(message, compresslevel=1) if self._options.compression == "gzip" else message
        attempts = stamina.retry_context(
            on=self._try_again,
            attempts=ATTEMPTS,
            timeout=RETRY_SECONDS,
            wait_initial=_WAIT_SECONDS,
            wait_jitter=_JITTER_SECONDS,
            wait_max=_MAX_WAIT_SECONDS,
        )
        answer = b""
        for attempt in attempts:
            with attempt:
                answer = self._post(body)
        return _rejected(answer)

    def _try_again(self, error: Exception) -> bool | float:
        """Whether, or after how many seconds."""
        if self.deadline is not None:
            return False
        if isinstance(error, _RefusedError):
            return error.retryable if error.after is None else error.retryable and error.after
        return isinstance(error, httpx.TransportError)

    def _post(self, body: bytes) -> bytes:
        """One attempt. Returns what the collector answered. Raises _RefusedError, httpx.HTTPError."""
        seconds = self._options.timeout_seconds
        if self.deadline is not None and (seconds := min(seconds, self.deadline - time.monotonic())) <= 0:
            msg = "the server stops"
            raise TimeoutError(msg)
        url, headers = self._options.endpoint, self._headers
        with self._client.stream("POST", url, content=body, headers=headers, timeout=seconds) as response:
            if not response.is_success:
                raise _RefusedError(response.status_code, response.headers.get("retry-after", ""))
            answer = b""
            for part in response.iter_raw():
                answer += part
                if len(answer) > _MAX_ANSWER:
                    return b""
            return answer


def _rejected(answer: bytes) -> int:
    try:
        count, why = rejected(answer)
    except Exception:  # noqa: BLE001 - protobuf's error may not be named here; the status already said that all is well
        return 0
    if count:
        log.warning("the collector rejected spans: %s", why, extra={"spans": count})
    return count
