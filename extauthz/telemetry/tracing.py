"""A span for every sampled Check, built and sent beside the path, over OTLP/HTTP with protobuf.

Rule 1: the path only tests the sampled flag and puts the record into a bounded queue.
Rule 2: a span says what the journal may say in the clear: no subject, no address, no path, no header.
"""

import gzip
import random
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from os import urandom

import httpx

from extauthz.model.record import DecisionRecord
from extauthz.telemetry.counters import Shards
from extauthz.telemetry.options import TracingOptions
from extauthz.telemetry.spans import Resource, encode

POLL_SECONDS = 0.5
BATCH = 512  # spans an export
ATTEMPTS = 3
# OTLP specification, "OTLP/HTTP Response": only these are worth another try.
_RETRYABLE = frozenset({429, 502, 503, 504})
_OK = 200
_UNAVAILABLE = 503
_SAMPLED = frozenset("13579bdf")


class Tracing:
    """Takes records from any thread; one thread of its own sends them."""

    def __init__(
        self,
        options: TracingOptions,
        resource: Resource,
        client: httpx.Client | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Raises OSError or ssl.SSLError when the CA file cannot be read."""
        self._options, self._resource, self._chance = options, resource, chance
        self._client = client or httpx.Client(
            verify=_authorities(options.ca_file), timeout=options.timeout_seconds, trust_env=False
        )
        self._queue: deque[DecisionRecord] = deque()
        self._dropped = Shards()
        self.exported = 0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)

    @property
    def dropped(self) -> int:
        """Spans that were sampled and not delivered: no room in the queue, or no collector that took them."""
        return self._dropped.total().counts["dropped",]

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def observe(self, record: DecisionRecord) -> None:
        """Keep the record for a span when its trace is sampled (W3C Trace Context, flag 01), or by chance for a root.

        `traceparent` is well-formed or "" (TR-01 is checked where it arrives).
        """
        if record.traceparent:
            if record.traceparent[-1] not in _SAMPLED:
                return
        elif not self._options.root_ratio or self._chance() >= self._options.root_ratio:
            return
        if len(self._queue) >= self._options.queue_size:
            self._dropped.mine().counts["dropped",] += 1
            return
        self._queue.append(record)

    def stop(self, seconds: float = 5.0) -> None:
        """Export what is queued, for at most so long."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping or self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if batch:
                self._export(batch)
            elif not self._stopping:
                self._wake.wait(POLL_SECONDS)

    def _export(self, records: Sequence[DecisionRecord]) -> None:
        body = gzip.compress(encode(records, self._resource, urandom), compresslevel=1)
        for attempt in range(ATTEMPTS):
            status = self._send(body)
            if status == _OK:
                self.exported += len(records)
                return
            if status not in _RETRYABLE or self._stopping:
                break
            self._wake.wait(0.5 * 2**attempt)
        self._dropped.mine().counts["dropped",] += len(records)

    def _send(self, body: bytes) -> int:
        """The status of the answer; 503 when there was none."""
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip", **self._options.headers}
        try:
            return self._client.post(self._options.endpoint, content=body, headers=headers).status_code
        except httpx.HTTPError:
            return _UNAVAILABLE


def _authorities(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)
