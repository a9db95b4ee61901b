"""DPoP proofs for PolicyTests, really signed, with keys that exist in this process alone.

A case so goes through all of RFC 9449: what is wrong with its proof fails it as it would fail a request.
"""

import json
from functools import cache
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from extauthz.bundle.case_requests import CaseHeaders
from extauthz.bundle.kinds import CaseProofSpec
from extauthz.bundle.minting import Signer, ec_signer
from extauthz.identity import NonceKeys, base64url, thumbprint
from extauthz.model.request import Request
from extauthz.snapshot import Profile, Snapshot

NONCES: Final = NonceKeys((b"for PolicyTests only, never served",))
_ALGORITHM: Final = "ES256"  # on every list of FAPI


class UsesSeen:
    """A replay store that says what a case has it say, one use after the other; more uses are first ones."""

    def __init__(self, *used: bool) -> None:
        """`used`: whether each was seen before, in the order of the questions."""
        self._used = list(used)

    def first_use(self, key: bytes, expires: int) -> bool:  # noqa: ARG002 - the port's shape
        """Whether it is new, as the case says."""
        return not (self._used and self._used.pop(0))


@cache
def _key(name: str) -> Signer:  # noqa: ARG001 - a key for each name
    return ec_signer(_ALGORITHM)


def bound_thumbprint() -> str:
    """What `cnf.jkt` of a token is that is bound to the case's key."""
    return thumbprint(_key("bound").jwk)


def with_proof(
    request: Request, headers: CaseHeaders, spec: CaseProofSpec, world: Snapshot, now: int
) -> tuple[Request, CaseHeaders]:
    """The request with a proof for the token in its headers, as the profile of its route asks for one."""
    token = (headers.get("authorization") or "").partition(" ")[2]
    claims: dict[str, Any] = {
        "htm": request.method,
        "htu": f"https://{request.host}{request.raw_path}",
        "iat": now,
        "jti": "policy-test",
        "ath": base64url.encode(sha256(token.encode()).digest()),
    }
    profile = world.profiles.find(request)
    if isinstance(profile, Profile):
        rules = profile.possession.dpop
        claims["htu"] = rules.origins.url(request) or claims["htu"]
        claims["nonce"] = world.nonces.issue(now, rules.nonce_lifetime)
    claims = {name: value for name, value in (claims | spec.claims).items() if value is not None}
    headers = headers.with_line("dpop", _sign(claims, _key(spec.key)))
    return replace(request, headers=headers), headers


def _sign(claims: dict[str, Any], key: Signer) -> str:
    header = {"typ": "dpop+jwt", "alg": _ALGORITHM, "jwk": key.jwk}
    signed = ".".join(base64url.encode(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{base64url.encode(key.sign(signed.encode()))}"
