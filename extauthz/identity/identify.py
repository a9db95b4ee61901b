"""Who calls: the first phase of a decision.

Rule 1: a token found in the cache is still checked against the clock, and is found only as long as the same keys
and the same Issuer document are in force.
Rule 2: it is found by a digest of the whole header, so that a header that was never taken apart and verified has none;
what is kept in memory cannot be presented by whoever reads it.
"""

from collections.abc import Mapping
from hashlib import sha256
from sys import getsizeof

from msgspec import Struct
from msgspec.structs import replace

from extauthz.identity.access_token import check_times, usable_keys, verify_access_token
from extauthz.identity.authentication import Authentication
from extauthz.identity.credential import HEADER, Credential, known_credential, parse_credential, refuse_elsewhere
from extauthz.identity.introspected import ask_issuer, confirm, introspecting
from extauthz.identity.keys import KeySet
from extauthz.model.decision import NOTHING_ASKED, Deny, Known, Pending, Undecided, VerifySignature
from extauthz.model.memo import Memo
from extauthz.model.ports import TokenCache
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.model.subject import ANONYMOUS, Likeness, Subject, likeness_of


class Identified(Struct, frozen=True, gc=False):
    """Who calls, and whether that was known already."""

    subject: Subject
    cached: bool
    token: str = ""  # as it was sent, for what a proof says about it (DP-15); may be "" where nothing is bound to it
    is_dpop: bool = False  # it came with the scheme `DPoP`, otherwise `Bearer`


Found = Identified | Deny | Undecided

_MAX_LIKENESSES, _MAX_BYTES, _LIKENESS_BYTES = 16_384, 8 << 20, 500
_NOBODY = Identified(ANONYMOUS, cached=False)
_VERIFY = VerifySignature()


def identify(
    request: Request,
    authentication: Authentication,
    keys: Mapping[str, KeySet],
    tokens: TokenCache,
    now: int,
    known: Known = NOTHING_ASKED,
) -> Found | Pending:
    """Who calls, as far as the profile asks, or what its issuer must be asked first.

    `now` is whole seconds since the epoch; `known` holds the answers so far.
    """
    if authentication.mode == "none":
        return _NOBODY
    service = authentication.service
    if service is not None and not service.instead:
        caller = service.find(request)
        if isinstance(caller, Deny):
            return caller
    if request.query or request.body:
        refused = refuse_elsewhere(request, refuse_form_body=authentication.refuse_form_body)
        if refused is not None:
            return refused
    value = request.headers.get(HEADER)
    if value is None:
        return _without_token(request, authentication)
    place = sha256(value.encode() if value.isascii() else value.encode("utf-8", "surrogatepass")).digest()
    if authentication.introspecting is None and (found := _recall(place, authentication, keys, tokens, now)):
        if isinstance(found, Identified) and not found.subject.confirmation and value[0] in "bB":
            return found
        return _as_presented(found, known_credential(value))
    credential = parse_credential(value, request.headers)
    if not isinstance(credential, Credential):
        return credential
    read = _read(credential.token, place, authentication, keys, tokens, now, known)
    return read if isinstance(read, Pending) else _as_presented(read, credential)


def _without_token(request: Request, authentication: Authentication) -> Identified | Deny:
    """A service in its own name where that is accepted, nobody where nobody has to be."""
    service = authentication.service
    caller = service.find(request) if service is not None and service.instead else None
    if isinstance(caller, Subject):
        return Identified(caller, cached=False)
    if isinstance(caller, Deny) and caller.reason is Reason.SERVICE_IDENTITY_REFUSED:
        return caller
    if authentication.mode == "optional":
        return _NOBODY
    if isinstance(caller, Deny) and not authentication.issuers:
        return caller
    return Deny(Reason.NO_CREDENTIAL, "EX-01")


def _read(
    token: str,
    place: bytes,
    authentication: Authentication,
    keys: Mapping[str, KeySet],
    tokens: TokenCache,
    now: int,
    known: Known,
) -> Found | Pending:
    """By the issuer (opaque), with keys (JWT), or with keys and then by the issuer (`introspection.jwt`)."""
    issuer = introspecting(token, authentication)
    if issuer is not None:
        answered = ask_issuer(token, issuer, keys, tokens, now, known)
        return Identified(answered[0], cached=answered[1]) if isinstance(answered, tuple) else answered
    found: Found | Pending | None = _recall(place, authentication, keys, tokens, now)
    if found is None:
        found = _verify(token, place, authentication, keys, tokens, now, known)
    if isinstance(found, Identified) and (issuer := authentication.introspecting) is not None:
        subject = found.subject
        if issuer.introspection is not None and issuer.introspection.jwt and subject.issuer_name == issuer.name:
            return confirm(subject, token, issuer, keys, tokens, now, known) or found
    return found


def _recall(
    place: bytes, authentication: Authentication, keys: Mapping[str, KeySet], tokens: TokenCache, now: int
) -> Identified | Deny | None:
    """From the cache; None when it is not there."""
    for issuer in authentication.issuers:
        key_set = usable_keys(issuer, keys)
        subject = None if key_set is None else tokens.get(key_set.version + place)
        if subject is not None:
            refused = check_times(issuer, subject, now)
            return Identified(subject, True) if refused is None else _of_issuer(refused, issuer.name)  # noqa: FBT003
    return None


def _verify(
    token: str,
    place: bytes,
    authentication: Authentication,
    keys: Mapping[str, KeySet],
    tokens: TokenCache,
    now: int,
    answers: Known,
) -> Found | Pending:
    """By its signature, when its turn has come."""
    if _VERIFY not in answers:
        return Pending(_VERIFY, Undecided(Reason.OVERLOADED))
    subject = verify_access_token(token, authentication, keys, now)
    if not isinstance(subject, Subject):
        return subject
    subject = replace(subject, likeness=_intern(subject))
    tokens.put(keys[subject.issuer_name].version + place, subject)
    return Identified(subject, cached=False)


def _intern(subject: Subject) -> Likeness | None:
    """One object for all callers alike: it is found faster, and takes its memory once."""
    likeness = likeness_of(subject)
    if likeness is None:
        return None
    known = _likenesses.get(likeness)
    if known is None:
        _likenesses.put(likeness, likeness)
        return likeness
    return known


def _weigh(likeness: Likeness, _: Likeness) -> int:
    lists = (likeness.roles, likeness.scopes, likeness.actors)
    return _LIKENESS_BYTES + sum(getsizeof(text) for texts in lists for text in texts)


_likenesses: Memo[Likeness, Likeness] = Memo(_MAX_LIKENESSES, _MAX_BYTES, _weigh)


def _of_issuer(refused: Deny, name: str) -> Deny:
    return Deny(refused.reason, refused.check, refused.detail, issuer=name)


def _as_presented(found: Found, credential: Credential) -> Found:
    """What was found about a token, with how it was sent; a refusal is answered in the scheme that was used.

    DP-02: the scheme `DPoP` promises a token bound to a key; without, the guard would see a bearer token. Whether the
    proof of a bound token is there and good is looked at later, by the token's `confirmation`.
    """
    if isinstance(found, Identified):
        if not credential.is_dpop or found.subject.jkt:
            return Identified(found.subject, found.cached, credential.token, credential.is_dpop)
        found = Deny(Reason.TOKEN_BINDING_UNVERIFIED, "DP-02", issuer=found.subject.issuer_name)
    return replace(found, scheme="DPoP") if isinstance(found, Deny) and credential.is_dpop else found
