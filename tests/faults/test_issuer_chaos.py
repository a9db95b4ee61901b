"""Issuers that are down, lie, redirect, rotate without end or are flooded: what is decided, kept and told meanwhile.

The whole server in this process, its issuer a real HTTP server on loopback; only the clock is ours where hours pass.
The stated rule: keys stay in force until a readable answer replaces them or nobody confirmed them for `staleAfter`
(KEY-03); a token with a key nobody knows is refused, and one fetch in thirty seconds follows (KEY-02).
"""

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.auth.v3 import external_auth_pb2
from prometheus_client.parser import text_string_to_metric_families

from extauthz.app import build
from extauthz.settings import load_settings

CHECK = "/envoy.service.auth.v3.Authorization/Check"
HOUR = 3600
MIB = 1024 * 1024
BUNDLE = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: https://idp.test
  audiences: [api]
  algorithms: [ES256]
  maxLifetime: 7d
  jwks: {uri: "URI"}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: required, issuers: [idp]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: callers}
spec:
  effect: allow
  rules:
  - name: any
    from: [{requestPrincipals: ["*"]}]
"""


class Handler(BaseHTTPRequestHandler):
    """Answers whatever the test set."""

    idp: ClassVar[Any]

    def do_GET(self) -> None:
        self.idp.asked += 1
        try:
            self.idp.respond(self)
        except OSError:
            self.close_connection = True  # the client had enough, as it should

    def log_message(self, *_: Any) -> None:
        pass


Respond = Callable[[BaseHTTPRequestHandler], None]


def body(content: bytes, status: int = 200, **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return respond


class Key:
    """A signing key of the issuer."""

    def __init__(self, key_id: str) -> None:
        self.id, self.private = key_id, ec.generate_private_key(ec.SECP256R1())
        self.jwk = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key())), "kid": key_id}

    def token(self, now: float, number: int = 0, key_id: str = "") -> str:
        claims = {
            "iss": "https://idp.test",
            "aud": "api",
            "sub": "alice",
            "client_id": "app",
            "jti": f"t-{number}",
            "iat": int(now),
            "exp": int(now) + 2 * 24 * HOUR,
        }
        return jwt.encode(claims, self.private, "ES256", {"kid": key_id or self.id, "typ": "at+jwt"})


def key_set(*keys: Key) -> Respond:
    return body(json.dumps({"keys": [key.jwk for key in keys]}).encode())


class Issuer:
    """A real HTTP server on loopback that can be stopped and started on its port."""

    def __init__(self, respond: Respond) -> None:
        self.respond, self.asked = respond, 0
        self._handler = type("Own", (Handler,), {"idp": self})
        self._port = 0
        self.up()

    def up(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/certs"


class Site:
    """The server under test, its issuer, and a clock that can be moved."""

    def __init__(self, directory: Path) -> None:
        self.key = Key("k1")
        self.issuer = Issuer(key_set(self.key))
        self.ahead, self._frozen = 0.0, 0.0
        bundle = directory / "bundle"
        bundle.mkdir()
        (bundle / "bundle.yaml").write_text(BUNDLE.replace("URI", self.issuer.url))
        values = {
            "listen.address": "127.0.0.1:0",
            "admin.address": "127.0.0.1:0",
            "bundle.directory": bundle,
            "journal.directory": directory / "journal",
            "jwks.allowHttpLoopback": "true",
            "jwks.timeoutSeconds": 0.5,
            "jwks.retrySeconds": 0.01,
            "transport.drainDelaySeconds": 0,
        }
        settings = load_settings(None, {}, [f"{key}={value}" for key, value in values.items()])
        self.server = build(settings, self.now, self.ticks)
        self.addresses = self.server.start()
        self.channel = grpc.insecure_channel(self.addresses.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
        self._ask = self.channel.unary_unary(CHECK)
        until(lambda: self.metric("extauthz_jwks_keys") == 1)
        self.kept = self.key.token(self.now())  # cached from here on
        self.number = 0
        assert "policy_allowed" == self.ask(self.kept)

    def now(self) -> float:
        return time.time() + self.ahead

    def ticks(self) -> float:
        return (self._frozen or time.monotonic()) + self.ahead

    def freeze(self) -> None:
        """From now on the source's time passes only where the test says so."""
        self._frozen = time.monotonic()

    def ask(self, token: str) -> str:
        check = external_auth_pb2.CheckRequest()
        http = check.attributes.request.http
        http.method, http.path, http.host = "GET", "/a", "api.test"
        http.headers.update(
            {":method": "GET", ":path": "/a", ":authority": "api.test", "authorization": f"Bearer {token}"}
        )
        raw = self._ask(check.SerializeToString())  # without a deadline, which would be by the real clock
        answer = external_auth_pb2.CheckResponse.FromString(raw)
        reason = answer.dynamic_metadata.fields["reason"].string_value
        assert (answer.status.code == 0) == (reason == "policy_allowed")
        return reason

    def decisions(self, key: Key | None = None) -> set[str]:
        """What becomes of a token that is cached and of one never seen before."""
        self.number += 1
        return {self.ask(self.kept), self.ask((key or self.key).token(self.now(), self.number))}

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the issuer's, 0 when there is none."""
        text = httpx.get(f"http://{self.addresses.admin}/metrics").text
        wanted = {"issuer": "idp", **labels}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and wanted.items() <= sample.labels.items():
                    return sample.value
        return 0

    def refreshes(self, result: str) -> float:
        return self.metric("extauthz_jwks_refreshes_total", result=result)

    def later(self, seconds: float, result: str = "failed", *, recovered: bool = False) -> None:
        """Let time pass until the next fetch that is due has ended; `recovered`: the issuer is back from now on."""
        before = self.refreshes(result)
        if recovered:
            self.issuer.up()  # not before the count: a fetch may be due at once
        self.ahead += seconds
        until(lambda: self.refreshes(result) > before)

    def stop(self) -> None:
        self.channel.close()
        self.server.stop(lambda _: True)
        self.issuer.down()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def memory() -> Iterator[Callable[[], tuple[int, int]]]:
    """Bytes more than at the start: (now, at the worst moment)."""
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()

    def grown() -> tuple[int, int]:
        now, peak = tracemalloc.get_traced_memory()
        return now - start, peak - start

    yield grown
    tracemalloc.stop()


