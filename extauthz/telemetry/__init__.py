"""What the server tells about itself: metrics, spans and logs, all from the one record of a Check."""

from extauthz.telemetry.across import Totals
from extauthz.telemetry.logs import configure_logs, mask
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.options import (
    BusinessCounter,
    BusinessLabel,
    LogOptions,
    MetricsOptions,
    TelemetryOptions,
    TracingOptions,
)
from extauthz.telemetry.readings import BundleLabels
from extauthz.telemetry.report import Report
from extauthz.telemetry.spans import Resource
from extauthz.telemetry.tracing import Tracing

__all__ = [
    "BundleLabels",
    "BusinessCounter",
    "BusinessLabel",
    "LogOptions",
    "Metrics",
    "MetricsOptions",
    "Report",
    "Resource",
    "TelemetryOptions",
    "Totals",
    "Tracing",
    "TracingOptions",
    "configure_logs",
    "mask",
]
