"""Decision points in memory, asked exactly as the server is asked but without a server: for benchmarks.

A point has everything that costs time on the path of a Check: a bundle, its issuer's keys, the token cache, a journal
on the disk, and metrics.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from msgspec import Struct

from extauthz.bundle import read_bundle
from extauthz.handler import Handler, HandlerOptions
from extauthz.identity import parse_jwks
from extauthz.journal import Journal, JournalIdentity, JournalOptions
from extauthz.model.ports import NoTokenCache
from extauthz.sources import GenerationalTokenCache, Live, Ports
from extauthz.telemetry import BundleLabels, Metrics, MetricsOptions
from extauthz.transport import Arrival
from extauthz.wire import InboundOptions, OutboundOptions

KEY = ec.generate_private_key(ec.SECP256R1())
INBOUND, OUTBOUND = InboundOptions(), OutboundOptions()
BANK = Path(__file__).parent.parent / "examples" / "banking"
_BANK_ISSUER = "http://127.0.0.1:9180/realms/banking-system"


class Point:
    """A decision point over the files of a bundle; `close` ends its journal."""

    def __init__(
        self, files: Mapping[str, bytes], tokens: int = 1_000, replay: Literal["off", "attributes"] = "off"
    ) -> None:
        """`tokens`: how many the cache must keep; `replay`: what records keep, see docs/replay.md."""
        built = read_bundle(files, NoTokenCache())
        self.live = Live(Ports(tokens=GenerationalTokenCache(2 * tokens + 2, max_bytes=1 << 30)))
        self.live.activate(built.snapshot, built.issuers)
        for issuer in built.issuers:
            keys, _ = parse_jwks(json.dumps({"keys": [public_key()]}).encode(), issuer)
            self.live.set_keys(issuer.name, keys)
        self.metrics = Metrics(MetricsOptions())
        world = built.snapshot
        self.metrics.set_bundle(
            BundleLabels(
                revision=world.revision,
                digest=world.digest,
                activated_at=time.time(),
                profiles=frozenset(profile.name for profile in world.profiles.profiles),
                tenants=frozenset(world.tenants),
                rules={policy.name: frozenset(policy.rules) for policy in world.policies.policies},
                issuers=frozenset(issuer.name for issuer in built.issuers),
            )
        )
        self._directory = TemporaryDirectory(prefix="extauthz-point-")
        self.directory = Path(self._directory.name)
        options = JournalOptions(directory=self._directory.name, replay=replay)
        self.journal = Journal(options, JournalIdentity(instance="point", boot="1"))
        observers = [self.metrics.observe]
        options_of_answers = HandlerOptions(INBOUND, OUTBOUND)
        self.handler = Handler(self.live, self.journal, observers, options_of_answers, time.time, self.metrics.shed)

    def answer(self, raw: bytes) -> bytes:
        """A whole Check."""
        return self.handler.answer(Arrival(raw))

    def answer_all(self, raws: Sequence[bytes]) -> int:
        """Whole Checks that came at the same time; how many were answered at once."""
        return sum(isinstance(answer, bytes) for answer in self.handler.answer_all([Arrival(raw) for raw in raws]))

    def close(self) -> None:
        """End the journal and remove it."""
        self.journal.close()
        self._directory.cleanup()


def public_key() -> dict[str, str]:
    """The issuer's, as a JWK."""
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k1", "alg": "ES256"}


class Case(Struct, frozen=True):
    """A kind of Check. `{n}` in the path is another thing each time."""

    name: str
    path: str
    claims: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()
    issuer: str = _BANK_ISSUER
    audience: str = "banking-microservices"
    host: str = "api.banking.local"


def _staff(role: str) -> dict[str, Any]:
    return {"tenant_id": "acme", "realm_access": {"roles": [role, "offline_access"]}, "scope": "openid profile"}


BANK_CASES = (
    Case("account", "/api/accounts/a-{n}", _staff("banking-officer")),  # a rule by role
    Case("customer", "/api/customers/c-{n}", _staff("banking-officer")),  # and a deny rule with a condition over data
    Case("loan", "/api/loans/l-{n}", _staff("banking-manager")),  # a rule by role, with a computed obligation
    Case(  # FAPI headers, the tenant by path and financial id, two computed obligations
        "third party",
        "/open-banking/acme/accounts/{n}",
        {"tenant_id": "acme", "azp": "tpp-app", "scope": "openid accounts"},
        (("x-fapi-financial-id", "0015800001041RHAAY"), ("x-fapi-auth-date", "Sun, 10 Sep 2017 19:43:31 GMT")),
    ),
)


