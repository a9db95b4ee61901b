"""How far a decision had come, read off its reason: what had been shown by then, and what nobody had looked at.

Rule: a reason that is not listed counts as too early for anything to have been shown.
"""

from typing import Final, Literal

from extauthz.guards import CHECKS
from extauthz.model import endings
from extauthz.model.kept import Kept
from extauthz.model.reasons import Reason

# token: a subject was identified. nobody: there was no credential. refused: there was one, or a service, that did not
# count. unseen: nobody had looked.
Identity = Literal["token", "nobody", "refused", "unseen"]

_POLICY: Final = endings.POLICIES | endings.BREAK_GLASS
_GUARDS: Final = endings.REVOCATION | endings.STEP_UP | endings.TENANCY | endings.FINANCIAL_ID
# Of a token that is not constrained no proof was looked at.
_PROOFS: Final = endings.SENDER - {Reason.SENDER_CONSTRAINT_MISSING}
_IDENTITY: Final = frozenset(
    {
        Reason.SCHEME_UNSUPPORTED,
        Reason.CREDENTIAL_IN_QUERY,
        Reason.CREDENTIAL_IN_BODY,
        Reason.CREDENTIAL_REPEATED,
        Reason.CREDENTIAL_MALFORMED,
        Reason.TOKEN_MALFORMED,
        Reason.TOKEN_ENCRYPTED,
        Reason.TOKEN_HEADER_REFUSED,
        Reason.TOKEN_TYPE_REFUSED,
        Reason.TOKEN_KIND_REFUSED,
        Reason.TOKEN_ALGORITHM_REFUSED,
        Reason.TOKEN_ISSUER_REFUSED,
        Reason.TOKEN_KEY_UNKNOWN,
        Reason.TOKEN_SIGNATURE_INVALID,
        Reason.TOKEN_AUDIENCE_REFUSED,
        Reason.TOKEN_CLAIM_INVALID,
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_NOT_YET_VALID,
        Reason.TOKEN_LIFETIME_TOO_LONG,
        Reason.TOKEN_BINDING_UNVERIFIED,
        Reason.TOKEN_INACTIVE,
        Reason.ROLES_INVALID,
        Reason.TENANT_CLAIM_INVALID,
        Reason.KEYS_UNAVAILABLE,
        Reason.INTROSPECTION_UNAVAILABLE,
        Reason.SERVICE_IDENTITY_MISSING,
        Reason.SERVICE_IDENTITY_REFUSED,
    }
)
# What operators order while a server runs is in no bundle.
ORDERED: Final = frozenset({Reason.EMERGENCY_DENIED, Reason.TOKEN_REVOKED, Reason.BREAK_GLASS_ALLOWED})
# The server's own trouble: nothing of it tells what the bundle would have said.
TROUBLE: Final = frozenset(
    {
        Reason.NO_BUNDLE,
        Reason.BUNDLE_TOO_OLD,
        Reason.JOURNAL_UNAVAILABLE,
        Reason.OVERLOADED,
        Reason.DEADLINE_EXCEEDED,
        Reason.DRAINING,
        Reason.INTERNAL_ERROR,
    }
)
_NO_TOKEN: Final = "EX-01"  # noqa: S105 - the id of a check
_STEP_UP: Final = frozenset({"ST-01", "ST-02"})
# The FAPI headers come before the credential; these come before them, or instead.
_BEFORE_HEADERS: Final = frozenset({Reason.NO_PROFILE, Reason.PATH_AMBIGUOUS, Reason.EMERGENCY_DENIED})
_HEADERS: Final = endings.HEADERS - {Reason.FAPI_VERSION_UNSUPPORTED}


def identity_of(check: str, reason: Reason, kept: Kept) -> Identity:
    """What had become of the question who calls."""
    if kept.caller.kind == "token":
        return "token"
    if kept.caller.kind == "service":
        return "nobody"  # a service calls in its own name only without a credential
    if kept.profile.blind:
        return "unseen"
    if reason is Reason.NO_CREDENTIAL:
        return "nobody" if check == _NO_TOKEN or check in _STEP_UP else "unseen"
    if reason in _IDENTITY:
        return "refused"
    return "nobody" if reason in _POLICY | _GUARDS else "unseen"


def after_proofs(reason: Reason) -> bool:
    """Whether the sender of a token had been proven to be the one it was given to."""
    return reason in _POLICY | endings.FIRST_USE | endings.SIGNATURES | _GUARDS or reason is Reason.EMERGENCY_DENIED


def after_signatures(reason: Reason) -> bool:
    """Whether signatures of the request had been verified."""
    return reason in _POLICY | endings.FIRST_USE


def refused_by_proof(reason: Reason) -> bool:
    """Whether that is what the request was refused for: by the token's sender, or by a signature."""
    return reason in _PROOFS | endings.SIGNATURES


def headers_passed(check: str, reason: Reason, kept: Kept) -> frozenset[str]:
    """The headers that FAPI rules had found good by then, as far as they were sent."""
    names = list(kept.profile.formats)
    if reason in _BEFORE_HEADERS:
        return frozenset()
    if reason in _HEADERS:
        refused = [place for place, name in enumerate(names) if CHECKS.get(name, name) == check]
        names = names[: refused[0] if refused else 0]
    return frozenset(names)


def header_refused(check: str, reason: Reason, kept: Kept) -> str:
    """The header that was found malformed; "" when none was."""
    if reason is not Reason.FAPI_HEADER_INVALID:
        return ""
    return next((name for name in kept.profile.formats if CHECKS.get(name, name) == check), "")
