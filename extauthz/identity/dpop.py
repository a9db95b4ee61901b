"""DPoP proofs (RFC 9449 section 4.3): whether the sender of a token holds the key that it is bound to.

Rule 1: everything that costs little is checked before the signature; whether the proof was used before comes last of
all, when everything else allows the request (DP-17).
Rule 2: what a proof says is believed for this request alone; members that RFC 9449 does not name are ignored (DP-10).
"""

from hashlib import sha256

from msgspec import Struct

from extauthz.identity import base64url
from extauthz.identity.algorithms import verify_signature
from extauthz.identity.compact import Parts, take_apart
from extauthz.identity.htu import normalise
from extauthz.identity.jwk import read_shown_key
from extauthz.identity.nonces import NonceKeys
from extauthz.identity.possession_rules import DpopRules
from extauthz.model.decision import Deny, FirstUse, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Request

MAX_ID = 256  # characters of `jti`; RFC 9449 section 11.1 asks for a limit, and a UUID has 36
# A check costs 21 us with 2048 bits; the key is the sender's choice, so that it may not choose an expensive one.
MAX_RSA_BITS = 4096
_TYPE = "dpop+jwt"
NONCE_HEADER = "dpop-nonce"


class Proof(Struct, frozen=True, gc=False):
    """A proof that holds, unless it was used before."""

    use: FirstUse
    fresh_nonce: str = ""  # for the answer: the one in the proof ends soon


def verify_proof(
    request: Request, token: str, jkt: str, rules: DpopRules, nonces: NonceKeys, now: int
) -> Proof | Deny | Undecided:
    """Whether the request proves possession of the key with thumbprint `jkt`, for `token` as it was sent."""
    value = request.headers.get("dpop")
    if value is None:
        return Deny(Reason.PROOF_MISSING, "DP-03", "no DPoP header")
    if "," in value or request.headers.is_repeated("dpop"):
        return _refuse("DP-04", "more than one DPoP header")
    if len(value) > rules.max_bytes:
        return _refuse("DP-05", "longer than `proofMaxBytes`")
    parts = take_apart(value)
    if isinstance(parts, str):
        return _refuse("DP-05", parts)
    shown = _read_header(parts.header, rules)
    if isinstance(shown, Deny):
        return shown
    htu = _check_claims(parts.claims, request, token, rules)
    if isinstance(htu, Deny):
        return htu
    times = _check_times(parts.claims, rules, nonces, now)
    if not isinstance(times, _Times):
        return times
    algorithm, public, thumbprint = shown
    if thumbprint != jkt:
        return Deny(Reason.PROOF_KEY_MISMATCH, "DP-16", "the proof's key is not the token's")
    if not verify_signature(algorithm, public, parts.signed, parts.signature):
        return _refuse("DP-09", "the signature does not fit")
    proxy = request.destination.principal if rules.per_proxy else ""
    return Proof(FirstUse(_replay_key(jkt, htu, proxy, parts), times.expires), times.fresh_nonce)


class _Times(Struct, frozen=True, gc=False):
    """Until when the proof could be used again, and the nonce that its sender should use next."""

    expires: int
    fresh_nonce: str = ""


def _read_header(header: dict[str, object], rules: DpopRules) -> tuple[str, object, str] | Deny:
    """Algorithm, key and thumbprint (DP-06 to DP-08)."""
    if "crit" in header or "b64" in header:
        return _refuse("DP-05", "a critical extension")
    if header.get("typ") != _TYPE:
        return _refuse("DP-06", "not of the type `dpop+jwt`")
    algorithm, jwk = header.get("alg"), header.get("jwk")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        return _refuse("DP-07", "not one of the accepted algorithms")
    if not isinstance(jwk, dict):
        return _refuse("DP-08", "no key")
    shown = read_shown_key(jwk, algorithm)
    if isinstance(shown, str):
        return _refuse("DP-08", shown)
    public, thumbprint = shown
    if getattr(public, "key_size", 0) > MAX_RSA_BITS:
        return _refuse("DP-08", f"an RSA key of more than {MAX_RSA_BITS} bits")
    return algorithm, public, thumbprint


