"""A small bank under attack: its bundle, its issuer's key and tokens of a clerk."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from tests.engine import EC_KEY, Answer, Engine

ISSUER = "https://idp.bank.test/realms/bank"
HOST = "api.bank.test"
BUNDLE = Path(__file__).parent / "bundle"


class Bank(Engine):
    """The bank's decision point."""

    key = EC_KEY

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A clerk of acme; keyword arguments change or (None) drop claims."""
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": "bank", "sub": "user-1", "client_id": "app", "jti": "t-1", "iat": now, "exp": now + 300,
            "tenant_id": "acme", "roles": ["clerk"], "scope": "accounts",
        }  # fmt: skip
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, headers: Mapping[str, Any] | None = None, key: Any = None, alg: str = "ES256", **claims: Any
    ) -> str:
        """A token that the bank's issuer signed, or whoever holds `key`."""
        head = {"kid": "k1", "typ": "at+jwt"} | dict(headers or {})
        return jwt.encode(self.claims(**claims), key or self.key, algorithm=alg, headers=head)

    def ask(self, path: str = "/", *, host: str = HOST, **request: Any) -> Answer:
        """Ask about a request to the bank's own host."""
        return super().ask(path, host=host, **request)
