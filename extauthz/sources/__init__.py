"""The world coming in, in the background: bundles, and keys of issuers."""

from extauthz.sources.bundles import Activation, BundleOptions, BundleSource
from extauthz.sources.directory import load_directory, load_files, load_package
from extauthz.sources.emergencies import RuntimeEmergencies, load_emergencies
from extauthz.sources.emergency_changes import Change, EmergencyError, UnknownEntryError
from extauthz.sources.emergency_file import EmergencyFileError, Found, Kept, RuntimeEntry, RuntimeGlass
from extauthz.sources.emergency_options import EmergenciesOptions, RevocationsOptions
from extauthz.sources.introspection import (
    Introspected,
    IntrospectionOptions,
    IntrospectionSource,
    IntrospectionStatus,
)
from extauthz.sources.jwks import JwksOptions, JwksSource, JwksStatus, Refresh
from extauthz.sources.live import Live, LiveStatus, Ports
from extauthz.sources.operators import Operator
from extauthz.sources.token_cache import GenerationalTokenCache, TokenOptions

__all__ = [
    "Activation",
    "BundleOptions",
    "BundleSource",
    "Change",
    "EmergenciesOptions",
    "EmergencyError",
    "EmergencyFileError",
    "Found",
    "GenerationalTokenCache",
    "Introspected",
    "IntrospectionOptions",
    "IntrospectionSource",
    "IntrospectionStatus",
    "JwksOptions",
    "JwksSource",
    "JwksStatus",
    "Kept",
    "Live",
    "LiveStatus",
    "Operator",
    "Ports",
    "Refresh",
    "RevocationsOptions",
    "RuntimeEmergencies",
    "RuntimeEntry",
    "RuntimeGlass",
    "TokenOptions",
    "UnknownEntryError",
    "load_directory",
    "load_emergencies",
    "load_files",
    "load_package",
]
