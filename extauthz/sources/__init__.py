"""The world coming in, in the background: bundles, and keys of issuers."""

from extauthz.sources.jwks import JwksOptions, JwksSource, JwksStatus, Refresh
from extauthz.sources.live import Live, LiveStatus
from extauthz.sources.token_cache import GenerationalTokenCache

__all__ = ["GenerationalTokenCache", "JwksOptions", "JwksSource", "JwksStatus", "Live", "LiveStatus", "Refresh"]
