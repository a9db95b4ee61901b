"""What the server tells about itself: metrics, traces, logs."""

import math
import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

# A scrape stays well under a megabyte, and a mistake in a list cannot flood the store of metrics.
MAX_SERIES = 10_000

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SOURCE = re.compile(r"tenant|policy|rule|method|profile|reason|outcome|metadata:[A-Za-z0-9_.\-]{1,64}")


class BusinessLabel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One label of a business counter: where its value comes from, and the values that it may have."""

    name: str  # of the label
    # tenant, policy, rule, method, profile, reason, outcome, or metadata:<key> of a rule's obligations
    source: str = field(name="from")
    values: tuple[str, ...]  # each is a series; whatever else comes is counted as `other`
    other: str = "other"  # what other values count as

    def __post_init__(self) -> None:
        """Names that Prometheus takes, and a source that exists."""
        if not _LABEL.fullmatch(self.name):
            msg = f"label `{self.name}` must be letters, digits and `_`, and not begin with `__`"
            raise ValueError(msg)
        if not _SOURCE.fullmatch(self.source):
            msg = (
                f"label `{self.name}`: `from` must be tenant, policy, rule, method, profile, reason, outcome or "
                f"metadata:<key>, found `{self.source}`"
            )
            raise ValueError(msg)


class BusinessCounter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A counter of Checks in the words of the business, e.g. `banking_requests_total`."""

    name: str  # of the metric, with or without `_total`
    help: str = "Checks by business labels."  # one sentence for the scrape
    labels: tuple[BusinessLabel, ...]

    def __post_init__(self) -> None:
        """A name of its own, labels that differ, and a bounded number of series."""
        if not _METRIC.fullmatch(self.name) or self.name.startswith("extauthz_"):
            msg = f"metric `{self.name}` must be letters, digits, `_` and `:`, and not begin with `extauthz_`"
            raise ValueError(msg)
        if len({label.name for label in self.labels}) != len(self.labels):
            msg = f"metric `{self.name}` has two labels of one name"
            raise ValueError(msg)
        if (series := math.prod(len(label.values) + 1 for label in self.labels)) > MAX_SERIES:
            msg = f"metric `{self.name}` could have {series} series, at most {MAX_SERIES} are allowed"
            raise ValueError(msg)


class MetricsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is counted besides the metrics that every server has."""

    business: tuple[BusinessCounter, ...] = ()  # counters with labels of your own

    def __post_init__(self) -> None:
        """Every counter has a name of its own."""
        names = [counter.name.removesuffix("_total") for counter in self.business]
        if twice := next((name for name in names if names.count(name) > 1), None):
            msg = f"metric `{twice}` is defined more than once"
            raise ValueError(msg)


class TracingOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Spans over OTLP. Off while `endpoint` is empty."""

    endpoint: Annotated[str, Meta(pattern=r"^(https?://.+)?$")] = ""  # e.g. http://otel-collector:4318/v1/traces
    headers: dict[str, str] = {}  # sent with every export, e.g. an API key
    ca_file: str = ""  # PEM; the system's authorities when empty
    root_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.0  # share of Checks without a traceparent that get a span
    queue_size: Annotated[int, Meta(ge=1)] = 8192  # spans waiting; more are dropped and counted
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0  # of one attempt to export
    compression: Literal["gzip", "none"] = "gzip"  # of an export's body
    service_name: str = ""  # `service.name`; if empty OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, else `extauthz`


class LogOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Structured logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"  # messages below are not written
    burst: Annotated[int, Meta(ge=1)] = 5  # one message at most so often in `burst_seconds`; the rest is counted
    burst_seconds: Annotated[float, Meta(gt=0)] = 60.0  # see `burst`


class TelemetryOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the server tells about itself."""

    metrics: MetricsOptions = MetricsOptions()
    tracing: TracingOptions = TracingOptions()
    logs: LogOptions = LogOptions()
