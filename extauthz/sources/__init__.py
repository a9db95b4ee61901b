"""The world coming in, in the background: bundles, and keys of issuers."""

from extauthz.sources.bundles import Activation, BundleOptions, BundleSource, load_directory
from extauthz.sources.jwks import JwksOptions, JwksSource, JwksStatus, Refresh
from extauthz.sources.live import Live, LiveStatus
from extauthz.sources.token_cache import GenerationalTokenCache

__all__ = [
    "Activation",
    "BundleOptions",
    "BundleSource",
    "GenerationalTokenCache",
    "JwksOptions",
    "JwksSource",
    "JwksStatus",
    "Live",
    "LiveStatus",
    "Refresh",
    "load_directory",
]
