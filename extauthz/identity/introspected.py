"""What an issuer says about a token (RFC 7662, signed: RFC 9701), read as strictly as a token.

Rule 1: active is `true` and nothing like it (INT-02), and not more than that: what the answer says of issuer, audience,
times and binding is checked all the same (INT-04).
Rule 2: an answer that cannot be believed is the issuer's fault and never the client's: undecided, not denied.
"""

from collections.abc import Mapping
from hashlib import sha256

from msgspec import Struct, json
from msgspec.structs import replace

from extauthz.identity import base64url
from extauthz.identity.access_token import check_times, find_signer, refuse_audience, refuse_kind, usable_keys
from extauthz.identity.authentication import Authentication
from extauthz.identity.claim_paths import MISSING, look_up
from extauthz.identity.claims import build_subject, read_time
from extauthz.identity.compact import parse_compact, take_apart
from extauthz.identity.introspection import Introspection
from extauthz.identity.issuer import Issuer
from extauthz.identity.keys import KeySet
from extauthz.identity.strict_json import AmbiguousJsonError, read_object
from extauthz.model.decision import Deny, IntrospectToken, Known, Pending, Undecided
from extauthz.model.ports import TokenCache
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject

MAX_ANSWER = 64 * 1024  # eight times the longest token: the answer may spell out what the token only refers to
SIGNED_TYPE = "token-introspection+jwt"  # RFC 9701 section 5
# How much older than the cache allows a signed answer may be: clocks differ, and it was on its way.
_LATE_SECONDS = 60
_JWT_SEGMENTS = (3, 5)  # signed, encrypted
_TOKEN_TYPES = frozenset({"bearer", "dpop"})  # RFC 7662 section 2.2: the type of the token, never `refresh_token`
_TOKEN_USES = frozenset({"access", "access_token"})
_OF_ONE_TOKEN = ("sub", "client_id", "jti")


class Glance(Struct, frozen=True):
    """As much of an answer as decides how long it is kept; believed only after `read_introspected` did."""

    active: bool
    expires_at: int  # seconds since the epoch, 0 when the answer does not say


def introspecting(token: str, authentication: Authentication) -> Issuer | None:
    """The issuer that must read this token, None when it is verified with keys.

    INT-01: it is the profile's one introspecting issuer; a token's own `iss` only takes it away from there.
    """
    issuer = authentication.introspecting
    if issuer is None or issuer.introspection is None or not _looks_signed(token):
        return issuer
    if not issuer.introspection.only:
        return None
    parts = take_apart(token)
    iss = None if isinstance(parts, str) else parts.claims.get("iss")
    if iss is None:
        return issuer
    return issuer if isinstance(iss, str) and iss in issuer.spellings else None


def ask_issuer(
    token: str, issuer: Issuer, keys: Mapping[str, KeySet], tokens: TokenCache, now: int, known: Known
) -> tuple[Subject, bool] | Deny | Undecided | Pending:
    """The caller of a token that its issuer reads, and whether the same answer was read before."""
    answer = _answer(token, issuer, known)
    if not isinstance(answer, bytes):
        return answer
    place = _place(token, answer, issuer, keys)
    subject = tokens.get(place)
    if subject is not None:
        refused = check_times(issuer, subject, now)
        return (subject, True) if refused is None else replace(refused, issuer=issuer.name)
    found = read_introspected(answer, issuer, keys, now)
    if isinstance(found, Subject):
        tokens.put(place, found)
        return found, False
    return replace(found, issuer=issuer.name)


