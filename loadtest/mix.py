"""What a bank's day looks like at the gateway: a weighted mix of good and bad requests, with what each must end in."""

import json
import random
import time
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from extauthz.cli.demo_requests import ACME_FINANCIAL_ID, ADMIN, HOST, MANAGER, OFFICER, THIRD_PARTY, Persona
from extauthz.cli.demo_tokens import LIFETIME, Minter

__all__ = ["HOST", "Mix", "Sample"]


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

    def __init__(self, minter: Minter, users: int = 200, seed: int = 1) -> None:
        """`users` distinct subjects a role are in rotation, so that the token cache sees realistic variety."""
        self._minter = minter
        self._users = users
        self._random = random.Random(seed)
        self._tokens: dict[tuple[str, int], tuple[str, float]] = {}
        self._makers: list[Callable[[int], Sample]] = [
            getattr(self, "_" + kind.replace("-", "_")) for kind, _ in self.KINDS
        ]
        self._weights = list(accumulate(weight for _, weight in self.KINDS))

    def mint_all(self) -> None:
        """Every token that will be needed, so that signing does not delay what is due."""
        expired = OFFICER.but(iat=1_699_999_700, exp=1_700_000_000)
        for persona in (MANAGER, OFFICER, THIRD_PARTY, ADMIN):
            for user in range(self._users):
                self._token(persona, user)
        self._token(expired, 0)

    def save(self, file: Path) -> None:
        """Every token, for another process: signing them all takes seconds."""
        self.mint_all()
        file.write_text(json.dumps([[*slot, *kept] for slot, kept in self._tokens.items()]))

    def load(self, file: Path) -> None:
        """Tokens that another process has saved; those that are missing or too old are minted when they are needed."""
        for name, user, token, until in json.loads(file.read_text()):
            self._tokens[name, user] = (token, until)

    def draw(self) -> Sample:
        """The next request."""
        make = self._random.choices(self._makers, cum_weights=self._weights)[0]
        return make(self._random.randrange(self._users))

    def _manager_reads_loan(self, user: int) -> Sample:
        return Sample("manager reads loan", "GET", f"/api/loans/l-{user}", self._as(MANAGER, user), 200)

    def _officer_reads_customer(self, user: int) -> Sample:
        return Sample("officer reads customer", "GET", f"/api/customers/c-{user}", self._as(OFFICER, user), 200)

    def _open_banking_accounts(self, user: int) -> Sample:
        headers = self._as(THIRD_PARTY, user) | {"x-fapi-financial-id": ACME_FINANCIAL_ID}
        return Sample("open banking accounts", "GET", "/open-banking/acme/accounts", headers, 200)

    def _admin_page(self, user: int) -> Sample:
        return Sample("admin page", "GET", "/api/admin/users", self._as(ADMIN, user), 200)

    def _public_health(self, _user: int) -> Sample:
        return Sample("public health", "GET", "/health", {}, 200)

    def _officer_on_loans(self, user: int) -> Sample:
        return Sample("officer on loans", "GET", f"/api/loans/l-{user}", self._as(OFFICER, user), 403)

    def _other_tenant(self, user: int) -> Sample:
        headers = self._as(OFFICER, user) | {"x-tenant-id": "globex"}
        return Sample("other tenant", "GET", f"/api/customers/c-{user}", headers, 403)

    def _no_token(self, user: int) -> Sample:
        return Sample("no token", "GET", f"/api/customers/c-{user}", {}, 401)

    def _expired_token(self, user: int) -> Sample:
        expired = OFFICER.but(iat=1_699_999_700, exp=1_700_000_000)
        return Sample("expired token", "GET", f"/api/customers/c-{user}", self._as(expired, 0), 401)

    def _forged_token(self, user: int) -> Sample:
        """A new forgery each time: never served from a cache, always a signature to check."""
        head, body, signature = self._token(MANAGER, user).split(".")
        cut = self._random.randrange(1, len(signature) - 2)
        other = "A" if signature[cut] != "A" else "B"
        forged = f"{head}.{body}.{signature[:cut]}{other}{signature[cut + 1 :]}"
        return Sample("forged token", "GET", f"/api/loans/l-{user}", {"authorization": f"Bearer {forged}"}, 401)

    def _ambiguous_path(self, user: int) -> Sample:
        return Sample("ambiguous path", "GET", "/api/%252e%252e/admin", self._as(MANAGER, user), 400)

    def _as(self, persona: Persona, user: int) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token(persona, user)}"}

    def _token(self, persona: Persona, user: int) -> str:
        """One token a person, used for half of its life as clients do."""
        slot = (f"{persona.claims['sub']}-{persona.claims.get('exp', '')}", user)
        token, until = self._tokens.get(slot, ("", 0.0))
        if until < time.time():
            token = self._minter.mint(persona.claims | {"sub": f"{persona.claims['sub']}-{user}"})
            self._tokens[slot] = (token, time.time() + LIFETIME / 2)
        return token
