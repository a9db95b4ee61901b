"""Tokens of the demo's issuer: good ones, and the bad ones that an attacker would try.

Signed here with `cryptography` alone, because what is wanted are also tokens that no library would make.
"""

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.cli.demo_stack import Issuer

AUDIENCE = "banking-microservices"
LIFETIME = 3600  # seconds: time enough to try things by hand

Forgery = Literal["", "signature", "none"]


class Minter:
    """Mints tokens in the shape of Keycloak's."""

    def __init__(self, issuer: Issuer) -> None:
        """Reads the issuer's private key and its published `kid`."""
        self._issuer = issuer
        self._key = _rsa(issuer.keys / "key.pem")
        self._stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid: str = json.loads((issuer.keys / "jwks.json").read_text())["keys"][0]["kid"]

    def mint(self, claims: dict[str, Any], forgery: Forgery = "") -> str:
        """A token with these claims over the usual ones; a claim of None is left out."""
        now = int(time.time())
        usual = {
            "iss": self._issuer.name,
            "aud": AUDIENCE,
            "exp": now + LIFETIME,
            "iat": now,
            "jti": str(uuid4()),
            "typ": "Bearer",
            "azp": "mobile-app",
        }
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        header = {"alg": "none" if forgery == "none" else "PS256", "typ": "JWT", "kid": self._kid}
        signed = f"{_segment(header)}.{_segment(payload)}"
        key = self._stranger if forgery else self._key
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
        return f"{signed}.{_base64(key.sign(signed.encode(), pss, hashes.SHA256()))}"


def _rsa(file: Path) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        message = f"{file} holds no RSA key"
        raise TypeError(message)
    return key


def _segment(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
