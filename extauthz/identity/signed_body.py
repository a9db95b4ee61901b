"""Bodies that are one signed document (SG-04), as payments of Open Finance Brasil are.

Rule 1: a body that is not here in whole is refused.
Rule 2: nothing in it is read before its signature holds but the header, which is short.
Rule 3: whether its `jti` was used before comes last, when everything else allows the request.
"""

from hashlib import sha256
from typing import Final

from extauthz.identity.algorithms import verify_signature
from extauthz.identity.compact import MAX_KEY_ID, canonical_type, split_compact
from extauthz.identity.htu import normalise
from extauthz.identity.keys import KeySet
from extauthz.identity.signature_rules import BodyRules
from extauthz.identity.strict_json import AmbiguousJsonError, read_object
from extauthz.identity.whole_body import NotWhole, whole_body
from extauthz.model.decision import Deny, FirstUse
from extauthz.model.paths import Path, canonicalise
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.model.subject import Subject

MAX_ID: Final = 256  # characters of `jti`
MAX_HEADER: Final = 2048  # bytes; `alg`, `kid` and `typ` have a hundred
ONCE_FOR: Final = 24 * 3600  # seconds for which a client may not use a `jti` again
# Ends are rounded up, so that a store that sorts entries by their end has few different ones.
_ROUND: Final = 3600
# Keys and addresses of keys, which the texts of Open Finance Brasil forbid; a critical extension (RFC 7515 4.1.11).
_REFUSED: Final = ("crit", "b64", "jwk", "jku", "x5u", "x5c")


def verify_body(request: Request, subject: Subject, rules: BodyRules, now: int) -> Deny | FirstUse | None:
    """The use that a signed body makes of its `jti`; None where no signed body is asked for."""
    if request.method not in rules.methods:
        return None
    media_type = (request.headers.get("content-type") or "").partition(";")[0].strip(" \t").lower()
    if media_type != rules.media_type or request.headers.is_repeated("content-type"):
        return _refuse("not of the media type")
    body = whole_body(request, rules.max_body)
    if isinstance(body, NotWhole):
        return _refuse(str(body))
    keys = rules.keys.get(subject.client) if subject.has_token else None
    if keys is None:
        return _refuse("no key is registered for the client")
    claims = _open(body, keys, rules)
    return claims if isinstance(claims, Deny) else _check_claims(claims, request, subject, rules, now)


def _open(body: bytes, keys: KeySet, rules: BodyRules) -> dict[str, object] | Deny:
    """The payload of a compact JWS that one of these keys signed."""
    if not body.isascii():
        return _refuse("not a compact JWS")
    parts = split_compact(body.decode())
    if isinstance(parts, str):
        return _refuse(parts)
    header, payload, signature = parts
    if len(header) > MAX_HEADER:
        return _refuse(f"a header of more than {MAX_HEADER} bytes")
    try:
        named = _read_header(read_object(header), rules)
        if isinstance(named, Deny):
            return named
        algorithm, candidates = named[0], keys.select(named[1], named[0])
        signed = body[: body.rindex(b".")]
        if not any(verify_signature(algorithm, key.public, signed, signature) for key in candidates):
            return _refuse("the signature does not fit" if candidates else "no such key of this client")
        return read_object(payload)
    except AmbiguousJsonError as error:
        return _refuse(str(error))


def _read_header(header: dict[str, object], rules: BodyRules) -> tuple[str, str] | Deny:
    """`alg` and `kid`."""
    for name in _REFUSED:
        if name in header:
            return _refuse(f"a header with `{name}`")
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        return _refuse("not one of the accepted algorithms")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID:
        return _refuse("no `kid`")
    # RFC 8725 section 3.11: a token or a proof of the same key is no payment.
    if not isinstance(kind, str) or canonical_type(kind) != "jwt":
        return _refuse("not of the type `JWT`")
    return algorithm, key_id


def _check_claims(
    claims: dict[str, object], request: Request, subject: Subject, rules: BodyRules, now: int
) -> Deny | FirstUse:
    """For this endpoint, from the client's organisation, made just now."""
    organisation = rules.organisations.get(subject.client)
    if organisation is None or claims.get("iss") != organisation:
        return _refuse("`iss` is not the client's organisation")
    if not _is_for(claims.get("aud"), request, rules):
        return _refuse("made for another endpoint")
    issued, expires, not_before = claims.get("iat"), claims.get("exp", now + 1), claims.get("nbf", now)
    if type(issued) is not int or not now - rules.max_age <= issued <= now + rules.max_age:
        return _refuse("no `iat`, or too old or too new")
    if type(expires) is not int or type(not_before) is not int or not not_before - rules.max_age <= now < expires:
        return _refuse("its own `exp` or `nbf` does not hold")
    identifier = claims.get("jti")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= MAX_ID:
        return _refuse(f"no `jti` of at most {MAX_ID} characters")
    proxy = request.destination.principal if rules.per_proxy else ""
    ends = issued + ONCE_FOR + rules.max_age
    return FirstUse(_replay_key(subject.issuer, subject.client, identifier, proxy), ends + -ends % _ROUND)


def _replay_key(*parts: str) -> bytes:
    """What identifies a use; each part is hashed first, so that none can run into the next."""
    hashed = b"".join(sha256(part.encode()).digest() for part in ("signed-body", *parts))
    return sha256(hashed).digest()


def _is_for(audience: object, request: Request, rules: BodyRules) -> bool:
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    url = normalise(audience) if isinstance(audience, str) else None
    if url is None or "?" in str(audience) or "#" in str(audience):
        return False
    if not rules.audience:
        return url == rules.origins.url(request)
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    found = canonicalise(slash + path)
    return isinstance(found, Path) and any(
        accepted.origin == f"{scheme}://{authority}" and accepted.path.match(found.segments) is not None
        for accepted in rules.audience
    )


def _refuse(detail: str) -> Deny:
    return Deny(Reason.SIGNED_BODY_INVALID, "SG-04", detail)
