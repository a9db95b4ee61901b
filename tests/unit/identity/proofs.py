"""Clients with keys of their own, and DPoP proofs signed over exactly what a test wants."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec
from jwt.algorithms import get_default_algorithms

from extauthz.identity import DpopSpec, MtlsSpec, NonceKeys, PossessionRules, compile_possession, thumbprint
from extauthz.identity.base64url import encode
from extauthz.identity.dpop import Proof, verify_proof
from extauthz.model.decision import Deny, Undecided
from extauthz.model.problems import Problem
from extauthz.model.request import Request
from tests.fakes import a_request
from tests.unit.identity.tokens import EC, NOW, SIGNERS, jwk, segment

HOST = "api.bank.test"
URL = f"https://{HOST}/accounts/17"
TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
KEYS = NonceKeys((b"a" * 32,))
ABSENT = ...


def hash_of(token: str) -> str:
    """`ath`: RFC 9449 section 4.2."""
    return encode(sha256(token.encode()).digest())


def thumbprint_of(key: Any) -> str:
    """`cnf.jkt` of a token bound to that key."""
    return thumbprint(jwk(key))


def good_claims(token: str = TOKEN) -> dict[str, Any]:
    return {"jti": "e1j3V_bKic8-LAEB", "htm": "GET", "htu": URL, "iat": NOW, "ath": hash_of(token)}


def a_proof(
    claims: Mapping[str, Any] | bytes | None = None,
    header: Mapping[str, Any] | bytes | None = None,
    *,
    algorithm: str = "ES256",
    key: Any = None,
    signer: Any = None,
    signature: bytes | None = None,
) -> str:
    """A proof; a claim or header member of `...` is left out. `signer` signs instead of the key that is shown."""
    shown = SIGNERS[algorithm][1] if key is None else key
    if not isinstance(header, bytes):
        full = {"typ": "dpop+jwt", "alg": algorithm, "jwk": jwk(shown), **(header or {})}
        header = {name: value for name, value in full.items() if value is not ABSENT}
    if not isinstance(claims, bytes):
        claims = {name: value for name, value in {**good_claims(), **(claims or {})}.items() if value is not ABSENT}
    signed = f"{segment(header)}.{segment(claims)}"
    if signature is None:
        method = get_default_algorithms()["EdDSA" if algorithm == "Ed25519" else algorithm]
        signature = method.sign(signed.encode(), shown if signer is None else signer)
    return f"{signed}.{encode(signature)}"


def rules(hosts: tuple[str, ...] = (HOST,), mtls: Mapping[str, Any] | None = None, **dpop: Any) -> PossessionRules:
    """What a profile's `senderConstraint` compiles to."""
    problems: list[Problem] = []
    specs = msgspec.convert(dpop, DpopSpec), msgspec.convert(mtls or {}, MtlsSpec)
    compiled = compile_possession(*specs, hosts, problems, ())
    assert not [problem for problem in problems if problem.severity == "error"]
    return compiled


RULES = rules()


def a_dpop_request(
    proofs: str | Iterable[str], path: str = "/accounts/17", *, method: str = "GET", joined: bool = False
) -> Request:
    lines = [("dpop", proof) for proof in ([proofs] if isinstance(proofs, str) else proofs)]
    return a_request(method, path, host=HOST, headers=lines, joined=joined)


def verify(
    proof: str,
    found: PossessionRules = RULES,
    *,
    path: str = "/accounts/17",
    method: str = "GET",
    token: str = TOKEN,
    key: Any = EC,
    now: int = NOW,
    nonces: NonceKeys = KEYS,
) -> Proof | Deny | Undecided:
    """What is said about a proof for GET /accounts/17 with TOKEN, bound to EC."""
    request = a_dpop_request(proof, path, method=method)
    return verify_proof(request, token, thumbprint_of(key), found.dpop, nonces, now)


def said(proof: str, found: PossessionRules = RULES, **options: Any) -> str:
    """`reason check` of a refused proof, `accepted` otherwise."""
    result = verify(proof, found, **options)
    return "accepted" if isinstance(result, Proof) else f"{result.reason.code} {result.check}"
