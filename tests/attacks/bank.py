"""A small bank under attack: a bundle, an issuer with real keys, and one function that asks like Envoy does."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle import read_bundle
from extauthz.check import decide
from extauthz.identity import parse_jwks
from extauthz.model.decision import Allow, Decision
from extauthz.model.ports import NoTokenCache
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, read_check, write_answer

ISSUER = "https://idp.bank.test/realms/bank"
AUDIENCE = "bank"
HOST = "api.bank.test"
BUNDLE = Path(__file__).parent / "bundle"


class Answer(Struct, frozen=True):
    """What Envoy would read, beside what we decided."""

    decision: Decision
    response: external_auth_pb2.CheckResponse

    @property
    def allowed(self) -> bool:
        """What Envoy does: only a non-zero status denies (whatever else the response holds)."""
        return self.response.status.code == 0

    @property
    def reason(self) -> str:
        return self.decision.reason.code

    @property
    def http_status(self) -> int:
        return self.response.denied_response.status.code

    @property
    def set_upstream(self) -> dict[str, str]:
        return {o.header.key: o.header.value for o in self.response.ok_response.headers}

    @property
    def removed_upstream(self) -> set[str]:
        return set(self.response.ok_response.headers_to_remove)

    @property
    def to_client(self) -> list[tuple[str, str]]:
        options = (
            self.response.ok_response.response_headers_to_add if self.allowed else self.response.denied_response.headers
        )
        return [(o.header.key, o.header.value) for o in options]


class Bank:
    """The decision point of the bank in memory: bytes in, bytes out, no server."""

    def __init__(self, files: Mapping[str, bytes], inbound: InboundOptions | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.inbound = inbound or InboundOptions()
        built = read_bundle(files, NoTokenCache())
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        jwks = {"keys": [{**public, "kid": "k1", "alg": "ES256", "use": "sig"}]}
        keys, dropped = parse_jwks(json.dumps(jwks).encode(), built.issuers[0])
        assert dropped == []
        self.world = replace(built.snapshot, keys={built.issuers[0].name: keys})

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "client_id": "app", "jti": "t-1", "iat": now, "exp": now + 300,
            "tenant_id": "acme", "roles": ["clerk"], "scope": "accounts",
        }  # fmt: skip
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, headers: Mapping[str, Any] | None = None, key: Any = None, alg: str = "ES256", **claims: Any
    ) -> str:
        """A token the bank's issuer signed; keyword arguments change or (None) drop claims."""
        head = {"kid": "k1", "typ": "at+jwt"} | dict(headers or {})
        return jwt.encode(self.claims(**claims), key or self.key, algorithm=alg, headers=head)

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        host: str = HOST,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        raw_headers: list[tuple[str, bytes]] | None = None,
        change: Callable[[external_auth_pb2.CheckRequest], None] | None = None,
    ) -> Answer:
        """Ask about one request as Envoy would; `raw_headers` selects the `header_map` mode."""
        check = external_auth_pb2.CheckRequest()
        attributes = check.attributes
        attributes.source.address.socket_address.address = "192.0.2.7"
        attributes.source.address.socket_address.port_value = 40000
        http = attributes.request.http
        http.id, http.method, http.path, http.host, http.scheme, http.protocol = (
            "1",
            method,
            path,
            host,
            "http",
            "HTTP/1.1",
        )
        plain = {":method": method, ":path": path, ":authority": host} | dict(headers or {})
        if token is not None:
            plain["authorization"] = f"Bearer {token}"
        if raw_headers is None:
            http.headers.update(plain)
        else:
            values = [(k, v.encode()) for k, v in plain.items()] + raw_headers
            http.header_map.headers.extend(base_pb2.HeaderValue(key=k, raw_value=v) for k, v in values)
        if change:
            change(check)
        return self.ask_bytes(check.SerializeToString())

    def ask_bytes(self, raw: bytes) -> Answer:
        """Any bytes, as a hostile peer might send them."""
        asked = read_check(raw, self.inbound)
        decision = decide(asked, self.world, int(time.time()))
        context = AnswerContext(decision_id="d" * 32, interaction_id="93bac548-d2de-4546-b106-880a5018460d",
                                revision=self.world.revision, facts=asked.facts)  # fmt: skip
        response = external_auth_pb2.CheckResponse.FromString(write_answer(decision, context, OutboundOptions()))
        assert (response.status.code == 0) == isinstance(decision, Allow)
        return Answer(decision, response)


def load(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.*")) if p.is_file()}
