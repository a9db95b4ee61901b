"""Keys over real HTTP and HTTPS on loopback: checks KEY-01 to KEY-03, and issuers that misbehave."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, ClassVar

import pytest
import trustme

from extauthz.identity import Issuer, KeySet
from extauthz.model.decision import Allow, Deny
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Facts
from extauthz.sources.jwks import JwksOptions, JwksSource, Refresh
from tests.unit.identity.tokens import EC, RSA, an_issuer, jwk

GOOD = json.dumps({"keys": [jwk(EC, kid="first")]}).encode()
ROTATED = json.dumps({"keys": [jwk(RSA, kid="second")]}).encode()
Respond = Callable[[BaseHTTPRequestHandler], None]


def body(content: bytes, status: int = 200, **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return respond


class Handler(BaseHTTPRequestHandler):
    responses: ClassVar[dict[str, Respond]]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        try:
            self.responses.get(self.path, body(b"", 404))(self)
        except OSError:
            self.close_connection = True  # the client left, as it should

    def log_message(self, *_: Any) -> None:
        pass


class IdentityProvider:
    """A server on loopback whose every answer a test chooses."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.responses: dict[str, Respond] = {"/keys": body(GOOD)}
        self.asked: list[str] = []
        handler = type("Own", (Handler,), {"responses": self.responses, "asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.server.server_port}"
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def idp() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    yield provider
    provider.close()


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class World:
    """A source, what it published, and what it told."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.published: list[tuple[str, KeySet]] = []
        self.told: list[Refresh] = []
        options = {"allow_http_loopback": True, "timeout_seconds": 0.5, "retry_seconds": 0.02, **options}
        self.source = JwksSource(
            JwksOptions(**options), lambda name, keys: self.published.append((name, keys)), self.clock, self.told.append
        )

    def run(self, *issuers: Issuer) -> None:
        self.source.set_issuers(issuers)
        self.source.start()

    @property
    def in_force(self) -> list[str]:
        """Key ids last published."""
        return [key.id for key in self.published[-1][1].keys] if self.published else []

    @property
    def results(self) -> list[str]:
        return [refresh.result for refresh in self.told]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.source.stop()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def with_uri(idp: IdentityProvider, name: str = "bank", path: str = "/keys", **fields: Any) -> Issuer:
    return an_issuer(name, jwks={"uri": idp.url + path}, **fields)


def test_keys_are_fetched_at_start_and_published(idp: IdentityProvider, world: World) -> None:
    world.run(with_uri(idp))
    until(lambda: world.results == ["changed"])
    assert ["first"] == world.in_force
    (status,) = world.source.status()
    assert ("bank", 1, "") == (status.issuer, status.keys, status.error)
    assert status.age_seconds is not None
    assert status.age_seconds < 10


def test_key_01_discovery_leads_to_the_keys(idp: IdentityProvider, world: World) -> None:
    metadata = {"issuer": f"{idp.url}/realms/a", "jwks_uri": f"{idp.url}/keys", "other": [1]}
    idp.responses["/realms/a/.well-known/openid-configuration"] = body(json.dumps(metadata).encode())
    world.run(an_issuer(issuer=f"{idp.url}/realms/a"))
    until(lambda: world.results == ["changed"])
    assert ["/realms/a/.well-known/openid-configuration", "/keys"] == idp.asked


def test_key_01_the_slash_at_the_end_of_an_issuer_is_not_doubled(idp: IdentityProvider, world: World) -> None:
    metadata = {"issuer": f"{idp.url}/", "jwks_uri": f"{idp.url}/keys"}
    idp.responses["/.well-known/openid-configuration"] = body(json.dumps(metadata).encode())
    world.run(an_issuer(issuer=f"{idp.url}/"))
    until(lambda: world.results == ["changed"])


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"issuer": "https://evil.test", "jwks_uri": "{url}/keys"}, "speaks for another issuer"),
        ({"issuer": "{url}/", "jwks_uri": "{url}/keys"}, "speaks for another issuer"),
        ({"issuer": "{url}", "jwks_uri": "http://idp.test/keys"}, "must begin with `https://`"),
        ({"issuer": "{url}", "jwks_uri": "file:///etc/passwd"}, "is not a URL"),
        ({"issuer": "{url}", "jwks_uri": "https://a.test/\n"}, "is not a URL"),
        ({"issuer": "{url}", "jwks_uri": 1}, "is not issuer metadata"),
        ({"issuer": "{url}"}, "is not issuer metadata"),
        ([], "is not issuer metadata"),
    ],
)
def test_key_01_metadata_that_is_not_the_issuers_is_refused(
    idp: IdentityProvider, world: World, metadata: object, words: str
) -> None:
    text = json.dumps(metadata).replace("{url}", idp.url).encode()
    idp.responses["/.well-known/openid-configuration"] = body(text)
    world.run(an_issuer(issuer=idp.url))
    until(lambda: "failed" in world.results)
    assert words in world.told[0].detail
    assert world.told[0].detail.isprintable()
    assert "/keys" not in idp.asked
    assert [] == world.published


def test_t56_key_01_redirects_are_not_followed(idp: IdentityProvider, world: World) -> None:
    idp.responses["/moved"] = body(b"", 302, location=f"{idp.url}/keys")
    world.run(with_uri(idp, path="/moved"))
    until(lambda: "failed" in world.results)
    assert "answered 302" in world.told[0].detail
    assert "/keys" not in idp.asked


def test_key_01_plain_http_needs_its_switch_even_on_loopback(idp: IdentityProvider) -> None:
    world = World(allow_http_loopback=False)
    world.run(with_uri(idp))
    until(lambda: "failed" in world.results)
    world.source.stop()
    assert "`allowHttpLoopback` is off" in world.told[0].detail
    assert [] == idp.asked


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure_idp(authority: trustme.CA) -> Iterator[IdentityProvider]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    provider = IdentityProvider(context)
    yield provider
    provider.close()


def test_key_01_keys_come_over_https_from_a_server_that_the_ca_file_vouches_for(
    authority: trustme.CA, secure_idp: IdentityProvider, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    world = World(ca_file=str(ca_file), allow_http_loopback=False, timeout_seconds=3)
    world.run(with_uri(secure_idp))
    until(lambda: bool(world.results))
    world.source.stop()
    assert ["changed"] == world.results, world.told


@pytest.mark.parametrize("other", [True, False])
def test_key_01_a_server_of_an_unknown_authority_is_refused(
    secure_idp: IdentityProvider, tmp_path: Path, other: bool
) -> None:
    """With another CA file, and with the public authorities."""
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    world = World(ca_file=str(ca_file) if other else "", timeout_seconds=3)
    world.run(with_uri(secure_idp))
    until(lambda: "failed" in world.results)
    world.source.stop()
    assert "CERTIFICATE_VERIFY_FAILED" in world.told[0].detail
    assert [] == secure_idp.asked


def test_key_01_a_ca_file_that_cannot_be_used_is_an_error_at_start(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("not a certificate")
    for name in ("missing.pem", "bad.pem"):
        with pytest.raises(OSError, match=r"."):
            World(ca_file=str(tmp_path / name)).run()


def trickle(prefix: bytes, piece: bytes) -> Respond:
    """An answer that never ends, a byte at a time, always just before the timeout."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(prefix)
        for _ in range(400):
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.05)

    return respond


def silent(_: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


MISBEHAVING = {
    "garbage": (body(b"<html>sign in</html>"), "is not a key set"),
    "no keys member": (body(b"{}"), "is not a key set"),
    "500": (body(b"oops", 500), "answered 500"),
    "404": (body(b"", 404), "answered 404"),
    "204": (body(b"", 204), "answered 204"),
    "too big": (body(b" " * (2**20 + 1) + GOOD), "more than 1048576 bytes"),
    "endless": (trickle(b"HTTP/1.1 200 OK\r\n\r\n", b" "), "did not finish within 0.5 s"),
    "endless header": (trickle(b"HTTP/1.1 200 OK\r\nx: ", b"x"), "cannot be reached"),
    "silent": (silent, "did not answer within 0.5 s"),
    "hangs up": (lambda handler: handler.connection.close(), "cannot be reached"),
    "compressed": (body(b"\x1f\x8b", **{"content-encoding": "gzip"}), "encoding that was not asked for"),
    "not http": (lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n") and None, "cannot be reached"),
}


@pytest.mark.parametrize("case", MISBEHAVING)
def test_t56_a_misbehaving_issuer_changes_nothing_and_is_asked_again(
    case: str, idp: IdentityProvider, world: World
) -> None:
    """The last good keys stay in force, the failure is told, and the issuer's recovery is noticed."""
    world.run(with_uri(idp))
    until(lambda: world.results == ["changed"])
    respond, words = MISBEHAVING[case]
    idp.responses["/keys"] = respond
    world.clock.ahead += 400
    world.source.unknown_kid("bank")
    until(lambda: "failed" in world.results)
    failure = next(refresh for refresh in world.told if refresh.result == "failed")
    assert words in failure.detail
    assert 1 == failure.keys
    assert ["first"] == world.in_force
    assert words in world.source.status()[0].error
    idp.responses["/keys"] = body(ROTATED)
    until(lambda: world.results[-1] == "changed")
    assert ["second"] == world.in_force
    assert "" == world.source.status()[0].error


def test_an_unreachable_issuer_is_asked_again_until_it_answers(world: World) -> None:
    gone = IdentityProvider()
    issuer = with_uri(gone)
    gone.close()
    world.run(issuer)
    until(lambda: world.results.count("failed") >= 3)
    assert [] == world.published
    assert (0, None) == (world.source.status()[0].keys, world.source.status()[0].age_seconds)


def test_failures_are_followed_by_ever_longer_pauses(idp: IdentityProvider) -> None:
    world = World(retry_seconds=0.05, retry_max_seconds=60.0)
    idp.responses["/keys"] = body(b"", 500)
    world.run(with_uri(idp))
    time.sleep(1.2)
    world.source.stop()
    assert 3 <= len(idp.asked) <= 7  # 0.05, 0.1, 0.2, 0.4, 0.8 s, each halved at most


def test_one_slow_issuer_does_not_hold_up_another(idp: IdentityProvider, world: World) -> None:
    idp.responses["/slow"] = silent
    world.run(with_uri(idp, "slow", "/slow", issuer="https://slow.test"), with_uri(idp))
    until(lambda: world.results == ["changed"], seconds=0.45)
    assert "bank" == world.told[0].issuer


def test_a_rotated_key_replaces_the_old_one_at_the_next_refresh(idp: IdentityProvider, world: World) -> None:
    world.run(with_uri(idp))
    until(lambda: world.in_force == ["first"])
    idp.responses["/keys"] = body(ROTATED)
    world.clock.ahead += 400
    until(lambda: world.in_force == ["second"])


def test_unchanged_keys_are_not_published_again(idp: IdentityProvider, world: World) -> None:
    world.run(with_uri(idp))
    until(lambda: world.results == ["changed"])
    world.clock.ahead += 400
    until(lambda: world.results == ["changed", "unchanged"])
    assert 1 == len(world.published)


def test_a_set_without_usable_keys_takes_the_old_ones_out_of_force(idp: IdentityProvider, world: World) -> None:
    """What the issuer no longer publishes it no longer vouches for."""
    world.run(with_uri(idp))
    until(lambda: world.in_force == ["first"])
    idp.responses["/keys"] = body(b'{"keys":[{"kty":"oct","k":"x"}]}')
    world.clock.ahead += 400
    until(lambda: len(world.published) == 2)
    assert [] == world.in_force
    until(lambda: len(world.told) == 2)
    assert "symmetric" in world.told[-1].detail
    assert "the issuer publishes no usable key" == world.source.status()[0].error


def test_t56_key_02_an_unknown_key_id_leads_to_one_fetch_however_many_tokens_name_one(
    idp: IdentityProvider, world: World
) -> None:
    world.run(with_uri(idp))
    until(lambda: world.results == ["changed"])
    idp.responses["/keys"] = body(ROTATED)
    world.clock.ahead += 31
    threads = [Thread(target=lambda: [world.source.unknown_kid("bank") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: world.in_force == ["second"])
    for _ in range(500):
        world.source.unknown_kid("bank")
    time.sleep(0.1)
    assert 2 == len(idp.asked)


def test_key_02_hints_within_thirty_seconds_of_a_fetch_are_ignored(idp: IdentityProvider, world: World) -> None:
    world.run(with_uri(idp))
    until(lambda: world.results == ["changed"])
    world.clock.ahead += 25
    world.source.unknown_kid("bank")
    world.source.unknown_kid("nobody")
    time.sleep(0.1)
    assert 1 == len(idp.asked)


def test_key_02_the_hint_comes_from_decisions(idp: IdentityProvider, world: World) -> None:
    def record(decision: Allow | Deny) -> DecisionRecord:
        return DecisionRecord("d", "i", "client", 0.0, 0.0, "r", "d", Facts(), decision, 200)

    world.run(with_uri(idp))
    until(lambda: world.results == ["changed"])
    world.clock.ahead += 31
    world.source.watch(record(Allow()))
    world.source.watch(record(Deny(Reason.TOKEN_EXPIRED, issuer="bank")))
    time.sleep(0.05)
    assert 1 == len(idp.asked)
    world.source.watch(record(Deny(Reason.TOKEN_KEY_UNKNOWN, "JWT-03", issuer="bank")))
    until(lambda: len(idp.asked) == 2)


def test_key_03_keys_that_nobody_confirmed_for_too_long_are_withdrawn(idp: IdentityProvider, world: World) -> None:
    world.run(with_uri(idp))
    until(lambda: world.in_force == ["first"])
    idp.responses["/keys"] = body(b"", 500)
    world.clock.ahead += 24 * 3600 - 60
    until(lambda: "failed" in world.results)
    assert ["first"] == world.in_force
    world.clock.ahead += 120
    until(lambda: "withdrawn" in world.results)
    assert [] == world.in_force
    idp.responses["/keys"] = body(GOOD)
    world.clock.ahead += 120
    until(lambda: world.in_force == ["first"])


def test_issuers_with_a_file_are_left_to_the_bundle(idp: IdentityProvider, world: World) -> None:
    world.run(an_issuer(jwks={"file": "keys.json"}))
    time.sleep(0.05)
    assert () == world.source.status()
    assert [] == idp.asked


def test_issuers_come_and_go_with_the_bundle(idp: IdentityProvider, world: World) -> None:
    bank, shop = with_uri(idp), with_uri(idp, "shop", issuer="https://shop.test")
    world.run(bank)
    until(lambda: world.in_force == ["first"])
    world.source.set_issuers([bank, shop])
    until(lambda: ("shop", "changed") in [(refresh.issuer, refresh.result) for refresh in world.told])
    assert 2 == len(idp.asked)  # the unchanged one is not fetched again
    world.source.set_issuers([shop])
    assert ["shop"] == [status.issuer for status in world.source.status()]


def test_known_keys_are_published_again_with_a_new_bundle(idp: IdentityProvider, world: World) -> None:
    """A bundle that came and went in between may have made the live snapshot forget them."""
    bank = with_uri(idp)
    world.run(bank)
    until(lambda: world.in_force == ["first"])
    world.source.set_issuers([bank])
    assert 2 == len(world.published)


def test_keys_of_a_replaced_document_are_never_published(idp: IdentityProvider, world: World) -> None:
    """A fetch under way when the document changes ends in nothing."""
    asked, go = Event(), Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        go.wait(5)
        body(GOOD)(handler)

    idp.responses["/slow"] = slowly
    idp.responses["/new"] = body(ROTATED)
    world.run(with_uri(idp, path="/slow"))
    assert asked.wait(5)
    replaced = with_uri(idp, path="/new")
    world.source.set_issuers([replaced])
    go.set()
    until(lambda: world.in_force == ["second"])
    time.sleep(0.1)
    assert [replaced.digest] == [keys.issuer_digest for _, keys in world.published]


def test_stop_ends_the_threads_even_in_the_middle_of_a_fetch(idp: IdentityProvider, world: World) -> None:
    idp.responses["/keys"] = MISBEHAVING["endless"][0]
    world.run(with_uri(idp))
    until(lambda: len(idp.asked) == 1)
    started = time.monotonic()
    world.source.stop()
    assert time.monotonic() - started < 1
    assert world.source._keeper is not None
    assert not world.source._keeper.is_alive()
    assert [] == world.published