def test_key_03_an_issuer_that_is_down_for_an_hour_stops_nobody(site: Site) -> None:
    site.issuer.down()
    for quarter in range(1, 5):
        site.later(HOUR / 4)
        assert {"policy_allowed"} == site.decisions()
        assert quarter * HOUR / 4 <= site.metric("extauthz_jwks_age_seconds") < quarter * HOUR / 4 + 60
        assert 1 == site.metric("extauthz_jwks_keys")
    site.later(60, "unchanged", recovered=True)
    assert site.metric("extauthz_jwks_age_seconds") < 60
    assert {"policy_allowed"} == site.decisions()


def test_key_03_an_issuer_that_is_down_for_too_long_is_no_longer_believed_nor_is_it_the_clients_fault(
    site: Site,
) -> None:
    """503, so that clients keep their tokens; cached tokens are not spared."""
    site.issuer.down()
    site.later(24 * HOUR + 1, "stale")
    assert {"keys_unavailable"} == site.decisions()
    assert (0, 1) == (site.metric("extauthz_jwks_keys"), site.refreshes("stale"))
    site.later(60, "refreshed", recovered=True)
    assert {"policy_allowed"} == site.decisions()
    assert 1 == site.metric("extauthz_jwks_keys")


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.02)


GARBAGE: dict[str, Respond] = {
    "a page": body(b"<html>we will be back soon</html>", content_type="text/html"),
    "nothing": body(b""),
    "half a document": body(b'{"keys": [{"kty": "EC"'),
    "two readings": body(b'{"keys": [], "keys": []}'),
    "no keys": body(b'{"jwks": []}'),
    "a number without value": body(b'{"keys": [NaN]}'),
    "depth": body(b'{"keys": ' + b"[" * 100_000),
    "bytes": body(bytes(range(256)) * 100),
    "a bomb": body(b"\x1f\x8b" + b"\0" * 1000, content_encoding="gzip"),
    "five megabytes": body(b" " * 5 * MIB),
    "an error": body(b'{"error": "server_error"}', 500),
    "no end": trickle,
}


