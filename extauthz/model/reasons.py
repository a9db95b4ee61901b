"""Every way a Check can end: one row a reason, read by answers, journal, metrics and docs.

Rule 1: a code is public API: never renamed, never given a second meaning.
Rule 2: the words go to clients, so they say what to mend and nothing about policies, keys or claims.
"""

from enum import Enum
from typing import Literal, Self

Outcome = Literal["allow", "deny", "undecided"]

# How a refusal is shaped on the wire (token reference, section 1.0):
# none           no challenge, problem body only
# credential     401, bare challenge without an error code (RFC 6750 section 3.1)
# request        400, challenge with `invalid_request`
# token          401, challenge with `invalid_token`
# scope          403, challenge with `insufficient_scope` and the scopes needed
# header         400, the ecosystem's error body, no challenge
# proof          401, challenge with `invalid_dpop_proof` (RFC 9449 section 7.1)
# nonce          401, challenge with `use_dpop_nonce` and one DPoP-Nonce header (RFC 9449 section 9)
# step           401, challenge with `insufficient_user_authentication` (RFC 9470 section 3)
# unavailable    503 with Retry-After, no challenge
Shape = Literal[
    "none", "credential", "request", "token", "scope", "header", "proof", "nonce", "step", "claims", "unavailable"
]


