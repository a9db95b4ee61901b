"""Verification of a JWT access token (RFC 9068, RFC 8725), start to end.

Rule 1: the order is OR-01: form, issuer, algorithm, key, signature, then what the claims say; the first failure wins.
Rule 2: nothing of a claim is believed before its signature holds, except `iss` to choose whose keys are tried.
Rule 3: no claim value gets into a detail.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from extauthz.identity.algorithms import verify_signature
from extauthz.identity.authentication import Authentication
from extauthz.identity.claim_paths import MISSING, first_of, look_up
from extauthz.identity.claims import build_subject
from extauthz.identity.compact import Compact, parse_compact
from extauthz.identity.issuer import Issuer, Kind
from extauthz.identity.keys import Key, KeySet
from extauthz.identity.spellings import Spelling, speaks_for
from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject

# A rotation has three keys of one algorithm at a time (previous, current, next); each try costs a check.
MAX_CANDIDATES = 4
# JWT-16: members that only ID tokens (OIDC Core 3.1.3.6, 3.3.2.11), events (RFC 8417) and DPoP proofs have.
_FOREIGN_CLAIMS = ("at_hash", "c_hash", "events", "htm", "htu")
_FOREIGN_TYPES = frozenset({"id", "refresh", "offline", "logout", "dpop+jwt", "logout+jwt", "secevent+jwt"})


def verify_access_token(
    token: str, authentication: Authentication, keys: Mapping[str, KeySet], now: int
) -> Subject | Deny | Undecided:
    """The caller that `token` proves, or why it proves none. `now` is whole seconds since the epoch."""
    parsed = parse_compact(token)
    if isinstance(parsed, Deny):
        return parsed
    iss = parsed.claims.get("iss")
    issuer = authentication.by_iss.get(iss) if isinstance(iss, str) else None
    if issuer is None or not isinstance(iss, str):
        return Deny(Reason.TOKEN_ISSUER_REFUSED, "JWT-07", "not one of the profile's issuers")
    verified = _verify(parsed, iss, issuer, keys, now)
    return verified if isinstance(verified, Subject) else replace(verified, issuer=issuer.name)


def usable_keys(issuer: Issuer, keys: Mapping[str, KeySet]) -> KeySet | None:
    """The keys that were read for exactly this Issuer document; None when there are none (KEY-03)."""
    found = keys.get(issuer.name)
    return found if found is not None and found.keys and found.issuer_digest == issuer.digest else None


def check_times(issuer: Issuer, subject: Subject, now: int) -> Deny | None:
    """JWT-09, JWT-10: not expired, not from the future. Also asked for a cached Subject, every time."""
    if not now < subject.expires_at + issuer.leeway:
        return Deny(Reason.TOKEN_EXPIRED, "JWT-09")
    latest = now + issuer.leeway
    if not (subject.not_before <= latest and subject.issued_at <= latest):
        return Deny(Reason.TOKEN_NOT_YET_VALID, "JWT-10")
    return None


def _verify(
    parsed: Compact, iss: str, issuer: Issuer, keys: Mapping[str, KeySet], now: int
) -> Subject | Deny | Undecided:
    if parsed.algorithm not in issuer.algorithms:
        return Deny(Reason.TOKEN_ALGORITHM_REFUSED, "JWT-02", "not one of the issuer's algorithms")
    key_set = usable_keys(issuer, keys)
    if key_set is None:
        return Undecided(Reason.KEYS_UNAVAILABLE, "KEY-03", "no keys of the issuer are loaded")
    key = find_signer(parsed, iss, issuer.spellings[iss], key_set)
    if isinstance(key, Deny):
        return key
    if parsed.type not in issuer.types:
        return Deny(Reason.TOKEN_TYPE_REFUSED, "JWT-06", "not one of the issuer's token types")
    if refused := refuse_kind(parsed.claims, issuer) or refuse_audience(parsed.claims, issuer):
        return refused
    for path in (("exp",), *issuer.required):
        if look_up(parsed.claims, path) is MISSING:
            return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-12", "a required claim is missing")
    subject = build_subject(issuer, parsed.claims, parsed.payload, key.id)
    if isinstance(subject, Deny):
        return subject
    return check_times(issuer, subject, now) or _refuse_lifetime(issuer, subject, now) or subject


def find_signer(parsed: Compact, iss: str, spelling: Spelling, key_set: KeySet) -> Key | Deny:
    """JWT-03: the key whose signature it is, out of those of this issuer that have the id and fit the algorithm.

    JWT-20: where issuers share a key set, a key may say for whose tokens it is.
    """
    candidates = [
        key
        for key in key_set.select(parsed.key_id, parsed.algorithm)
        if not key.issuer or speaks_for(key.issuer, iss, spelling)
    ]
    if not candidates:
        return Deny(Reason.TOKEN_KEY_UNKNOWN, "JWT-03", "no key of the issuer has this id and fits the algorithm")
    if len(candidates) > MAX_CANDIDATES:
        return Deny(Reason.TOKEN_KEY_UNKNOWN, "JWT-03", f"more than {MAX_CANDIDATES} keys fit")
    for key in candidates:
        if verify_signature(parsed.algorithm, key.public, parsed.signed, parsed.signature):
            return key
    return Deny(Reason.TOKEN_SIGNATURE_INVALID, "JWT-03")


def refuse_kind(claims: dict[str, object], issuer: Issuer) -> Deny | None:
    """JWT-16: an access token, and no other kind of token that the issuer signs with the same keys."""
    if any(name in claims for name in _FOREIGN_CLAIMS) or claims.get("token_use") == "id":
        return Deny(Reason.TOKEN_KIND_REFUSED, "JWT-16", "a claim that access tokens do not have")
    marked = claims.get("typ")
    if isinstance(marked, str) and marked.lower() in _FOREIGN_TYPES:
        return Deny(Reason.TOKEN_KIND_REFUSED, "JWT-16", "marked as another kind of token")
    if issuer.kind is not None and not _is_kind(claims, issuer.kind):
        return Deny(Reason.TOKEN_KIND_REFUSED, "JWT-16", "not marked as an access token")
    return None


def _is_kind(claims: dict[str, object], kind: Kind) -> bool:
    found = first_of(claims, kind.paths)
    if not isinstance(found, str):
        return False
    if kind.any_of:
        return found in kind.any_of
    return found != "" and found.startswith(kind.prefix)


def refuse_audience(claims: dict[str, object], issuer: Issuer) -> Deny | None:
    """JWT-08: meant for this service, by exact comparison."""
    found = look_up(claims, issuer.audience_path)
    named = [found] if isinstance(found, str) else found
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return Deny(Reason.TOKEN_AUDIENCE_REFUSED, "JWT-08", "no audience, or not a text or list of texts")
    if not any(name in issuer.audiences for name in named):
        return Deny(Reason.TOKEN_AUDIENCE_REFUSED, "JWT-08", "meant for another audience")
    return None


def _refuse_lifetime(issuer: Issuer, subject: Subject, now: int) -> Deny | None:
    """JWT-13: a revoked token stays good until it expires, so that window has an end that is configured."""
    if subject.expires_at - (subject.issued_at or now) > issuer.max_lifetime:
        return Deny(Reason.TOKEN_LIFETIME_TOO_LONG, "JWT-13")
    return None
