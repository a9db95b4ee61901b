"""Bundles on their way into force: where they come from, whose word counts, and what is kept of them."""

from extauthz.sources.bundles.options import BundleOptions, CandidateOptions
from extauthz.sources.bundles.report import Activation, SourceStatus
from extauthz.sources.bundles.source import BundleSource

__all__ = ["Activation", "BundleOptions", "BundleSource", "CandidateOptions", "SourceStatus"]
