"""Clients that sign requests and bodies, with everything in them that a test wants otherwise."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from jwt.algorithms import get_default_algorithms
from msgspec.structs import replace

from extauthz.identity import ClientKeyRules, KeySet, Origins, parse_jwks
from extauthz.identity.base64url import encode
from extauthz.identity.htu import compile_origins
from extauthz.identity.message_signature import verify_message
from extauthz.identity.signature_rules import JWS_ALGORITHMS, SCHEMES, BodyRules, MessageRules
from extauthz.identity.signed_body import verify_body
from extauthz.model.decision import Deny, FirstUse
from extauthz.model.request import Request
from extauthz.model.subject import Subject
from tests.fakes import a_request
from tests.unit.identity.tokens import EC, ED, NOW, RSA, jwk

HOST, PATH = "api.bank.test", "/payments/17?expand=all"
CLIENT, ORGANISATION = "tpp-1", "74e929d9-33b6-4d85-8ba7-c146c867a817"
CALLER = Subject(issuer="https://login.bank.test", id="u", issuer_name="bank", client=CLIENT)
TOKEN = "Bearer Kz~8mXK1EalYznwH-LC-1fBAo"
BODY = b'{"amount": "12.50"}'
COVERED = ("@method", "@target-uri", "authorization")
METHODS = {"ec": "ES256", "ed": "EdDSA", "rsa": "PS512", "ps256": "PS256"}
PRIVATE = {"ec": EC, "ed": ED, "rsa": RSA, "ps256": RSA}


def client_jwks() -> dict[str, Any]:
    named = [jwk(PRIVATE[kid], kid=kid) for kid in ("ec", "ed", "rsa")]
    return {"keys": [*named, jwk(RSA, kid="ps256", alg="PS256")]}


def client_keys() -> KeySet:
    keys, notes = parse_jwks(json.dumps(client_jwks()).encode(), ClientKeyRules(JWS_ALGORITHMS))
    assert notes == []
    return keys


def origins(text: str = "") -> Origins:
    return compile_origins(text, (HOST,), [], ())


RULES = MessageRules(
    required=True,
    methods=frozenset(),
    keys={CLIENT: client_keys()},
    algorithms=tuple(SCHEMES),
    max_age=60,
    tag="fapi-2-request",
    origins=origins(),
    max_body=65536,
)
BODIES = BodyRules(
    media_type="application/jwt",
    methods=frozenset({"POST"}),
    algorithms=frozenset({"PS256"}),
    audience=(),
    organisations={CLIENT: ORGANISATION},
    keys={CLIENT: client_keys()},
    max_age=60,
    origins=origins(),
    per_proxy=False,
    max_body=65536,
)


def octets(value: bytes) -> str:
    return f":{b64encode(value).decode()}:"


def digest_of(body: bytes) -> str:
    return f"sha-256={octets(sha256(body).digest())}"


def parameters(**changes: Any) -> str:
    """`;created=…;keyid=…;tag=…`; None leaves one out."""
    usual = {"created": NOW, "keyid": "ec", "tag": "fapi-2-request", **changes}
    written = {name: f'"{value}"' if isinstance(value, str) else value for name, value in usual.items()}
    return "".join(f";{name}={value}" for name, value in written.items() if value is not None)


def sign(
    lines: Mapping[str, str], covered: Iterable[str] = COVERED, *, key: str = "ec", signer: Any = None, **changes: Any
) -> list[tuple[str, str]]:
    """The two headers, over `lines` (component → value) as a client's library would make them."""
    names = " ".join(f'"{name}"' for name in covered)
    what = f"({names}){parameters(**{'keyid': key, **changes})}"
    base = "\n".join([*(f'"{name}": {lines[name]}' for name in covered), f'"@signature-params": {what}'])
    signature = get_default_algorithms()[METHODS[key]].sign(base.encode(), signer or PRIVATE[key])
    return [("signature-input", f"sig1={what}"), ("signature", f"sig1={octets(signature)}")]


def a_signed_request(
    covered: Iterable[str] = COVERED,
    *,
    method: str = "GET",
    path: str = PATH,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    claimed: Mapping[str, str] | None = None,
    **how: Any,
) -> Request:
    """A request that is signed as it is, unless `claimed` says that something else was signed."""
    sent = {"authorization": TOKEN, **(headers or {})}
    if body is not None:
        sent = {"content-length": str(len(body)), "content-digest": digest_of(body), **sent}
    lines = {"@method": method, "@target-uri": f"https://{HOST}{path}", **sent, **(claimed or {})}
    made = sign(lines, covered, **how)
    return replace(a_request(method, path, host=HOST, headers=[*sent.items(), *made]), body=body or None)


def said(request: Request, rules: MessageRules = RULES, subject: Subject = CALLER, now: int = NOW) -> str:
    """`accepted`, or `reason check: detail`."""
    refused = verify_message(request, subject, rules, now)
    if not isinstance(refused, Deny):
        return "accepted" if refused else "not signed"
    return f"{refused.reason.code} {refused.check}: {refused.detail}"


URL = f"https://{HOST}/payments"


def good_claims() -> dict[str, Any]:
    return {"aud": URL, "iss": ORGANISATION, "iat": NOW, "jti": "6a1ab4ec-0b4e-4f0a-9c0e-3d9d4c6f3a11", "data": {}}


def a_jws(
    claims: Mapping[str, Any] | None = None, *, algorithm: str = "PS256", signer: Any = None, **header: Any
) -> bytes:
    """A signed payment; None leaves a claim or a member of the header out."""
    usual = {"alg": algorithm, "kid": "ps256", "typ": "JWT", **header}
    parts = [{k: v for k, v in part.items() if v is not None} for part in (usual, {**good_claims(), **(claims or {})})]
    return a_jws_over(*(json.dumps(part).encode() for part in parts), algorithm=algorithm, signer=signer)


def a_jws_over(header: bytes, payload: bytes, *, algorithm: str = "PS256", signer: Any = None) -> bytes:
    """A JWS over exactly these bytes."""
    signed = f"{encode(header)}.{encode(payload)}"
    signature = get_default_algorithms()[algorithm].sign(signed.encode(), signer or RSA)
    return f"{signed}.{encode(signature)}".encode()


def a_payment(
    body: bytes | None,
    *,
    method: str = "POST",
    path: str = "/payments",
    media_type: str = "application/jwt",
    **more: Any,
) -> Request:
    sent = {"content-type": media_type, **({} if body is None else {"content-length": str(len(body))}), **more}
    return replace(a_request(method, path, host=HOST, headers=sent.items()), body=body)


def judged(
    request: Request, rules: BodyRules = BODIES, subject: Subject = CALLER, now: int = NOW
) -> str | FirstUse | None:
    """The use of a good body, or the detail of the refusal."""
    found = verify_body(request, subject, rules, now)
    if not isinstance(found, Deny):
        return found
    assert (found.reason.code, found.check) == ("signed_body_invalid", "SG-04")
    return found.detail
