"""What a bank's day looks like at the gateway: a weighted mix of good and bad requests, with what each must end in."""

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jwt

HOST = "api.banking.local"
AUDIENCE = "banking-microservices"


class Sample(NamedTuple):
    """One request of the mix, ready to be sent."""

    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    expected: int  # HTTP status


class Mix:
    """Draws requests; every token is real, and is minted anew before it expires."""

    # name, weight
    KINDS = (
        ("manager-reads-loan", 30),
        ("officer-reads-customer", 25),
        ("open-banking-accounts", 15),
        ("admin-page", 2),
        ("public-health", 5),
        ("officer-on-loans", 5),
        ("other-tenant", 5),
        ("no-token", 4),
        ("expired-token", 4),
        ("forged-token", 4),
        ("ambiguous-path", 1),
    )

    def __init__(self, key_file: Path, issuer: str, users: int = 200, seed: int = 1) -> None:
        """`users` distinct subjects a role are in rotation, so that the token cache sees realistic variety."""
        self._key = key_file.read_bytes()
        self._issuer = issuer
        self._users = users
        self._random = random.Random(seed)
        self._tokens: dict[tuple[str, str, int], tuple[str, float]] = {}

    def draw(self) -> Sample:
        """The next request."""
        kinds, weights = zip(*self.KINDS, strict=True)
        kind = self._random.choices(kinds, weights)[0]
        user = self._random.randrange(self._users)
        sample: Sample = getattr(self, "_" + kind.replace("-", "_"))(user)
        return sample

    def _manager_reads_loan(self, user: int) -> Sample:
        return Sample("manager reads loan", "GET", f"/api/loans/l-{user}", self._as("banking-manager", user), 200)

    def _officer_reads_customer(self, user: int) -> Sample:
        return Sample(
            "officer reads customer", "GET", f"/api/customers/c-{user}", self._as("banking-officer", user), 200
        )

    def _open_banking_accounts(self, user: int) -> Sample:
        headers = self._as("banking-officer", user) | {"x-fapi-financial-id": FINANCIAL_IDS["acme"]}
        return Sample("open banking accounts", "GET", "/open-banking/acme/accounts", headers, 200)

    def _admin_page(self, user: int) -> Sample:
        return Sample("admin page", "GET", "/api/admin/users", self._as("banking-admin", user), 200)

    def _public_health(self, _user: int) -> Sample:
        return Sample("public health", "GET", "/health", {}, 200)

    def _officer_on_loans(self, user: int) -> Sample:
        return Sample("officer on loans", "GET", f"/api/loans/l-{user}", self._as("banking-officer", user), 403)

    def _other_tenant(self, user: int) -> Sample:
        headers = self._as("banking-officer", user) | {"x-tenant-id": "globex"}
        return Sample("other tenant", "GET", f"/api/customers/c-{user}", headers, 403)

    def _no_token(self, user: int) -> Sample:
        return Sample("no token", "GET", f"/api/customers/c-{user}", {}, 401)

    def _expired_token(self, user: int) -> Sample:
        token = self._token("banking-officer", user, ttl=-3600)
        return Sample("expired token", "GET", f"/api/customers/c-{user}", {"authorization": f"Bearer {token}"}, 401)

    def _forged_token(self, user: int) -> Sample:
        """A new forgery each time: never served from a cache, always a signature to check."""
        head, body, signature = self._token("banking-manager", user).split(".")
        cut = self._random.randrange(1, len(signature) - 2)
        other = "A" if signature[cut] != "A" else "B"
        forged = f"{head}.{body}.{signature[:cut]}{other}{signature[cut + 1 :]}"
        return Sample("forged token", "GET", f"/api/loans/l-{user}", {"authorization": f"Bearer {forged}"}, 401)

    def _ambiguous_path(self, user: int) -> Sample:
        return Sample("ambiguous path", "GET", "/api/%252e%252e/admin", self._as("banking-manager", user), 400)

    def _as(self, role: str, user: int) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token(role, user)}"}

    def _token(self, role: str, user: int, ttl: int = 600) -> str:
        slot = (role, "acme", user if ttl > 0 else -1)
        token, until = self._tokens.get(slot, ("", 0.0))
        if until > time.time():
            return token
        token = mint(self._key, self._issuer, f"{role}-{user}", [role], "acme", ttl)
        self._tokens[slot] = (token, time.time() + abs(ttl) / 2)
        return token


FINANCIAL_IDS = {"acme": "0015800001041RHAAY"}


def mint(key: bytes, issuer: str, subject: str, roles: list[str], tenant: str, ttl: int, **claims: Any) -> str:  # noqa: ANN401 - JSON values
    """A token of the shape Keycloak issues."""
    now = int(time.time())
    body = {
        "iss": issuer, "aud": AUDIENCE, "sub": subject, "azp": "load-test", "typ": "Bearer", "jti": f"{subject}-{now}",
        "iat": now - 7200 if ttl < 0 else now, "exp": now + ttl, "tenant_id": tenant, "realm_access": {"roles": roles},
        "scope": "accounts payments openid", **claims,
    }  # fmt: skip
    algorithm = "ES256" if b"EC PRIVATE" in key else "PS256"
    return jwt.encode(body, key, algorithm=algorithm, headers={"kid": "demo"})