def _check_claims(claims: dict[str, object], request: Request, token: str, rules: DpopRules) -> str | Deny:
    """The normalised `htu`, once the proof is about this request and this token (DP-10 to DP-12, DP-15)."""
    identifier = claims.get("jti")
    if not isinstance(identifier, str) or not identifier:
        return _refuse("DP-10", "no `jti`")
    if len(identifier) > MAX_ID:
        return _refuse("DP-17", f"a `jti` of more than {MAX_ID} characters")
    if type(claims.get("iat")) is not int:
        return _refuse("DP-10" if "iat" not in claims else "DP-13", "no `iat` in whole seconds")
    method, htu = claims.get("htm"), claims.get("htu")
    if not isinstance(method, str) or not isinstance(htu, str):
        return _refuse("DP-10", "no `htm` or no `htu`")
    if method != request.method:
        return _refuse("DP-11", "made for another method")
    here = rules.origins.url(request)
    if here is None:
        return _refuse("DP-12", "the public URL of the request is not known: see `publicOrigin`")
    if normalise(htu) != here:
        return _refuse("DP-12", "made for another URL")
    if claims.get("ath") != base64url.encode(sha256(token.encode()).digest()):
        return _refuse("DP-15", "made for another token")
    return here


def _check_times(claims: dict[str, object], rules: DpopRules, nonces: NonceKeys, now: int) -> _Times | Deny | Undecided:
    """DP-13, DP-14, DP-19, DP-21: made just now, by the sender's clock or by a nonce of ours."""
    expires, not_before = claims.get("exp", now + 1), claims.get("nbf", now)
    if (
        type(expires) is not int
        or type(not_before) is not int
        or not not_before - rules.skew <= now < expires + rules.skew
    ):
        return _refuse("DP-14", "its own `exp` or `nbf` does not hold")
    nonce = claims.get("nonce")
    if rules.nonce != "off":
        if not nonces.keys:
            return Undecided(Reason.KEYS_UNAVAILABLE, "DP-19", "no key for nonces is loaded")
        if nonce is not None:
            return _check_nonce(nonce, rules, nonces, now)
        if rules.nonce == "required":
            return _require_nonce(rules, nonces, now, "no nonce")
    issued = claims["iat"]
    if isinstance(issued, int) and now - rules.max_age - rules.skew <= issued <= now + rules.skew:
        # The same for every copy of the proof; a clock that is behind by `skew` accepts it that much longer.
        return _Times(issued + rules.max_age + 2 * rules.skew + 1)
    if rules.nonce == "optional":
        return _require_nonce(rules, nonces, now, "too old or too new by the sender's clock")
    return _refuse("DP-13", "too old or too new")


def _check_nonce(nonce: object, rules: DpopRules, nonces: NonceKeys, now: int) -> _Times | Deny:
    """A nonce says when the proof was made, whatever the sender's clock says (RFC 9449 section 4.3 item 11)."""
    expires = nonces.expiry(nonce, now, rules.nonce_lifetime, rules.skew) if isinstance(nonce, str) else None
    if expires is None:
        return _require_nonce(rules, nonces, now, "a nonce that is not accepted any more")
    ends_soon = expires - now <= rules.nonce_lifetime
    fresh = nonces.issue(now, rules.nonce_lifetime) if ends_soon else ""
    return _Times(expires + rules.skew, fresh)


def _require_nonce(rules: DpopRules, nonces: NonceKeys, now: int, detail: str) -> Deny:
    fresh = ((NONCE_HEADER, nonces.issue(now, rules.nonce_lifetime)),)
    return Deny(Reason.PROOF_NONCE_REQUIRED, "DP-19", detail, client_headers=fresh)


def _replay_key(jkt: str, htu: str, proxy: str, parts: Parts) -> bytes:
    """What identifies a use (DP-17): nothing that could be spelled otherwise, such as token or signature."""
    identifier = sha256(str(parts.claims["jti"]).encode()).digest()
    return sha256(b"\0".join((jkt.encode(), htu.encode(), identifier, proxy.encode()))).digest()


def _refuse(check: str, detail: str) -> Deny:
    return Deny(Reason.PROOF_INVALID, check, detail)
