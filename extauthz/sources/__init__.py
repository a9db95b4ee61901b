"""The world coming in, in the background: bundles, and keys of issuers."""

from extauthz.sources.bundles import Activation, BundleOptions, BundleSource, load_directory
from extauthz.sources.jwks import JwksOptions, JwksSource, JwksStatus, Refresh
from extauthz.sources.live import Live, LiveStatus
from extauthz.sources.revocation_file import RevocationFileError, RuntimeEntry, load_revocations
from extauthz.sources.revocations import (
    Change,
    Operator,
    RevocationError,
    RevocationsOptions,
    RuntimeRevocations,
    UnknownEntryError,
)
from extauthz.sources.token_cache import GenerationalTokenCache

__all__ = [
    "Activation",
    "BundleOptions",
    "BundleSource",
    "Change",
    "GenerationalTokenCache",
    "JwksOptions",
    "JwksSource",
    "JwksStatus",
    "Live",
    "LiveStatus",
    "Operator",
    "Refresh",
    "RevocationError",
    "RevocationFileError",
    "RevocationsOptions",
    "RuntimeEntry",
    "RuntimeRevocations",
    "UnknownEntryError",
    "load_directory",
    "load_revocations",
]