def confirm(
    subject: Subject, token: str, issuer: Issuer, keys: Mapping[str, KeySet], tokens: TokenCache, now: int, known: Known
) -> Deny | Undecided | Pending | None:
    """None when the issuer still stands by a token that was verified with its keys (`introspection.jwt`).

    The caller is who the token says; an answer about somebody else is about another token.
    """
    answer = _answer(token, issuer, known)
    if not isinstance(answer, bytes):
        return answer
    place = _place(token, answer, issuer, keys)
    if tokens.get(place) is not None:
        return None
    claims = _open(answer, issuer, keys, now)
    if not isinstance(claims, dict):
        return replace(claims, issuer=issuer.name)
    if refused := _refuse_inactive(claims) or _refuse_issuer(claims, issuer):
        return replace(refused, issuer=issuer.name)
    own = json.decode(subject.claims)
    if any(name in own and name in claims and own[name] != claims[name] for name in _OF_ONE_TOKEN):
        return Deny(Reason.TOKEN_CLAIM_INVALID, "INT-04", "the answer is about another token", issuer=issuer.name)
    tokens.put(place, subject)
    return None


def read_introspected(
    answer: bytes, issuer: Issuer, keys: Mapping[str, KeySet], now: int
) -> Subject | Deny | Undecided:
    """The caller that an answer describes. `now` is whole seconds since the epoch."""
    claims = _open(answer, issuer, keys, now)
    if not isinstance(claims, dict):
        return claims
    if refused := _refuse_inactive(claims) or _refuse_issuer(claims, issuer) or _refuse_type(claims):
        return refused
    if refused := refuse_kind(claims, issuer):
        return refused
    settings = issuer.introspection
    required = settings.required if settings else ()
    for path in (("exp",), *required):
        if look_up(claims, path) is MISSING:
            return Deny(Reason.TOKEN_CLAIM_INVALID, "INT-04", "a required member of the answer is missing")
    if look_up(claims, issuer.audience_path) is not MISSING and (refused := refuse_audience(claims, issuer)):
        return refused
    payload = json.encode(claims) if settings and settings.signed else answer
    subject = build_subject(issuer, claims, payload, "")
    if isinstance(subject, Deny):
        return subject
    return _refuse_binding(claims, subject) or check_times(issuer, subject, now) or subject


def glance(answer: bytes, *, signed: bool) -> Glance | str:
    """How long an answer may be kept, or why it is none."""
    try:
        if signed:
            parts = take_apart(answer.decode("latin-1"))
            claims = parts if isinstance(parts, str) else parts.claims.get("token_introspection")
        else:
            claims = read_object(answer)
    except AmbiguousJsonError as error:
        return str(error)
    if not isinstance(claims, dict):
        return claims if isinstance(claims, str) else "no member `token_introspection`"
    return Glance(claims.get("active") is True, read_time(claims.get("exp", MISSING)) or 0)


def _answer(token: str, issuer: Issuer, known: Known) -> bytes | Pending | Undecided:
    question = IntrospectToken(issuer.name, token)
    answer = known.get(question)
    if answer is None:
        otherwise = Undecided(
            Reason.INTROSPECTION_UNAVAILABLE, "INT-01", "the issuer did not say in time", issuer=issuer.name
        )
        return Pending(question, otherwise)
    return answer if isinstance(answer, bytes) else _unusable("INT-02", "not an answer")


def _place(token: str, answer: bytes, issuer: Issuer, keys: Mapping[str, KeySet]) -> bytes:
    """Where a Subject is kept: with the same token, answer, document and keys it is the same Subject."""
    key_set = usable_keys(issuer, keys)
    digest = sha256(token.encode() + b"\0" + answer).digest()
    return b"introspected" + (key_set.version if key_set else issuer.digest) + digest


def _open(answer: bytes, issuer: Issuer, keys: Mapping[str, KeySet], now: int) -> dict[str, object] | Undecided:
    if len(answer) > MAX_ANSWER:
        return _unusable("INT-02", "an answer that is too long")
    if issuer.introspection is not None and issuer.introspection.signed:
        return _open_signed(answer, issuer, issuer.introspection, keys, now)
    try:
        return read_object(answer)
    except AmbiguousJsonError as error:
        return _unusable("INT-02", f"the issuer's answer: {error}")