def test_t56_an_issuer_that_serves_garbage_changes_nothing_and_is_not_remembered(
    site: Site, memory: Callable[[], tuple[int, int]]
) -> None:
    for failures, (name, respond) in enumerate(GARBAGE.items(), start=1):
        site.issuer.respond = respond
        site.later(400 if failures == 1 else 61)
        assert {"policy_allowed"} == site.decisions(), name
        assert 1 == site.metric("extauthz_jwks_keys"), name
    assert site.refreshes("failed") >= len(GARBAGE)
    assert site.metric("extauthz_jwks_age_seconds") > 60 * len(GARBAGE)
    kept, _ = memory()
    assert kept < 8 * MIB
    site.issuer.respond = key_set(site.key)
    site.later(61, "unchanged")


def a_key(number: int) -> str:
    return f'{{"kty":"EC","crv":"P-256","kid":"k{number}","x":"{"A" * 43}","y":"{"A" * 43}"}}'


@pytest.mark.parametrize("member", ["{}", "null", "a key"])
def test_key_03_an_issuer_of_a_hundred_thousand_keys_is_refused_whole(
    site: Site, memory: Callable[[], tuple[int, int]], member: str
) -> None:
    """Whether the document is too long or only its list; reading it costs no more than a few copies of the limit."""
    members = (a_key(number) if member == "a key" else member for number in range(100_000))
    site.issuer.respond = body(f'{{"keys":[{",".join(members)}]}}'.encode())
    _, before = memory()
    site.later(400)
    kept, peak = memory()
    assert {"policy_allowed"} == site.decisions()
    assert 1 == site.metric("extauthz_jwks_keys")
    assert peak - before < 40 * MIB
    assert kept - before < 16 * MIB


def test_t56_key_01_an_issuer_that_redirects_does_not_choose_the_keys(site: Site) -> None:
    evil = Key("k1")
    elsewhere = Issuer(key_set(evil))
    try:
        for status in (301, 302, 303, 307, 308):
            site.issuer.respond = body(b"", status, location=elsewhere.url)
            site.later(400 if status == 301 else 61)
            assert {"policy_allowed"} == site.decisions()
            assert "token_signature_invalid" == site.ask(evil.token(site.now(), site.number))
        assert (0, 1) == (elsewhere.asked, site.metric("extauthz_jwks_keys"))
    finally:
        elsewhere.down()


def test_key_02_an_issuer_that_rotates_every_second_is_asked_every_thirty(
    site: Site, memory: Callable[[], tuple[int, int]]
) -> None:
    """A key in force stays good until a fetch takes it away; a newer one is good from the next fetch on."""
    site.freeze()
    site.later(400, "unchanged")
    in_force, asked = site.key, site.issuer.asked
    for second in range(1, 121):
        published = Key(f"k{second + 1}")
        site.issuer.respond = key_set(published)
        site.ahead += 1
        assert "token_key_unknown" == site.ask(published.token(site.now(), second))
        if second % 30 == 0:
            until(lambda key=published: site.ask(key.token(site.now())) == "policy_allowed")  # type: ignore[misc]
            assert "token_key_unknown" == site.ask(in_force.token(site.now(), second))
            assert "token_key_unknown" == site.ask(site.kept)  # in the cache, but its key was taken away
            in_force = published
        assert "policy_allowed" == site.ask(in_force.token(site.now(), second))
    assert 120 / 30 == site.issuer.asked - asked
    assert 120 / 30 + 1 == site.refreshes("refreshed")
    assert 1 == site.metric("extauthz_jwks_keys")
    assert memory()[0] < 8 * MIB


def test_t56_key_02_a_storm_of_unknown_keys_leads_to_one_fetch_and_no_growth(
    site: Site, memory: Callable[[], tuple[int, int]]
) -> None:
    forged = Key("forged")
    site.ahead += 31
    now, asked = site.now(), site.issuer.asked
    storm = [forged.token(now, number, f"unknown-{number}") for number in range(3000)]
    before, _ = memory()
    with ThreadPoolExecutor(8) as pool:
        refused = pool.map(site.ask, storm)
        good = [site.decisions() for _ in range(50)]
        assert {"token_key_unknown"} == set(refused)
    assert [{"policy_allowed"}] * 50 == good
    until(lambda: site.issuer.asked > asked)
    assert 1 == site.issuer.asked - asked
    assert 3000 == site.metric("extauthz_token_verifications_total", result="token_key_unknown")
    assert 1 == site.metric("extauthz_jwks_keys")
    assert memory()[0] - before < 8 * MIB
