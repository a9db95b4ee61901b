"""Issuers with real keys, and tokens signed over exactly the bytes a test wants."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

from extauthz.identity import (
    Authentication,
    AuthenticationSpec,
    Issuer,
    IssuerSpec,
    KeySet,
    compile_authentication,
    compile_issuer,
    parse_jwks,
)
from extauthz.identity.access_token import verify_access_token
from extauthz.identity.base64url import encode
from extauthz.identity.claims import build_subject
from extauthz.model.decision import Deny, Undecided
from extauthz.model.problems import Problem
from extauthz.model.subject import Subject

NOW = 1_800_000_000
ISS = "https://login.bank.test"
AUD = "accounts-api"

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
EC521 = ec.generate_private_key(ec.SECP521R1())
ED = ed25519.Ed25519PrivateKey.generate()
SIGNERS: dict[str, tuple[str, Any]] = {
    "PS256": ("rsa", RSA),
    "PS384": ("rsa", RSA),
    "PS512": ("rsa", RSA),
    "RS256": ("rsa", RSA),
    "RS384": ("rsa", RSA),
    "RS512": ("rsa", RSA),
    "ES256": ("ec", EC),
    "ES384": ("ec384", EC384),
    "ES512": ("ec521", EC521),
    "EdDSA": ("ed", ED),
    "Ed25519": ("ed", ED),
}


def claims_to_subject(issuer: Issuer, found: dict[str, Any]) -> Subject | Deny:
    """The caller that these claims describe, as verification builds it."""
    return build_subject(issuer, found, json.dumps(found).encode(), "")


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """The public half as a JWK."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        made = OKPAlgorithm.to_jwk(public, as_dict=True)
    made.pop("key_ops", None)
    return {**made, **members}


ALL_JWKS = [jwk(key, kid=kid) for kid, key in dict(SIGNERS.values()).items()]


def an_issuer(name: str = "bank", **fields: Any) -> Issuer:
    """Compile an Issuer document written as in YAML; strict RFC 9068 unless told otherwise."""
    problems: list[Problem] = []
    spec = msgspec.convert({"issuer": ISS, "audiences": [AUD], **fields}, IssuerSpec)
    issuer = compile_issuer(name, spec, problems)
    assert issuer is not None, problems
    return issuer


def problems_of(**fields: Any) -> list[str]:
    """What is wrong with an Issuer document: `place: message`."""
    problems: list[Problem] = []
    spec = msgspec.convert({"issuer": ISS, "audiences": [AUD], **fields}, IssuerSpec)
    issuer = compile_issuer("bank", spec, problems)
    assert (issuer is None) == any(problem.severity == "error" for problem in problems)
    return [f"{'.'.join(map(str, problem.location))}: {problem.message}" for problem in problems]


def key_set(issuer: Issuer, *jwks: Mapping[str, Any]) -> KeySet:
    keys, notes = parse_jwks(json.dumps({"keys": list(jwks or ALL_JWKS)}).encode(), issuer)
    assert notes == []
    return keys


def accepting(*issuers: Issuer, mode: str = "required", **fields: Any) -> Authentication:
    """A profile's `authentication` with these issuers."""
    problems: list[Problem] = []
    document = {"mode": mode, "issuers": [issuer.name for issuer in issuers], **fields}
    spec = msgspec.convert(document, AuthenticationSpec)
    found = compile_authentication(spec, {issuer.name: issuer for issuer in issuers}, problems, ("spec",))
    assert found is not None, problems
    return found


def claims(**changes: Any) -> dict[str, Any]:
    """Good RFC 9068 claims; a change to `...` leaves the claim out."""
    good = {
        "iss": ISS,
        "aud": AUD,
        "sub": "alice",
        "client_id": "mobile",
        "jti": "t-1",
        "iat": NOW - 10,
        "exp": NOW + 300,
        "scope": "accounts payments",
        "roles": ["officer"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def segment(content: Mapping[str, Any] | bytes) -> str:
    return encode(content if isinstance(content, bytes) else json.dumps(content).encode())


def sign(
    payload: Mapping[str, Any] | bytes,
    *,
    algorithm: str = "ES256",
    header: Mapping[str, Any] | bytes | None = None,
    key: Any = None,
) -> str:
    """A compact token with a good signature of `key`, whatever header and payload hold."""
    kid, usual = SIGNERS[algorithm]
    full = {"alg": algorithm, "typ": "at+jwt", "kid": kid}
    if not isinstance(header, bytes):
        header = {name: value for name, value in {**full, **(header or {})}.items() if value is not ...}
    signed = f"{segment(header)}.{segment(payload)}"
    made = get_default_algorithms()["EdDSA" if algorithm == "Ed25519" else algorithm].sign(
        signed.encode(), usual if key is None else key
    )
    return f"{signed}.{encode(made)}"


BANK = an_issuer()
BANK_KEYS = {"bank": key_set(BANK)}


def verify(
    token: str, issuer: Issuer = BANK, keys: Mapping[str, KeySet] | None = None, now: int = NOW
) -> Subject | Deny | Undecided:
    """What verification says about `token` where only `issuer` is accepted."""
    if keys is None:
        keys = {issuer.name: key_set(issuer)}
    return verify_access_token(token, accepting(issuer), keys, now)


def refusal(token: str, issuer: Issuer = BANK, keys: Mapping[str, KeySet] | None = None, now: int = NOW) -> str:
    """`reason check` of a refused token, `accepted` otherwise."""
    found = verify(token, issuer, keys, now)
    return "accepted" if isinstance(found, Subject) else f"{found.reason.code} {found.check}"
