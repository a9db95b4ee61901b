"""By what each step of a decision ends it: reasons grouped as `check.decide` takes its steps, in its order.

Rule: a reason stands in one group at most, but for those that several steps share: they are added where they are meant.
"""

from typing import Final

from extauthz.model.reasons import Reason

HEADERS: Final = frozenset({Reason.FAPI_HEADER_MISSING, Reason.FAPI_HEADER_INVALID, Reason.FAPI_VERSION_UNSUPPORTED})
# Whether the token is its sender's: what is demanded, then what is proven.
SENDER: Final = frozenset(
    {
        Reason.TOKEN_BINDING_UNVERIFIED,
        Reason.SENDER_CONSTRAINT_MISSING,
        Reason.CERTIFICATE_MISSING,
        Reason.CERTIFICATE_MISMATCH,
        Reason.PROOF_MISSING,
        Reason.PROOF_INVALID,
        Reason.PROOF_KEY_MISMATCH,
        Reason.PROOF_NONCE_REQUIRED,
    }
)
REVOCATION: Final = frozenset({Reason.TOKEN_REVOKED})
STEP_UP: Final = frozenset({Reason.STEP_UP_REQUIRED, Reason.AUTHENTICATION_CONTEXT_REQUIRED})
TENANCY: Final = frozenset(
    {Reason.TENANT_MISSING, Reason.TENANT_UNKNOWN, Reason.TENANT_CONFLICT, Reason.TENANT_MISMATCH}
)
FINANCIAL_ID: Final = frozenset({Reason.FAPI_FINANCIAL_ID_MISMATCH})
SIGNATURES: Final = frozenset({Reason.SIGNATURE_MISSING, Reason.SIGNATURE_INVALID, Reason.SIGNED_BODY_INVALID})
POLICIES: Final = frozenset(
    {
        Reason.POLICY_ALLOWED,
        Reason.POLICY_DENIED,
        Reason.CONDITION_ERROR,
        Reason.NO_POLICY_MATCHED,
        Reason.SCOPE_INSUFFICIENT,
    }
)
BREAK_GLASS: Final = frozenset({Reason.BREAK_GLASS_ALLOWED})
# Behind everything else: what was proven once may not be used again.
FIRST_USE: Final = frozenset({Reason.PROOF_REPLAYED, Reason.SIGNED_BODY_REPLAYED, Reason.REPLAY_STORE_UNAVAILABLE})
