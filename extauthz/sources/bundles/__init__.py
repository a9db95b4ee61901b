"""Bundles on their way into force: where they come from, whose word counts, and what is kept of them."""

from extauthz.sources.bundles.intake import Offered
from extauthz.sources.bundles.options import BundleOptions, CandidateOptions
from extauthz.sources.bundles.ordered import Judged, Ordered, OrderRefusedError, Outcome
from extauthz.sources.bundles.orders import BundleOrders
from extauthz.sources.bundles.report import Activation, SourceStatus
from extauthz.sources.bundles.source import BundleSource
from extauthz.sources.bundles.state import Hold, Kept, Past, State

__all__ = [
    "Activation",
    "BundleOptions",
    "BundleOrders",
    "BundleSource",
    "CandidateOptions",
    "Hold",
    "Judged",
    "Kept",
    "Offered",
    "OrderRefusedError",
    "Ordered",
    "Outcome",
    "Past",
    "SourceStatus",
    "State",
]
