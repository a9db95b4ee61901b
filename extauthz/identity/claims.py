"""The claims of an access token as a Subject.

Rule 1: a claim of the wrong type refuses the token; it never counts as missing (JWT-19, JWT-20).
Rule 2: texts that name somebody or something are printable, so that they look like what they are.
"""

from functools import lru_cache
from typing import Final, TypeGuard

from extauthz.identity.claim_paths import MISSING, ClaimPath, first_of, look_up
from extauthz.identity.confirmation import read_confirmation
from extauthz.identity.delegation import read_actors
from extauthz.identity.issuer import ClaimMap, Issuer
from extauthz.identity.spellings import Spelling
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject

_SHARED: Final = 2048  # clients, tenants, lists of roles
MAX_TIME = 253_402_300_799  # the last second of the year 9999: what ISO 8601 can write


def build_subject(issuer: Issuer, claims: dict[str, object], payload: bytes, key_id: str) -> Subject | Deny:
    """The caller that `claims` describe; total for any JSON object.

    `payload` is what was signed and `key_id` the key that proved it. What belongs to the token and not to the caller
    (`iss`, `aud`, kind, lifetime) is checked by verification alone.
    """
    where = issuer.claims
    # `sub` is unique within its issuer only, and a client id never stands in for it (JWT-12, JWT-21)
    identifier = _name(claims, where.subject)
    texts = (where.client, _one(where.acr), where.token_id, where.session)
    client, acr, token_id, session = (_name(claims, paths) for paths in texts)
    if not identifier:
        return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-12", "no subject")
    if client is None or acr is None or token_id is None or session is None:
        return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-12", "a claim that must be a text is not")
    expires_at, not_before, issued_at = (read_time(claims.get(name, MISSING)) for name in ("exp", "nbf", "iat"))
    auth_time = read_time(look_up(claims, where.auth_time)) if where.auth_time else 0
    if expires_at is None or not_before is None or issued_at is None or auth_time is None:
        return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-11", "a time that is not a whole number of seconds")
    confirmation = read_confirmation(claims)
    if isinstance(confirmation, Deny):
        return confirmation
    spelling = _spelling(issuer, claims)
    actors = read_actors(claims, spelling.issuer)
    if isinstance(actors, Deny):
        return actors
    scopes = _scopes(claims, where.scopes)
    if isinstance(scopes, Deny):
        return scopes
    tenant = _tenant(claims, where)
    if isinstance(tenant, Deny):
        return tenant
    if spelling.tenant not in {"", tenant}:
        return Deny(Reason.TENANT_CLAIM_INVALID, "JWT-20", "another tenant than the one in `iss`")
    roles = _roles(claims, where)
    if isinstance(roles, Deny):
        return roles
    acrs = look_up(claims, where.acrs) if where.acrs else MISSING
    if acrs is not MISSING and not (isinstance(acrs, list) and all(_is_name(context) for context in acrs)):
        return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-12", "authentication contexts that are not a list of texts")
    return Subject(
        issuer=spelling.issuer,
        id=identifier,
        issuer_name=issuer.name,
        client=_text(client),
        tenant=_text(tenant),
        roles=_texts(roles),
        scopes=_texts(scopes),
        acr=_text(acr),
        acrs=tuple(acrs) if isinstance(acrs, list) else (),
        auth_time=auth_time,
        issued_at=issued_at,
        not_before=not_before,
        expires_at=expires_at,
        token_id=token_id,
        key_id=key_id,
        confirmation=confirmation.names,
        jkt=confirmation.jkt,
        x5t=confirmation.x5t,
        session=session,
        actors=actors,
        claims=payload,
    )


# What many callers have alike is one object for all of them: 300 bytes less for each token in the cache.
@lru_cache(maxsize=_SHARED)
def _text(value: str) -> str:
    return value


@lru_cache(maxsize=_SHARED)
def _texts(value: tuple[str, ...]) -> tuple[str, ...]:
    return value


def read_time(value: object) -> int | None:
    """NumericDate as whole seconds (JWT-11): no bool, fraction or text; 0 when absent, None when it is wrong."""
    if value is MISSING:
        return 0
    return value if type(value) is int and 0 <= value <= MAX_TIME else None


def _spelling(issuer: Issuer, claims: dict[str, object]) -> Spelling:
    """What the token calls its issuer; without a known `iss` the first that the document names."""
    iss = claims.get("iss")
    found = issuer.spellings.get(iss) if isinstance(iss, str) else None
    return found or next(iter(issuer.spellings.values()))


def _one(path: ClaimPath) -> tuple[ClaimPath, ...]:
    return (path,) if path else ()


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and value.isprintable()


def _name(claims: dict[str, object], paths: tuple[ClaimPath, ...]) -> str | None:
    """The printable text at the first path present; "" when absent, None when it is something else."""
    found = first_of(claims, paths)
    if found is MISSING:
        return ""
    return found if _is_name(found) else None


def _scopes(claims: dict[str, object], path: ClaimPath) -> tuple[str, ...] | Deny:
    """RFC 6749 section 3.3: words between spaces; or a list of such words (JWT-17).

    Whole words in a tuple, so that policy can only compare whole words (JWT-18).
    """
    found = look_up(claims, path) if path else MISSING
    if found is MISSING:
        return ()
    words = [word for word in found.split(" ") if word] if isinstance(found, str) else found
    if not isinstance(words, list) or not all(_is_name(word) and " " not in word for word in words):
        return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-17", "scopes that are neither a text nor a list of words")
    return tuple(dict.fromkeys(words))


def _roles(claims: dict[str, object], where: ClaimMap) -> tuple[str, ...] | Deny:
    """The lists at all configured paths; a missing list is empty, anything else refuses the token (JWT-19)."""
    roles: dict[str, None] = {}
    elsewhere = claims.get("_claim_names")  # OIDC Core section 5.6.2: the claim exists, but not in this token
    for path in where.roles:
        found = look_up(claims, path)
        if found is MISSING and isinstance(elsewhere, dict) and path[0] in elsewhere:
            return Deny(Reason.ROLES_INVALID, "JWT-19", "roles that the issuer left out of the token")
        if found is MISSING:
            continue
        if not isinstance(found, list) or not all(_is_name(role) for role in found):
            return Deny(Reason.ROLES_INVALID, "JWT-19", "roles that are not a list of texts")
        roles.update(dict.fromkeys(found))
    return tuple(roles)


def _tenant(claims: dict[str, object], where: ClaimMap) -> str | Deny:
    """Exactly one tenant (JWT-20): a text, a list of one, or a map of one name to its attributes."""
    if not where.tenant:
        return ""
    found = look_up(claims, where.tenant)
    if found is MISSING and where.tenant_optional:
        return ""
    if isinstance(found, dict) and all(isinstance(value, dict) for value in found.values()):
        found = [*found]
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if _is_name(found):
        return found
    why = "no tenant" if found is MISSING else "not exactly one tenant"
    return Deny(Reason.TENANT_CLAIM_INVALID, "JWT-20", why)
