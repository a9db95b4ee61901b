"""A decision point in memory: a bundle, real keys for its issuers, and one function that asks like Envoy does."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
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

INTERACTION = "93bac548-d2de-4546-b106-880a5018460d"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
PUBLIC = {
    "ES256": json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key())),
    "PS256": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key())),
}
PUBLIC["RS256"] = PUBLIC["PS256"]
PRIVATE = {"ES256": EC_KEY, "PS256": RSA_KEY, "RS256": RSA_KEY}


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
        ok, denied = self.response.ok_response, self.response.denied_response
        return [
            (o.header.key, o.header.value) for o in (ok.response_headers_to_add if self.allowed else denied.headers)
        ]


class Engine:
    """Bytes in, bytes out, no server: `read_check`, `decide` and `write_answer` as the handler calls them."""

    def __init__(self, files: Mapping[str, bytes], inbound: InboundOptions | None = None) -> None:
        self.inbound = inbound or InboundOptions()
        built = read_bundle(files, NoTokenCache())
        self.issuers = {issuer.name: issuer for issuer in built.issuers}
        self.algorithm = {name: next(a for a in i.algorithms if a in PUBLIC) for name, i in self.issuers.items()}
        keys = {name: self._keys(name) for name in self.issuers}
        self.world = replace(built.snapshot, keys=keys)

    def _keys(self, name: str) -> Any:
        algorithm = self.algorithm[name]
        jwks = {"keys": [{**PUBLIC[algorithm], "kid": "k1", "alg": algorithm, "use": "sig"}]}
        keys, dropped = parse_jwks(json.dumps(jwks).encode(), self.issuers[name])
        assert dropped == []
        return keys

    def sign(self, issuer: str, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """A token of that issuer over exactly these claims."""
        algorithm = self.algorithm[issuer]
        return jwt.encode(
            dict(claims), PRIVATE[algorithm], algorithm=algorithm, headers={"kid": "k1", **(headers or {})}
        )

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        host: str = "",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        raw_headers: list[tuple[str, bytes]] | None = None,
        principal: str = "",
        change: Callable[[external_auth_pb2.CheckRequest], None] | None = None,
    ) -> Answer:
        """Ask about one request as Envoy would; `raw_headers` selects the `header_map` mode."""
        check = external_auth_pb2.CheckRequest()
        attributes = check.attributes
        attributes.source.address.socket_address.address = "192.0.2.7"
        attributes.source.address.socket_address.port_value = 40000
        attributes.source.principal = principal
        http = attributes.request.http
        http.id, http.method, http.path, http.host = "1", method, path, host
        http.scheme, http.protocol = "http", "HTTP/1.1"
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
        context = AnswerContext(
            decision_id="d" * 32, interaction_id=INTERACTION, revision=self.world.revision, facts=asked.facts
        )
        response = external_auth_pb2.CheckResponse.FromString(write_answer(decision, context, OutboundOptions()))
        assert (response.status.code == 0) == isinstance(decision, Allow)
        return Answer(decision, response)


def load(folder: Path) -> dict[str, bytes]:
    """The files of a bundle as the server would read them."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.*")) if p.is_file()}
