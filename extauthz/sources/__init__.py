"""The world coming in, in the background: bundles, and keys of issuers."""

from extauthz.sources.bundles import Activation, BundleOptions, BundleSource
from extauthz.sources.directory import load_directory, load_package
from extauthz.sources.introspection import (
    Introspected,
    IntrospectionOptions,
    IntrospectionSource,
    IntrospectionStatus,
)
from extauthz.sources.jwks import JwksOptions, JwksSource, JwksStatus, Refresh
from extauthz.sources.live import Live, LiveStatus, Ports
from extauthz.sources.revocation_file import RevocationFileError, RuntimeEntry, load_revocations
from extauthz.sources.revocations import (
    Change,
    Operator,
    RevocationError,
    RevocationsOptions,
    RuntimeRevocations,
    UnknownEntryError,
)
from extauthz.sources.token_cache import GenerationalTokenCache, TokenOptions

__all__ = [
    "Activation",
    "BundleOptions",
    "BundleSource",
    "Change",
    "GenerationalTokenCache",
    "Introspected",
    "IntrospectionOptions",
    "IntrospectionSource",
    "IntrospectionStatus",
    "JwksOptions",
    "JwksSource",
    "JwksStatus",
    "Live",
    "LiveStatus",
    "Operator",
    "Ports",
    "Refresh",
    "RevocationError",
    "RevocationFileError",
    "RevocationsOptions",
    "RuntimeEntry",
    "RuntimeRevocations",
    "TokenOptions",
    "UnknownEntryError",
    "load_directory",
    "load_package",
    "load_revocations",
]
