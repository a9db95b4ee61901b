"""The demo's issuer: publishes a JWKS and discovery document as a Keycloak realm does.

Its key is made at start (`extauthz token keygen`) for the one who mints the demo's tokens; it is nobody's secret.
"""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from loopback import parser, serve

REALM = "/realms/banking-system"
CERTS = f"{REALM}/protocol/openid-connect/certs"


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


def make_keys(folder: Path) -> bytes:
    """Write key.pem and jwks.json; the content of the latter."""
    keygen = [sys.executable, "-m", "extauthz", "token", "keygen", "--out", str(folder)]
    subprocess.run(keygen, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    return (folder / "jwks.json").read_bytes()


def documents(base: str, jwks: bytes) -> dict[str, bytes]:
    """What the realm publishes, by path."""
    discovery = {
        "issuer": base + REALM,
        "jwks_uri": base + CERTS,
        "id_token_signing_alg_values_supported": ["PS256"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
    }
    return {CERTS: jwks, f"{REALM}/.well-known/openid-configuration": json.dumps(discovery).encode()}


def main() -> None:
    """Make a key, publish it."""
    cli = parser(__doc__)
    cli.add_argument("--keys", type=Path, required=True, help="folder to write key.pem and jwks.json to; made here")
    options = cli.parse_args()
    jwks = make_keys(options.keys)

    def publish(port: int) -> None:
        Realm.documents = documents(f"http://127.0.0.1:{port}", jwks)

    serve(Realm, options, publish)


if __name__ == "__main__":
    main()