def bank(replay: Literal["off", "attributes"] = "off") -> Point:
    """The example bank."""
    files = {str(p.relative_to(BANK)): p.read_bytes() for p in sorted(BANK.rglob("*.*")) if p.is_file()}
    return Point(files, replay=replay)


def token(case: Case, number: int) -> str:
    """The access token of one of many callers, as long as Keycloak's."""
    now = int(time.time())
    claims = {
        "iss": case.issuer, "aud": case.audience, "sub": f"6f0c2f5e-1b7a-4c7e-9a51-{number:012d}", "typ": "Bearer",
        "azp": "mobile-app", "jti": f"onrtac:{number:032x}", "iat": now, "exp": now + 36_000, "acr": "1",
        "sid": f"c3d1e2f0-7777-4c7e-9a51-{number:012d}", "allowed-origins": ["https://app.banking.local"],
        "email_verified": True, "name": "Sam Rivers", "preferred_username": f"sam-{number}", "locale": "en",
        "resource_access": {"account": {"roles": ["manage-account", "manage-account-links", "view-profile"]}},
    }  # fmt: skip
    return jwt.encode(claims | case.claims, KEY, "ES256", headers={"kid": "k1"})


def question(case: Case, credential: str, number: int, headers: int = 22) -> bytes:
    """What a sidecar's Envoy asks about one request, with ids of its own; `headers` may cut or add some."""
    path = case.path.format(n=number)
    check = CheckRequest()
    attributes = check.attributes
    for peer, address, port, account in (
        (attributes.source, "10.244.1.17", 40_000 + number % 100, "mobile-gateway"),
        (attributes.destination, "10.244.2.9", 8080, "accounts"),
    ):
        peer.address.socket_address.address, peer.address.socket_address.port_value = address, port
        peer.principal = f"spiffe://cluster.local/ns/banking/sa/{account}"
    http = attributes.request.http
    http.id, http.method, http.path, http.host = f"{0x17C1F2000000 + number:x}", "GET", path, case.host
    http.scheme, http.protocol = "https", "HTTP/2"
    attributes.request.time.FromSeconds(int(time.time()))
    needed = {
        ":authority": case.host,
        ":method": "GET",
        ":path": path,
        ":scheme": "https",
        "authorization": f"Bearer {credential}",
        "x-fapi-interaction-id": f"93bac548-d2de-4546-b106-{number:012d}",
        **dict(case.headers),
    }
    usual = {
        "accept": "application/json, text/plain, */*",
        "accept-encoding": "gzip, deflate, br",
        "accept-language": "en-GB,en;q=0.9",
        "cache-control": "no-cache",
        "content-type": "application/json",
        "cookie": "consent=1; lang=en; hint=" + "f" * 64,
        "origin": "https://app.banking.local",
        "user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) bank-mobile/7.3",
        "x-envoy-attempt-count": "1",
        "x-envoy-external-address": "203.0.113.7",
        "x-forwarded-client-cert": "By=spiffe://cluster.local/ns/banking/sa/accounts;"
        f'Hash={"5c" * 32};Subject="";URI=spiffe://cluster.local/ns/banking/sa/mobile-gateway',
        "x-forwarded-for": "203.0.113.7, 10.244.1.17",
        "x-forwarded-proto": "https",
        "x-request-id": f"6f1c9d3e-1111-4222-8333-{number:012d}",
        "traceparent": f"00-{number + 1:032x}-b7ad6b7169203331-00",
        "tracestate": "",
    } | {f"x-custom-{at}": "a value of usual length" for at in range(headers)}
    http.headers.update(needed)
    http.headers.update(dict(list(usual.items())[: headers - len(needed)]))
    return bytes(check.SerializeToString())


def questions(case: Case, credentials: Sequence[str], first: int, count: int, headers: int = 22) -> list[bytes]:
    """Different questions, of these callers in rotation."""
    numbers = range(first, first + count)
    return [question(case, credentials[number % len(credentials)], number, headers) for number in numbers]