def _open_signed(
    answer: bytes, issuer: Issuer, settings: Introspection, keys: Mapping[str, KeySet], now: int
) -> dict[str, object] | Undecided:
    """INT-07: signed by the issuer, for us, of late; a plain answer would be a downgrade."""
    parsed = parse_compact(answer.decode("latin-1"), MAX_ANSWER)
    if isinstance(parsed, Deny):
        return _unusable("INT-07", f"not a signed answer: {parsed.detail or parsed.check}")
    if parsed.type != SIGNED_TYPE:
        return _unusable("INT-07", "signed as something else")
    if parsed.algorithm not in issuer.algorithms:
        return _unusable("INT-07", "not one of the issuer's algorithms")
    iss = parsed.claims.get("iss")
    if not isinstance(iss, str) or iss not in issuer.spellings:
        return _unusable("INT-07", "from another issuer")
    key_set = usable_keys(issuer, keys)
    if key_set is None:
        return Undecided(Reason.KEYS_UNAVAILABLE, "KEY-03", "no keys of the issuer are loaded")
    signer = find_signer(parsed, iss, issuer.spellings[iss], key_set)
    if isinstance(signer, Deny):
        if signer.reason is Reason.TOKEN_KEY_UNKNOWN:  # the key source takes it for a hint
            return Undecided(Reason.KEYS_UNAVAILABLE, "INT-07", "the answer is signed with a key that is not loaded")
        return _unusable("INT-07", "the signature of the answer is wrong")
    named = parsed.claims.get("aud")
    if not any(name in settings.audiences for name in (named if isinstance(named, list) else [named])):
        return _unusable("INT-07", "meant for another resource server")
    issued_at = read_time(parsed.claims.get("iat"))
    if issued_at is None or not now - settings.cache_seconds - _LATE_SECONDS <= issued_at <= now + issuer.leeway:
        return _unusable("INT-07", "an answer that is not of late")
    claims = parsed.claims.get("token_introspection")
    return claims if isinstance(claims, dict) else _unusable("INT-07", "no member `token_introspection`")


def _unusable(check: str, detail: str) -> Undecided:
    return Undecided(Reason.INTROSPECTION_UNAVAILABLE, check, detail)


def _refuse_inactive(claims: dict[str, object]) -> Deny | None:
    active = claims.get("active")
    if active is True:
        return None
    if active is False:
        return Deny(Reason.TOKEN_INACTIVE, "INT-03")
    return Deny(Reason.TOKEN_INACTIVE, "INT-02", "`active` is not a boolean")


def _refuse_issuer(claims: dict[str, object], issuer: Issuer) -> Deny | None:
    iss = claims.get("iss")
    if iss is None or (isinstance(iss, str) and iss in issuer.spellings):
        return None
    return Deny(Reason.TOKEN_ISSUER_REFUSED, "INT-04", "the answer names another issuer")


def _refuse_type(claims: dict[str, object]) -> Deny | None:
    """A refresh token is active too, and is none to call with."""
    for name, accepted in (("token_type", _TOKEN_TYPES), ("token_use", _TOKEN_USES)):
        found = claims.get(name)
        if found is not None and not (isinstance(found, str) and found.lower() in accepted):
            return Deny(Reason.TOKEN_KIND_REFUSED, "INT-04", f"`{name}` is not that of an access token")
    return None


def _refuse_binding(claims: dict[str, object], subject: Subject) -> Deny | None:
    """INT-06: what is bound to a DPoP key says so in both places, where it says its type at all."""
    kind = claims.get("token_type")
    if isinstance(kind, str) and (kind.lower() == "dpop") != bool(subject.jkt):
        return Deny(Reason.TOKEN_BINDING_UNVERIFIED, "INT-06", "`token_type` and `cnf` disagree")
    return None


def _looks_signed(token: str) -> bool:
    """Whether a token has the form of a JWT; any other form is opaque."""
    segments = token.split(".", max(_JWT_SEGMENTS))
    return len(segments) in _JWT_SEGMENTS and (base64url.decode(segments[0]) or b"").startswith(b"{")
