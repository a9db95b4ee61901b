"""The demo's issuer: publishes a JWKS and discovery document as a Keycloak realm does.

The key is made at start and written to `--key-file` for the one who mints the demo's tokens; it is nobody's secret.
"""

import base64
import hashlib
import json
import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from loopback import parser, serve

REALM = "/realms/banking-system"
CERTS = f"{REALM}/protocol/openid-connect/certs"


def number(value: int) -> str:
    """RFC 7518 section 2, Base64urlUInt."""
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


def public_jwk(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The public half, its `kid` the RFC 7638 thumbprint."""
    numbers = key.public_key().public_numbers()
    required = {"e": number(numbers.e), "kty": "RSA", "n": number(numbers.n)}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    kid = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {**required, "kid": kid, "alg": "PS256", "use": "sig"}


class Realm(BaseHTTPRequestHandler):
    """GET of the two documents; everything else is 404."""

    protocol_version = "HTTP/1.1"
    server_version = "demo-issuer"
    documents: dict[str, bytes]

    def do_GET(self) -> None:
        """Answer with the document of that path."""
        body = self.documents.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("cache-control", "max-age=60")
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def write_private_key(key: rsa.RSAPrivateKey, file: Path) -> None:
    """PEM, PKCS 8, readable by the owner alone."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(pem)


def documents(base: str, key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    """What the realm publishes, by path."""
    discovery = {
        "issuer": base + REALM,
        "jwks_uri": base + CERTS,
        "id_token_signing_alg_values_supported": ["PS256"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
    }
    return {
        CERTS: json.dumps({"keys": [public_jwk(key)]}).encode(),
        f"{REALM}/.well-known/openid-configuration": json.dumps(discovery).encode(),
    }


def main() -> None:
    """Make a key, publish it."""
    cli = parser(__doc__)
    cli.add_argument("--key-file", type=Path, required=True, help="where to write the private key (PEM)")
    options = cli.parse_args()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    write_private_key(key, options.key_file)

    def publish(port: int) -> None:
        Realm.documents = documents(f"http://127.0.0.1:{port}", key)

    serve(Realm, options, publish)


if __name__ == "__main__":
    main()
