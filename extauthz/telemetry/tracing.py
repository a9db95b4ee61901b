"""A span for every sampled Check, made and sent beside the path.

Rule 1: the path only tests whether the Check is sampled and puts its record into a bounded queue.
Rule 2: the SDK is loaded by whoever makes a `Tracing`, not by importing this room: it reads entry points and the
environment when it is imported.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from extauthz.model.record import DecisionRecord
from extauthz.telemetry.counters import Shards
from extauthz.telemetry.options import TracingOptions
from extauthz.telemetry.spans import Resource

if TYPE_CHECKING:
    from extauthz.telemetry.pipeline import Pipeline

POLL_SECONDS = 0.5  # a span waits so long at most before it is made
BATCH = 512  # spans an export
_SAMPLED = frozenset("13579bdf")  # last digit of a traceparent whose sampled flag (01) is set
_LOW_BITS = (1 << 64) - 1  # of a trace id: those by which the SDK's TraceIdRatioBased samples


class Tracing:
    """Takes records from any thread; one thread of its own turns them into spans and exports these."""

    def __init__(
        self,
        options: TracingOptions,
        resource: Resource,
        client: httpx.Client | None = None,
        new_trace_id: Callable[[], int] | None = None,
    ) -> None:
        """Raises OSError (ssl.SSLError is one) when the CA file cannot be used."""
        from extauthz.telemetry.exporter import OtlpExporter  # noqa: PLC0415 - rule 2
        from extauthz.telemetry.pipeline import root_bound  # noqa: PLC0415 - rule 2

        self._options, self._resource = options, resource
        self._exporter = OtlpExporter(options, client)
        self._root_bound = root_bound(options.root_ratio)
        self._new_trace_id = new_trace_id or _random_trace_id
        self._queue: deque[tuple[DecisionRecord, int]] = deque()
        self._dropped = Shards()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def exported(self) -> int:
        """Spans that the collector took."""
        return self._exporter.delivered

    @property
    def dropped(self) -> int:
        """Spans that were sampled and not delivered: no room in the queue, or no collector that took them."""
        return self._dropped.total().counts["dropped",] + self._exporter.lost

    def start(self) -> None:
        """Begin to export."""
        from extauthz.telemetry.pipeline import Pipeline  # noqa: PLC0415 - rule 2

        pipeline = Pipeline(self._options.root_ratio, self._resource, self._exporter, BATCH)
        self._thread = threading.Thread(target=self._run, args=(pipeline,), name="tracing", daemon=True)
        self._thread.start()

    def observe(self, record: DecisionRecord) -> None:
        """Keep the record for a span when its trace is sampled (W3C Trace Context, flag 01), or by ratio for a root.

        `traceparent` is well-formed or "" (TR-01 is checked where it arrives).
        """
        trace_id = 0
        if record.traceparent:
            if record.traceparent[-1] not in _SAMPLED:
                return
        elif not self._root_bound:
            return
        elif (trace_id := self._new_trace_id()) & _LOW_BITS >= self._root_bound:
            return  # as the SDK's sampler would say, but before it costs a place in the queue
        if len(self._queue) >= self._options.queue_size:
            self._drop(1)
            return
        self._queue.append((record, trace_id))

    def stop(self, seconds: float = 5.0) -> None:
        """Export what is queued, for about so long; what is left then is dropped and counted."""
        self._exporter.deadline = time.monotonic() + seconds
        self._stopping = True
        self._wake.set()
        if self._thread is None:
            self._exporter.shutdown()
        else:
            self._thread.join(seconds)

    def _drop(self, count: int) -> None:
        self._dropped.mine().counts["dropped",] += count

    def _run(self, pipeline: "Pipeline") -> None:
        while not self._stopping or self._queue:
            if len(self._queue) < BATCH and not self._stopping:
                self._wake.wait(POLL_SECONDS)  # a few big exports disturb the path less than many small ones
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if failed := pipeline.send(batch):
                self._drop(failed)
        pipeline.shutdown()


def _random_trace_id() -> int:
    """W3C Trace Context: 16 bytes, not all of them zero."""
    return random.getrandbits(128) or 1
