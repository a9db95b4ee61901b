"""Signed requests and signed payments, for what they cost beside tokens: the questions, and who decides them."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

SIGNER, PAYER = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
HOST, ORGANISATION, CLIENT = "signed.bank.example", "74e929d9-33b6-4d85-8ba7-c146c867a817", "mobile"

DOCUMENTS = f"""
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: requests}}
spec:
  match: {{hosts: [{HOST}], paths: [/**]}}
  authentication: {{mode: required, issuers: [login]}}
  messageSignature: {{keys: {{{CLIENT}: {{file: client.json}}}}, maxBodyBytes: 1048576}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: payments}}
spec:
  match: {{hosts: [{HOST}], paths: [/payments]}}
  authentication: {{mode: required, issuers: [login]}}
  signedBody: {{organisations: data.organisations, keys: {{{CLIENT}: {{file: client.json}}}}, maxBodyBytes: 262144}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: third-parties}}
spec:
  effect: allow
  match: {{hosts: [{HOST}]}}
  rules:
  - name: all
    from: [{{clients: [{CLIENT}]}}]
    to: [{{methods: [GET, POST], paths: [/**]}}]
"""


def files() -> dict[str, bytes]:
    """What the bundle of tokens has beside its own when requests are signed."""
    signer = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(SIGNER.public_key()))
    payer = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(PAYER.public_key()))
    public = {"kty", "crv", "x", "y", "n", "e"}
    keys = [
        {name: value for name, value in key.items() if name in public} | {"kid": kid}
        for kid, key in (("ec", signer), ("rsa", payer))
    ]
    return {
        "signed.yaml": DOCUMENTS.encode(),
        "client.json": json.dumps({"keys": keys}).encode(),
        "data/organisations.json": json.dumps({CLIENT: ORGANISATION}).encode(),
    }


def question(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Envoy's bytes, with the body in whole."""
    check = CheckRequest()
    http = check.attributes.request.http
    http.id, http.method, http.path, http.host = "1", method, path, HOST
    http.scheme, http.protocol, http.raw_body = "https", "HTTP/2", body
    http.headers.update({":method": method, ":path": path, ":authority": HOST, **headers})
    return check.SerializeToString()


def signed_request(token: str, body: bytes = b"") -> bytes:
    """A request whose method, URL, token and body are signed (ES256)."""
    method, path = ("POST", "/orders") if body else ("GET", "/accounts/17")
    lines = {"authorization": f"Bearer {token}"}
    if body:
        lines["content-digest"] = f"sha-256={_octets(hashlib.sha256(body).digest())}"
    covered = {"@method": method, "@target-uri": f"https://{HOST}{path}", **lines}
    names = " ".join(f'"{name}"' for name in covered)
    told = f'({names});created={int(time.time())};keyid="ec";tag="fapi-2-request"'
    base = "\n".join([*(f'"{name}": {value}' for name, value in covered.items()), f'"@signature-params": {told}'])
    r, s = decode_dss_signature(SIGNER.sign(base.encode(), ec.ECDSA(hashes.SHA256())))
    signature = _octets(r.to_bytes(32) + s.to_bytes(32))
    headers = {**lines, "signature-input": f"sig={told}", "signature": f"sig={signature}"}
    return question(method, path, headers, body)


def payment(token: str, number: int, size: int) -> bytes:
    """A signed payment (PS256) of about so many bytes."""
    entry = {"amount": "12.50", "currency": "BRL", "creditor": "x" * 20}
    data = [entry] * max(1, size * 3 // 4 // len(json.dumps(entry)) - 8)
    claims = {"aud": f"https://{HOST}/payments", "iss": ORGANISATION, "iat": int(time.time()), "jti": f"p-{number}"}
    body = jwt.encode({**claims, "data": data}, PAYER, "PS256", {"kid": "rsa"}).encode()
    return question("POST", "/payments", {"authorization": f"Bearer {token}", "content-type": "application/jwt"}, body)


def payments(token: str, count: int, size: int) -> Iterator[bytes]:
    """One after the other, each to be used once."""
    return (payment(token, number, size) for number in range(count))


def odd_fields(token: str) -> list[bytes]:
    """Signature fields of 8 KiB that take longest to be refused."""
    texts = ('sig=("' + "x" * 8000, "sig=(" + '"a" ' * 2000, "sig=:" + "A" * 8000, "sig=(" + " " * 8000)
    headers = {"authorization": f"Bearer {token}", "signature": "sig=:AAAA:"}
    return [question("GET", "/accounts/17", {**headers, "signature-input": text}) for text in texts]


def _octets(value: bytes) -> str:
    return f":{base64.b64encode(value).decode()}:"