class Reason(Enum):
    """(outcome, HTTP status, shape, words for the client)."""

    # --- allow
    POLICY_ALLOWED = ("allow", 200, "none", "allowed")
    BREAK_GLASS_ALLOWED = ("allow", 200, "none", "allowed")

    # --- the request itself (paths, host, method, headers): threats 1 to 38
    REQUEST_MALFORMED = ("deny", 400, "none", "the request could not be read")
    PATH_AMBIGUOUS = ("deny", 400, "none", "the path can be read in more than one way")
    HOST_INVALID = ("deny", 400, "none", "the host is not valid")
    METHOD_INVALID = ("deny", 400, "none", "the method is not valid")
    HEADER_REPEATED = ("deny", 400, "none", "a header that may appear once was sent more than once")
    FORWARDED_CERTIFICATE_INVALID = ("deny", 400, "none", "the forwarded client certificate header is not valid")

    # --- configuration
    NO_PROFILE = ("deny", 403, "none", "not permitted")

    # --- the credential: checks EX-01 to EX-08
    NO_CREDENTIAL = ("deny", 401, "credential", "authentication required")
    SCHEME_UNSUPPORTED = ("deny", 401, "credential", "authentication required")
    CREDENTIAL_IN_QUERY = ("deny", 400, "request", "an access token must not be sent in the query")
    CREDENTIAL_IN_BODY = ("deny", 400, "request", "an access token must not be sent in the body")
    CREDENTIAL_REPEATED = ("deny", 400, "request", "more than one credential was sent")
    CREDENTIAL_MALFORMED = ("deny", 400, "request", "the authorization header is malformed")

    # --- the access token: checks JWT-01 to JWT-21
    TOKEN_MALFORMED = ("deny", 401, "token", "the access token is malformed")
    TOKEN_ENCRYPTED = ("deny", 401, "token", "the access token is encrypted")
    TOKEN_HEADER_REFUSED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_TYPE_REFUSED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_KIND_REFUSED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_ALGORITHM_REFUSED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_ISSUER_REFUSED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_KEY_UNKNOWN = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_SIGNATURE_INVALID = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_AUDIENCE_REFUSED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_CLAIM_INVALID = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_EXPIRED = ("deny", 401, "token", "the access token expired")
    TOKEN_NOT_YET_VALID = ("deny", 401, "token", "the access token is not valid yet")
    TOKEN_LIFETIME_TOO_LONG = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_BINDING_UNVERIFIED = ("deny", 401, "token", "the access token is bound to a key or certificate")
    TOKEN_REVOKED = ("deny", 401, "token", "the access token is not acceptable")
    TOKEN_INACTIVE = ("deny", 401, "token", "the access token is not acceptable")
    SCOPE_INSUFFICIENT = ("deny", 403, "scope", "the access token lacks a scope")
    ROLES_INVALID = ("deny", 403, "none", "not permitted")

    # --- the sender of a token (MTLS, DP) and of a request (ST, SG)
    SENDER_CONSTRAINT_MISSING = ("deny", 401, "token", "a sender-constrained access token is required")
    CERTIFICATE_MISSING = ("deny", 401, "token", "the access token is bound to a certificate")
    CERTIFICATE_MISMATCH = ("deny", 401, "token", "the access token is bound to another certificate")
    PROOF_MISSING = ("deny", 401, "proof", "a DPoP proof is required")
    PROOF_INVALID = ("deny", 401, "proof", "the DPoP proof is not acceptable")
    PROOF_REPLAYED = ("deny", 401, "proof", "the DPoP proof is not acceptable")
    PROOF_KEY_MISMATCH = ("deny", 401, "token", "the access token is bound to another key")
    PROOF_NONCE_REQUIRED = ("deny", 401, "nonce", "a nonce is required in the DPoP proof")
    STEP_UP_REQUIRED = ("deny", 401, "step", "a stronger or more recent authentication is required")
    AUTHENTICATION_CONTEXT_REQUIRED = ("deny", 401, "claims", "a stronger authentication is required")
    SIGNATURE_MISSING = ("deny", 401, "none", "a message signature is required")
    SIGNATURE_INVALID = ("deny", 401, "none", "the message signature is not acceptable")
    SIGNED_BODY_INVALID = ("deny", 400, "none", "the signed body is not acceptable")
    SIGNED_BODY_REPLAYED = ("deny", 403, "none", "the signed body was used before")
    SERVICE_IDENTITY_MISSING = ("deny", 403, "none", "not permitted")
    SERVICE_IDENTITY_REFUSED = ("deny", 403, "none", "not permitted")
    EMERGENCY_DENIED = ("deny", 403, "none", "not permitted")

    # --- tenancy
    TENANT_CLAIM_INVALID = ("deny", 403, "none", "not permitted")
    TENANT_MISSING = ("deny", 403, "none", "not permitted")
    TENANT_UNKNOWN = ("deny", 403, "none", "not permitted")
    TENANT_CONFLICT = ("deny", 403, "none", "not permitted")
    TENANT_MISMATCH = ("deny", 403, "none", "not permitted")

    # --- FAPI headers
    FAPI_HEADER_MISSING = ("deny", 400, "header", "a required header is missing")
    FAPI_HEADER_INVALID = ("deny", 400, "header", "a header is not valid")
    FAPI_FINANCIAL_ID_MISMATCH = ("deny", 400, "header", "a header is not valid")
    FAPI_VERSION_UNSUPPORTED = ("deny", 406, "header", "the requested version is not supported")

    # --- policy
    POLICY_DENIED = ("deny", 403, "none", "not permitted")
    CONDITION_ERROR = ("deny", 403, "none", "not permitted")
    NO_POLICY_MATCHED = ("deny", 403, "none", "not permitted")

    # --- undecided: we could not tell, so the request does not pass
    NO_BUNDLE = ("undecided", 503, "unavailable", "authorization is not ready")
    BUNDLE_TOO_OLD = ("undecided", 503, "unavailable", "authorization is not ready")
    KEYS_UNAVAILABLE = ("undecided", 503, "unavailable", "authorization is temporarily unavailable")
    INTROSPECTION_UNAVAILABLE = ("undecided", 503, "unavailable", "authorization is temporarily unavailable")
    REPLAY_STORE_UNAVAILABLE = ("undecided", 503, "unavailable", "authorization is temporarily unavailable")
    JOURNAL_UNAVAILABLE = ("undecided", 503, "unavailable", "authorization is temporarily unavailable")
    OVERLOADED = ("undecided", 503, "unavailable", "authorization is overloaded")
    DEADLINE_EXCEEDED = ("undecided", 503, "unavailable", "authorization is overloaded")
    DRAINING = ("undecided", 503, "unavailable", "authorization is shutting down")
    INTERNAL_ERROR = ("undecided", 503, "unavailable", "authorization is temporarily unavailable")

    def __new__(cls, *_row: object) -> Self:
        """Rows may be equal in all but their name; a running number keeps them distinct members."""
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)
        return member

    # Members are compared by identity. Enum's own hash is a function in Python, and each Check looks reasons up.
    __hash__ = object.__hash__

    def __init__(self, outcome: Outcome, status: int, shape: Shape, words: str) -> None:
        self.outcome = outcome
        self.status = status
        self.shape = shape
        self.words = words
        self.code = self.name.lower()
