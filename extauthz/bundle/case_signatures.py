"""Signed requests and signed bodies for PolicyTests, with keys that exist in this process alone.

A case so goes through all of RFC 9421 and of the payment's rules: what is wrong with its signature fails it as it would
fail a request. Rule: these keys get into the snapshot of a test, never into one that serves.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from extauthz.bundle.case_requests import CaseHeaders
from extauthz.bundle.kinds import CaseSignatureSpec, CaseSignedBodySpec
from extauthz.bundle.minting import Signer, named_signer
from extauthz.identity import BodyRules, ClientKeyRules, KeySet, MessageRules, base64url, parse_jwks
from extauthz.identity.signature_base import Uncovered, signature_base
from extauthz.identity.signature_rules import SCHEMES
from extauthz.identity.structured_fields import InnerList, read_dictionary
from extauthz.model.request import Request
from extauthz.snapshot import Profile, ProfileIndex, Snapshot

_KEY_ID, _JTI, _LABEL = "policy-test", "policy-test", "sig1"
# The cheapest first: an RSA key takes a tenth of a second to make.
_SCHEMES: Final = ("ed25519", "ecdsa-p256-sha256", "PS256", "rsa-pss-sha512")
_JWS: Final = ("Ed25519", "EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
_COVERED: Final = ("@method", "@target-uri", "authorization")


def with_case_keys(world: Snapshot) -> Snapshot:
    """The same world, in which every client that has keys has the one that cases sign with."""
    return replace(world, profiles=ProfileIndex(tuple(_registered(profile) for profile in world.profiles.profiles)))


def _registered(profile: Profile) -> Profile:
    message, body = profile.signing.message, profile.signing.body
    if message is not None:
        message = replace(message, keys=dict.fromkeys(message.keys, _key_set(_scheme(message))))
    if body is not None:
        body = replace(body, keys=dict.fromkeys(body.keys, _key_set(_algorithm(body))))
    return replace(profile, signing=replace(profile.signing, message=message, body=body))


def _scheme(rules: MessageRules) -> str:
    """The algorithm of a token that stands for the one of the message."""
    return SCHEMES[next(name for name in _SCHEMES if name in rules.algorithms)].jws[0]


def _algorithm(rules: BodyRules) -> str:
    return next(name for name in _JWS if name in rules.algorithms)


def _key_set(algorithm: str) -> KeySet:
    jwk = {**named_signer(algorithm, "registered").jwk, "kid": _KEY_ID, "alg": algorithm}
    return parse_jwks(json.dumps({"keys": [jwk]}).encode(), ClientKeyRules((algorithm,)))[0]


def with_signed_body(
    request: Request, headers: CaseHeaders, spec: CaseSignedBodySpec, world: Snapshot, case: tuple[str, int]
) -> tuple[Request, CaseHeaders]:
    """The request with a signed body as the profile of its route asks for one; `case` is the client and the time."""
    client, now = case
    profile = world.profiles.find(request)
    rules = profile.signing.body if isinstance(profile, Profile) else None
    url = f"https://{request.host}{request.raw_path}"
    organisation, algorithm, media_type = "", "ES256", "application/jwt"
    if rules is not None:
        url = rules.origins.url(request) or url
        organisation, algorithm = rules.organisations.get(client, ""), _algorithm(rules)
        media_type = rules.media_type
    claims = {"iss": organisation, "aud": url, "iat": now, "jti": _JTI} | spec.claims
    header = {"alg": algorithm, "kid": _KEY_ID, "typ": "JWT"}
    body = _compact((header, _present(claims)), named_signer(algorithm, spec.key))
    headers = _with_default(headers, "content-type", media_type)
    return replace(request, body=body, headers=headers), headers


def with_signature(
    request: Request, headers: CaseHeaders, spec: CaseSignatureSpec, world: Snapshot, now: int
) -> Request:
    """The request with a message signature as the profile of its route asks for one."""
    profile = world.profiles.find(request)
    rules = profile.signing.message if isinstance(profile, Profile) else None
    if rules is None:
        return request
    body = request.body or b""
    headers = _with_default(headers, "content-length", str(len(body)))
    covered = list(spec.covered or (*_COVERED, *(["dpop"] if headers.get("dpop") is not None else [])))
    if body:
        headers = _with_default(headers, "content-digest", f"sha-256={_octets(sha256(body).digest())}")
        covered += [] if spec.covered else ["content-digest"]
    request = replace(request, headers=headers)
    told = _written(covered, {"created": now, "keyid": _KEY_ID, "tag": rules.tag} | spec.parameters)
    members = read_dictionary(f"{_LABEL}={told}")
    described = members[_LABEL] if isinstance(members, dict) else None
    base = signature_base(request, described, rules.origins) if isinstance(described, InnerList) else Uncovered("")
    signature = named_signer(_scheme(rules), spec.key).sign(base.encode())
    headers = headers.with_line("signature-input", f"{_LABEL}={told}")
    return replace(request, headers=headers.with_line("signature", f"{_LABEL}={_octets(signature)}"))


def _written(covered: Iterable[str], parameters: Mapping[str, Any]) -> str:
    """What a signature covers and how it was made, as RFC 9421 writes it."""
    shown = {name: json.dumps(value) for name, value in _present(parameters).items()}
    names = " ".join(f'"{name}"' for name in covered)
    return f"({names})" + "".join(f";{name}={value}" for name, value in shown.items())


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _with_default(headers: CaseHeaders, name: str, value: str) -> CaseHeaders:
    return headers if headers.get(name) is not None else headers.with_line(name, value)


def _compact(parts: tuple[dict[str, Any], dict[str, Any]], key: Signer) -> bytes:
    signed = ".".join(base64url.encode(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{base64url.encode(key.sign(signed.encode()))}".encode()


def _octets(value: bytes) -> str:
    return f":{b64encode(value).decode()}:"
