"""Opaque tokens behind a real Envoy: accepted, revoked at the issuer, and while the issuer is dead."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from extauthz.cli.demo_stack import Server, start_server
from tests.authorization_server import AuthorizationServer
from tests.documents import ACCOUNTS, introspected
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

CACHE_SECONDS = 2
TOKEN = "7Fjfp0ZBr1KtDRbnfVdmIw"
BEARER = [("authorization", f"Bearer {TOKEN}")]


class Issuer:
    """An authorization server that can die and come back at the same address."""

    def __init__(self) -> None:
        self.server = AuthorizationServer()
        self.endpoint, self.port = self.server.endpoint, self.server.port
        self.says(
            {"active": True, "sub": "alice", "aud": "accounts", "scope": "accounts", "exp": int(time.time()) + 900}
        )

    def says(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.server.tokens[TOKEN] = answer

    def die(self) -> None:
        self.server.close()

    def return_(self) -> None:
        self.server = AuthorizationServer(port=self.port)
        self.says(self.answer)


@pytest.fixture
def idp() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.die()


@pytest.fixture
def server(tmp_path: Path, idp: Issuer) -> Iterator[Server]:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    cached = f"only: true, cacheSeconds: {CACHE_SECONDS}, negativeCacheSeconds: 0"
    asked = introspected(idp.endpoint, cached, "api.banking.local")
    (bundle / "bundle.yaml").write_text(f"{asked}---{ACCOUNTS}")
    (tmp_path / "secret").write_text("s3cret")
    settings = [
        f"introspection.clients={{bank: {{clientId: rs, clientSecretFile: {tmp_path / 'secret'}}}}}",
        "introspection.allowHttpLoopback=true",
        "introspection.breaker={failures: 3, pauseSeconds: 0.2, pauseMaxSeconds: 0.5}",
    ]
    with ExitStack() as stack:
        yield start_server(tmp_path, stack, bundle, settings)


@pytest.fixture
def gateway(launch_envoy: Launch, server: Server) -> Gateway:
    return launch_envoy(Variant(), authz_port=server.port)


def test_int_05_an_opaque_token_passes_until_its_issuer_revokes_it_and_the_cache_ends(
    gateway: Gateway, idp: Issuer
) -> None:
    first = gateway.h1("/accounts", BEARER)
    assert 200 == first.status
    assert "alice" == first.upstream.header("x-auth-subject")
    assert 200 == gateway.h1("/accounts", BEARER).status
    assert 1 == len(idp.server.asked)
    idp.says({"active": False})
    revoked = time.monotonic()
    while (answer := gateway.h1("/accounts", BEARER)).status == 200:
        assert time.monotonic() - revoked < CACHE_SECONDS + 1
        time.sleep(0.05)
    assert 401 == answer.status
    assert 'error="invalid_token"' in (answer.header("www-authenticate") or "")
    assert 401 == gateway.h1("/accounts", [("authorization", "Bearer forged")]).status


def test_int_01_a_dead_issuer_is_503_with_retry_after_for_new_tokens_and_nothing_for_known_ones(
    gateway: Gateway, idp: Issuer, server: Server
) -> None:
    assert 200 == gateway.h1("/accounts", BEARER).status
    idp.die()
    assert 200 == gateway.h1("/accounts", BEARER).status  # said a moment ago
    for number in range(10):
        answer = gateway.h1("/accounts", [("authorization", f"Bearer new-{number}")])
        assert (503, "1") == (answer.status, answer.header("retry-after"))
        assert not answer.header("www-authenticate")
    time.sleep(CACHE_SECONDS + 0.2)
    assert 503 == gateway.h1("/accounts", BEARER).status
    metrics = httpx.get(f"{server.admin}/metrics").text
    assert 'extauthz_introspections_total{issuer="bank",result="left_alone"}' in metrics
    assert 200 == httpx.get(f"{server.admin}/readyz").status_code  # only its tokens are undecided
    idp.return_()
    back = time.monotonic()
    while gateway.h1("/accounts", BEARER).status != 200:
        assert time.monotonic() - back < 5
        time.sleep(0.05)
