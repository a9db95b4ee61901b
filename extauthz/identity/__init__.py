"""Who calls: access tokens of configured issuers, verified against keys that are already in memory."""

from extauthz.identity.authentication import Authentication, compile_authentication
from extauthz.identity.claims import claims_to_subject
from extauthz.identity.document import AuthenticationSpec, IssuerSpec
from extauthz.identity.identify import Identified, identify
from extauthz.identity.issuer import Issuer, compile_issuer
from extauthz.identity.keys import MAX_JWKS, NO_KEYS, JwksError, KeySet, parse_jwks, thumbprint
from extauthz.identity.presets import PRESETS
from extauthz.identity.urls import is_fetchable

__all__ = [
    "MAX_JWKS",
    "NO_KEYS",
    "PRESETS",
    "Authentication",
    "AuthenticationSpec",
    "Identified",
    "Issuer",
    "IssuerSpec",
    "JwksError",
    "KeySet",
    "claims_to_subject",
    "compile_authentication",
    "compile_issuer",
    "identify",
    "is_fetchable",
    "parse_jwks",
    "thumbprint",
]
