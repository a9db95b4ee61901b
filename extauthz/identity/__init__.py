"""Who calls: access tokens of configured issuers, verified against keys that are already in memory."""

from extauthz.identity.authentication import Authentication, compile_authentication
from extauthz.identity.client_assertion import ASSERTION_TYPE, SigningKey, client_assertion, signing_algorithm
from extauthz.identity.document import AuthenticationSpec, IssuerSpec
from extauthz.identity.dpop import NONCE_HEADER, Proof
from extauthz.identity.htu import Origins, compile_origins
from extauthz.identity.identify import Identified, identify
from extauthz.identity.introspected import MAX_ANSWER, SIGNED_TYPE, Glance, glance
from extauthz.identity.introspection import Introspection, IntrospectionSpec
from extauthz.identity.issuer import Issuer, compile_issuer
from extauthz.identity.jwk import thumbprint
from extauthz.identity.keys import MAX_JWKS, NO_KEYS, JwksError, KeySet, parse_jwks
from extauthz.identity.nonces import NO_NONCE_KEYS, NonceKeys
from extauthz.identity.possession import Possession, prove_possession
from extauthz.identity.possession_rules import DpopSpec, MtlsSpec, PossessionRules, compile_possession, default_rules
from extauthz.identity.presets import PRESETS
from extauthz.identity.signature_rules import (
    NOTHING_SIGNED,
    Audience,
    BodyRules,
    ClientKeyRules,
    ClientKeysSpec,
    MessageRules,
    MessageSignatureSpec,
    SignedBodySpec,
    SigningRules,
)
from extauthz.identity.signed_request import Signed, check_signatures
from extauthz.identity.urls import is_fetchable

__all__ = [
    "ASSERTION_TYPE",
    "MAX_ANSWER",
    "MAX_JWKS",
    "NONCE_HEADER",
    "NOTHING_SIGNED",
    "NO_KEYS",
    "NO_NONCE_KEYS",
    "PRESETS",
    "SIGNED_TYPE",
    "Audience",
    "Authentication",
    "AuthenticationSpec",
    "BodyRules",
    "ClientKeyRules",
    "ClientKeysSpec",
    "DpopSpec",
    "Glance",
    "Identified",
    "Introspection",
    "IntrospectionSpec",
    "Issuer",
    "IssuerSpec",
    "JwksError",
    "KeySet",
    "MessageRules",
    "MessageSignatureSpec",
    "MtlsSpec",
    "NonceKeys",
    "Origins",
    "Possession",
    "PossessionRules",
    "Proof",
    "Signed",
    "SignedBodySpec",
    "SigningKey",
    "SigningRules",
    "check_signatures",
    "client_assertion",
    "compile_authentication",
    "compile_issuer",
    "compile_origins",
    "compile_possession",
    "default_rules",
    "glance",
    "identify",
    "is_fetchable",
    "parse_jwks",
    "prove_possession",
    "signing_algorithm",
    "thumbprint",
]
