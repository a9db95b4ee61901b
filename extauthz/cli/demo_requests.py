"""The demo's requests: what is asked, by whom, and what must come of it.

Each shows one thing that the bank in examples/banking relies on.
"""

from typing import Any

from msgspec import Struct

from extauthz.cli.demo_tokens import Forgery

HOST = "api.banking.local"
INTERACTION = "93bac548-d2de-4546-b106-880a5018460d"
ACME_FINANCIAL_ID = "0015800001041RHAAY"  # as registered in examples/banking/data/tenants.yaml


class Persona(Struct, frozen=True):
    """Somebody with a token: claims over the issuer's usual ones."""

    claims: dict[str, Any]
    forgery: Forgery = ""

    def but(self, forgery: Forgery = "", **claims: Any) -> "Persona":  # noqa: ANN401 - claims are JSON values
        """The same person with other claims, or with a token that was tampered with."""
        return Persona(self.claims | claims, forgery)


def _staff(name: str, role: str, **claims: Any) -> Persona:  # noqa: ANN401 - claims are JSON values
    return Persona({"sub": name, "tenant_id": "acme", "realm_access": {"roles": [role]}, **claims})


MANAGER = _staff("manager-1", "banking-manager")
OFFICER = _staff("officer-1", "banking-officer")
ADMIN = _staff("admin-1", "banking-admin")
TELLER = _staff("teller-1", "banking-teller")
PAYER = _staff("officer-2", "banking-officer", scope="payments", limit=500)
SUPPORT = Persona({"sub": "support-1", "realm_access": {"roles": ["platform-support"]}})
THIRD_PARTY = Persona({"sub": "tpp-1", "tenant_id": "acme", "azp": "tpp-app", "scope": "accounts"})


class Ask(Struct, frozen=True):
    """One named request. Header lines are sent as they stand; `token` adds the authorization header."""

    name: str
    target: str
    reason: str  # of the decision
    status: int = 403
    token: Persona | None = None
    method: str = "GET"
    host: str = HOST
    headers: tuple[tuple[str, str], ...] = ()
    upstream_gets: tuple[tuple[str, str], ...] = ()  # headers that must reach the upstream, each exactly once
    upstream_lacks: tuple[str, ...] = ()  # headers that must not reach it
    client_gets: tuple[tuple[str, str], ...] = ()  # headers that must be in the answer


def _allowed(name: str, target: str, token: Persona | None, **more: Any) -> Ask:  # noqa: ANN401 - fields of Ask
    return Ask(name, target, "policy_allowed", 200, token, **more)


_FINANCIAL_ID = ("x-fapi-financial-id", ACME_FINANCIAL_ID)
_INTERACTION = ("x-fapi-interaction-id", INTERACTION)
_ACCOUNTS = "/open-banking/acme/accounts"
_TICKET = (("x-tenant-id", "globex"), ("x-support-ticket", "T-1842"))

ASKS = (
    # --- roles
    _allowed("manager reads a loan", "/api/loans/l-17", MANAGER, upstream_gets=(("x-auth-subject", "manager-1"),)),
    _allowed("officer reads a customer", "/api/customers/c-1", OFFICER, upstream_gets=(("x-auth-tenant", "acme"),)),
    Ask("officer reads a loan", "/api/loans/l-17", "no_policy_matched", token=OFFICER),
    Ask("teller of a bank without tellers", "/api/accounts/a-1", "no_policy_matched", token=TELLER),
    _allowed("admin reads the metrics", "/actuator/metrics", ADMIN),
    Ask("admin dumps the heap: deny wins", "/actuator/heapdump", "policy_denied", token=ADMIN),
    Ask("manager deletes a customer", "/api/customers/c-1", "policy_denied", token=MANAGER, method="DELETE"),
    _allowed("payment within the caller's limit", "/api/payments?amount=400", PAYER, method="POST"),
    Ask("payment above the limit", "/api/payments?amount=501", "no_policy_matched", token=PAYER, method="POST"),
    # --- tokens
    Ask("no token", "/api/loans/l-17", "no_credential", 401),
    Ask("expired token", "/api/loans/l-17", "token_expired", 401, MANAGER.but(exp=1_700_000_000, iat=1_699_999_700)),
    Ask("signed by a stranger's key", "/api/loans/l-17", "token_signature_invalid", 401, MANAGER.but("signature")),
    Ask("alg none", "/api/loans/l-17", "token_algorithm_refused", 401, MANAGER.but("none")),
    Ask("token for another audience", "/api/loans/l-17", "token_audience_refused", 401, MANAGER.but(aud="shop")),
    Ask("token in the query", "/api/loans/l-17?access_token=x", "credential_in_query", 400),
    # --- tenants
    Ask("another bank's host", "/api/loans/l-17", "tenant_mismatch", token=MANAGER, host=f"globex.{HOST}"),
    Ask(
        "another bank's name in a header",
        "/api/loans/l-17",
        "tenant_mismatch",
        token=MANAGER,
        headers=(("x-tenant-id", "globex"),),
    ),
    Ask("support without a ticket", "/api/customers/c-9", "tenant_mismatch", token=SUPPORT, headers=_TICKET[:1]),
    _allowed(
        "support with a ticket",
        "/api/customers/c-9",
        SUPPORT,
        headers=_TICKET,
        upstream_gets=(("x-auth-tenant", "globex"), ("x-mask-personal-data", "true")),
    ),
    # --- FAPI
    _allowed(
        "third party with the right financial id",
        _ACCOUNTS,
        THIRD_PARTY,
        headers=(_FINANCIAL_ID, _INTERACTION),
        upstream_gets=(("x-bank", "acme"), _INTERACTION),
        client_gets=(_INTERACTION,),
    ),
    Ask("financial id missing", _ACCOUNTS, "fapi_header_missing", 400, THIRD_PARTY, client_gets=()),
    Ask(
        "another bank's financial id",
        _ACCOUNTS,
        "fapi_financial_id_mismatch",
        400,
        THIRD_PARTY,
        headers=(("x-fapi-financial-id", "0015800000jf9GgAAI"), _INTERACTION),
        client_gets=(_INTERACTION,),
    ),
    # --- what two parsers would read differently
    Ask("path traversal, encoded", "/api/loans/..%2f..%2factuator/env", "path_ambiguous", 400, MANAGER),
    Ask("doubly encoded", "/api/%252e%252e/actuator/env", "path_ambiguous", 400, MANAGER),
    Ask("an empty segment", "//actuator/env", "path_ambiguous", 400, MANAGER),
    _allowed(
        "spoofed identity headers are overwritten",
        "/api/loans/l-17",
        MANAGER,
        headers=(("x-auth-subject", "root"), ("x_auth_subject", "root"), ("x-auth-roles", "banking-admin")),
        upstream_gets=(("x-auth-subject", "manager-1"), ("x-auth-roles", "banking-manager")),
        upstream_lacks=("x_auth_subject",),
    ),
    # --- what no profile covers, and what everybody may see
    Ask("unknown host", "/api/loans/l-17", "no_profile", token=MANAGER, host="admin.internal"),
    _allowed("health, public", "/health", None),
)
