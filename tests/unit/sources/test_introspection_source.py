"""Asking issuers about tokens: real servers on loopback, whatever they answer; one call a token; nobody waits in vain."""

import socket
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from msgspec import convert

from extauthz.identity import Issuer, IssuerSpec, compile_issuer
from extauthz.model.decision import FirstUse, IntrospectToken
from extauthz.sources.answer_cache import AnswerCache
from extauthz.sources.breaker import Breaker, BreakerOptions
from extauthz.sources.introspection import Introspected, IntrospectionOptions, IntrospectionSource
from extauthz.sources.issuer_clients import ClientOptions, CredentialError
from tests.authorization_server import AuthorizationServer, body, slow, trickling

ISS = "https://login.bank.test"
TOKEN = "7Fjfp0ZBr1KtDRbnfVdmIw"
QUESTION = IntrospectToken("bank", TOKEN)
SECRET = "s3cr&t: "
PATIENCE = 5.0


def an_issuer(endpoint: str, name: str = "bank", **introspection: Any) -> Issuer:
    spec = {
        "issuer": ISS,
        "audiences": ["api"],
        "introspection": {"endpoint": endpoint, "timeoutSeconds": 0.4, **introspection},
    }
    problems: list[Any] = []
    issuer = compile_issuer(name, convert(spec, IssuerSpec), problems)
    assert issuer is not None, problems
    return issuer


def active(**changes: Any) -> dict[str, Any]:
    return {"active": True, "sub": "alice", "aud": "api", "exp": int(time.time()) + 300, **changes}


class Clock:
    def __init__(self, base: Any) -> None:
        self.base, self.ahead = base, 0.0

    def __call__(self) -> float:
        return float(self.base() + self.ahead)


class World:
    """A source, and what it told."""

    def __init__(self, directory: Path, issuer: Issuer, **options: Any) -> None:
        (directory / "secret").write_text(SECRET.strip() + "\n")
        client = {"clientId": "extauthz:rs", "clientSecretFile": str(directory / "secret")}
        options = {"clients": {"bank": client}, "allowHttpLoopback": True, **options}
        self.clock, self.ticks = Clock(time.time), Clock(time.monotonic)
        self.told: list[Introspected] = []
        self.source = IntrospectionSource(
            convert(options, IntrospectionOptions), self.clock, self.ticks, self.told.append
        )
        self.source.start()
        self.unconfigured = self.source.set_issuers([issuer])

    def ask(self, question: Any = QUESTION, seconds: float = PATIENCE) -> bytes | None:
        return self.source.recall(question) or self.source.ask(question, self.clock() + seconds)

    @property
    def results(self) -> list[str]:
        return [told.result for told in self.told]


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    made = AuthorizationServer()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, server: AuthorizationServer) -> Iterator[World]:
    made = World(tmp_path, an_issuer(server.endpoint))
    yield made
    made.source.stop()


# --- the question (INT-01)


def test_int_01_the_question_is_a_form_by_post_and_shows_who_asks(world: World, server: AuthorizationServer) -> None:
    server.tokens[TOKEN] = active()
    answer = world.ask()
    assert answer is not None
    assert b'"alice"' in answer
    (question,) = server.asked
    assert ("/introspect", {"token": TOKEN, "token_type_hint": "access_token"}) == (question.path, question.form)
    assert "application/json" == question.headers["accept"]
    assert f"localhost:{server.port}" == question.headers["host"]
    scheme, _, pair = question.headers["authorization"].partition(" ")
    assert ("Basic", b"extauthz%3Ars:s3cr%26t%3A") == (scheme, b64decode(pair))
    assert (["active"], "") == (world.results, world.told[0].detail)


KEYS = [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]  # fmt: skip


def pem(key: Any) -> bytes:
    none = serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))


@pytest.mark.parametrize(("key", "algorithm"), [*zip(KEYS, ["PS256", "ES256", "EdDSA"], strict=True)])
def test_int_01_a_private_key_signs_an_assertion_for_each_question(
    tmp_path: Path, server: AuthorizationServer, key: Any, algorithm: str
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key))
    clients = {"bank": {"clientId": "rs", "privateKeyFile": str(file), "keyId": "k-7"}}
    world = World(tmp_path, an_issuer(server.endpoint), clients=clients)
    assert world.ask() is not None
    assert world.ask(IntrospectToken("bank", "other")) is not None
    seen = set()
    for question in server.asked:
        assert "authorization" not in question.headers
        assert "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" == question.form["client_assertion_type"]
        assertion = question.form["client_assertion"]
        assert {"alg": algorithm, "kid": "k-7", "typ": "JWT"} == jwt.get_unverified_header(assertion)
        found = jwt.decode(assertion, key.public_key(), [algorithm], audience=ISS)
        assert ("rs", "rs", ISS, 60) == (found["iss"], found["sub"], found["aud"], found["exp"] - found["iat"])
        seen.add(found["jti"])
    assert 2 == len(seen)
    world.source.stop()


def test_a_secret_that_is_replaced_counts_from_the_next_question_on(
    tmp_path: Path, world: World, server: AuthorizationServer
) -> None:
    world.ask()
    (tmp_path / "secret").write_text("new")
    world.ask(IntrospectToken("bank", "other"))
    assert b"extauthz%3Ars:new" == b64decode(server.asked[1].headers["authorization"].partition(" ")[2])
    (tmp_path / "secret").unlink()
    assert world.ask(IntrospectToken("bank", "third")) is None
    assert "refused" == world.results[-1]
    assert f"`{tmp_path / 'secret'}` cannot be read: no such file or directory" == world.told[-1].detail
    assert 2 == len(server.asked)


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        (b"", "clientSecretFile", "holds no secret"),
        (b"a\nb", "clientSecretFile", "holds no secret, or more than one line"),
        (b"\xff\xfe", "clientSecretFile", "is not a text"),
        (b"not a key", "privateKeyFile", "holds no private key in PEM"),
        (pem(rsa.generate_private_key(65537, 1024)), "privateKeyFile", "too short or not for signatures"),
        (pem(dsa.generate_private_key(1024)), "privateKeyFile", "too short or not for signatures"),
    ],
)
def test_a_file_that_shows_nobody_is_refused_at_the_start_without_its_content(
    tmp_path: Path, content: bytes, field: str, message: str
) -> None:
    file = tmp_path / "credential"
    file.write_bytes(content)
    options = convert({"clients": {"bank": {"clientId": "rs", field: str(file)}}}, IntrospectionOptions)
    source = IntrospectionSource(options, time.time, time.monotonic)
    with pytest.raises(CredentialError, match=message) as error:
        source.start()
    assert f"`introspection.clients.bank`: the file `{file}` " in str(error.value)


@pytest.mark.parametrize(
    "client",
    [
        {"clientId": "rs"},
        {"clientId": "", "clientSecretFile": "x"},
        {"clientId": "rs", "clientSecretFile": "x", "privateKeyFile": "y"},
    ],
)
def test_a_client_has_an_id_and_one_way_to_show_it(client: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"clientId|either"):
        convert(client, ClientOptions)


def test_an_issuer_without_a_client_in_the_settings_is_named_and_never_asked(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    world = World(tmp_path, an_issuer(server.endpoint), clients={})
    assert ("bank",) == world.unconfigured
    assert world.ask() is None
    assert (["unconfigured"], []) == (world.results, server.asked)


def test_int_01_plain_http_is_for_loopback_and_only_when_allowed(tmp_path: Path, server: AuthorizationServer) -> None:
    world = World(tmp_path, an_issuer(server.endpoint), allowHttpLoopback=False)
    assert world.ask() is None
    assert [] == server.asked


def test_other_issuers_and_other_questions_are_not_for_us(world: World, server: AuthorizationServer) -> None:
    for question in (IntrospectToken("other", TOKEN), FirstUse(b"k", 0)):
        assert world.ask(question) is None
    assert [] == server.asked


# --- TLS


def test_int_01_the_issuer_shows_a_certificate_of_a_known_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = AuthorizationServer(tls=context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    world = World(tmp_path, an_issuer(server.endpoint), caFile=str(tmp_path / "ca.pem"), allowHttpLoopback=False)
    assert world.ask() is not None
    stranger = World(tmp_path, an_issuer(server.endpoint))
    assert stranger.ask() is None
    assert ["unavailable"] == stranger.results
    assert "certificate verify failed" in stranger.told[0].detail.lower()
    assert 1 == len(server.asked)
    for made in (world, stranger):
        made.source.stop()
    server.close()


def test_connections_are_used_again(world: World, server: AuthorizationServer) -> None:
    for number in range(10):
        assert world.ask(IntrospectToken("bank", f"t{number}")) is not None
    assert 1 == server.connections


def test_a_connection_that_the_issuer_closed_meanwhile_is_no_failure(world: World, server: AuthorizationServer) -> None:
    closing = body({"active": False}, headers={"x-note": "closed without a word"})

    def respond(request: Any) -> None:
        closing(request)
        request.close_connection = True

    server.respond = respond
    for number in range(5):
        assert world.ask(IntrospectToken("bank", f"t{number}")) is not None
    assert {"inactive"} == set(world.results)


# --- answers that are none: None, which the decision makes a 503 (INT-02)


@pytest.mark.parametrize(
    ("respond", "result"),
    [
        (body(b"<html>maintenance</html>"), "garbled"),
        (body(b""), "garbled"),
        (body(b'{"active": true, "active": false}'), "garbled"),
        (body(b"x" * 70_000), "garbled"),
        (body(active(), 500), "garbled"),
        (body(active(), 400), "garbled"),
        (body(active(), 201), "garbled"),
        (body(active(), 503), "unavailable"),
        (body(active(), 429), "unavailable"),
        (body(active(), 401), "refused"),
        (body(active(), 403), "refused"),
        (body(b"", 302, headers={"location": "http://127.0.0.1:1/"}), "unavailable"),
        (body(active(), headers={"content-encoding": "gzip"}), "garbled"),
        (slow(1.0, body(active())), "unavailable"),
        (trickling, "unavailable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_int_02_only_a_whole_answer_with_200_in_time_is_one(
    world: World, server: AuthorizationServer, respond: Any, result: str
) -> None:
    server.respond = respond
    began = time.monotonic()
    assert world.ask() is None
    assert time.monotonic() - began < 0.8  # the timeout is 0.4
    assert [result] == world.results
    assert TOKEN not in world.told[0].detail
    assert server.endpoint in world.told[0].detail
    server.respond = body(active())
    assert world.ask() is not None  # a failure is not kept


def test_int_02_the_string_true_is_an_answer_but_not_an_active_one(world: World, server: AuthorizationServer) -> None:
    server.respond = body(active(active="true"))
    assert world.ask() is not None
    assert ["inactive"] == world.results


def test_int_07_an_unsigned_answer_where_a_signed_one_is_due_is_a_downgrade(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    world = World(tmp_path, an_issuer(server.endpoint, signedResponses=True))
    server.respond = body(active())
    assert world.ask() is None
    assert "application/token-introspection+jwt" == server.asked[0].headers["accept"]
    assert (["downgraded"], True) == (world.results, "downgrade (INT-07)" in world.told[0].detail)
    server.respond = body(b"a.b.c", media_type="application/token-introspection+jwt")
    assert world.ask() is None
    assert "garbled" == world.results[-1]
    world.source.stop()


def test_a_failure_is_told_once_until_something_else_happens(world: World, server: AuthorizationServer) -> None:
    server.respond = body(b"", 500)
    for number in range(3):
        world.ask(IntrospectToken("bank", f"t{number}"))
    assert [True, False, False] == [bool(told.detail) for told in world.told]
    assert "answered 500" in world.source.status()[0].error
    server.respond = None
    world.ask()
    assert "" == world.source.status()[0].error


# --- time


def test_the_callers_deadline_is_kept(world: World, server: AuthorizationServer) -> None:
    server.respond = slow(0.3, body(active()))
    began = time.monotonic()
    assert world.ask(seconds=0.1) is None
    assert time.monotonic() - began < 0.25
    assert world.ask(seconds=0.001) is None
    assert 1 == len(server.asked)


def test_int_05_an_answer_counts_until_the_cache_or_the_token_ends(world: World, server: AuthorizationServer) -> None:
    server.tokens[TOKEN] = active()
    assert world.ask() == world.ask()
    assert 1 == len(server.asked)
    server.tokens[TOKEN] = {"active": False}  # revoked
    world.clock.ahead = 29.0
    assert b'"alice"' in (world.ask() or b"")
    world.clock.ahead = 31.0
    assert b"false" in (world.ask() or b"")
    assert 2 == len(server.asked)


def test_int_05_nothing_is_kept_past_the_end_of_the_token(world: World, server: AuthorizationServer) -> None:
    server.tokens[TOKEN] = active(exp=int(time.time()) + 10)
    world.ask()
    world.clock.ahead = 11.0
    assert world.source.recall(QUESTION) is None
    server.tokens[TOKEN] = {"active": True}  # does not say when it ends
    world.ask()
    assert world.source.recall(QUESTION) is None


def test_int_05_a_refused_token_is_not_asked_about_again_for_a_moment(
    world: World, server: AuthorizationServer
) -> None:
    for ahead, calls in ((0.0, 1), (4.0, 1), (6.0, 2)):
        world.clock.ahead = ahead
        assert world.ask() is not None
        assert calls == len(server.asked)


def test_int_05_the_cache_can_be_off(tmp_path: Path, server: AuthorizationServer) -> None:
    world = World(tmp_path, an_issuer(server.endpoint, cacheSeconds=0, negativeCacheSeconds=0))
    server.tokens[TOKEN] = active()
    for _ in range(2):
        world.ask()
    assert 2 == len(server.asked)
    world.source.stop()


def test_int_05_answers_are_kept_by_document_and_token_and_never_under_the_token(
    world: World, server: AuthorizationServer
) -> None:
    server.tokens[TOKEN] = active()
    world.ask()
    assert all(len(key) == 32 and TOKEN.encode() not in key for key in world.source._active._entries)
    world.source.set_issuers([an_issuer(server.endpoint, cacheSeconds=20)])
    assert world.source.recall(QUESTION) is None
    world.source.set_issuers([])
    assert world.ask() is None


def test_the_cache_is_bounded_and_forged_tokens_displace_no_good_one(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    world = World(tmp_path, an_issuer(server.endpoint), cacheEntries=100)
    server.tokens[TOKEN] = active()
    world.ask()
    for number in range(150):
        world.ask(IntrospectToken("bank", f"forged-{number}"))
    assert world.source.recall(QUESTION) is not None
    assert 100 == len(world.source._inactive)
    world.source.stop()


def test_a_cache_forgets_the_oldest_first() -> None:
    cache = AnswerCache(2, lambda: 0.0)
    for name in (b"a", b"b", b"a", b"c"):
        cache.put(name, name, 1.0)
    assert [b"a", None, b"c"] == [cache.get(name) for name in (b"a", b"b", b"c")]
    cache.put(b"d", b"d", 0.0)
    assert cache.get(b"d") is None


# --- many at once


def test_single_flight_fifty_threads_with_one_token_are_one_call(world: World, server: AuthorizationServer) -> None:
    server.respond = slow(0.15, body(active()))
    answers: list[bytes | None] = []
    start = threading.Barrier(50)

    def ask() -> None:
        start.wait()
        answers.append(world.ask())

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len(server.asked)
    assert 50 == len(answers)
    assert 1 == len(set(answers))
    assert answers[0] is not None


def test_who_joins_a_flight_waits_no_longer_than_its_own_deadline(world: World, server: AuthorizationServer) -> None:
    server.respond = slow(0.3, body(active()))
    first = threading.Thread(target=world.ask)
    first.start()
    while not server.asked:
        time.sleep(0.005)
    began = time.monotonic()
    assert world.ask(seconds=0.05) is None
    assert time.monotonic() - began < 0.2
    first.join()
    assert ["active"] == world.results


def test_a_flight_that_fails_lets_everybody_go(world: World, server: AuthorizationServer) -> None:
    server.respond = slow(0.1, body(b"", 500))
    answers: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: answers.append(world.ask())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [None] * 8 == answers
    assert {} == world.source._flights


# --- an issuer that is down


def test_a_dead_issuer_costs_nobody_time_and_comes_back_by_itself(tmp_path: Path) -> None:
    server = AuthorizationServer()
    world = World(tmp_path, an_issuer(server.endpoint, timeoutSeconds=0.2), breaker={"failures": 3})
    server.respond = slow(0.5, body(active()))
    waited = []
    for number in range(20):
        began = time.monotonic()
        assert world.ask(IntrospectToken("bank", f"t{number}")) is None
        waited.append(time.monotonic() - began)
    assert 3 == sum(seconds > 0.1 for seconds in waited)
    assert max(waited[3:]) < 0.02
    assert (["unavailable"] * 3 + ["left_alone"] * 17, 3) == (world.results, len(server.asked))
    assert world.told[2].detail.endswith("it is left alone for now")
    assert world.source.status()[0].left_alone
    world.ticks.ahead += 1.1  # one may look after the pause, and finds it dead still
    for number in range(5):
        assert world.ask(IntrospectToken("bank", f"u{number}")) is None
    assert 4 == len(server.asked)
    server.respond = None
    world.ticks.ahead += 3600.0
    assert world.ask() is not None
    assert world.ask(IntrospectToken("bank", "v")) is not None
    assert not world.source.status()[0].left_alone
    world.source.stop()
    server.close()


def test_a_refused_connection_opens_the_breaker_too_and_answers_in_memory_outlive_it(tmp_path: Path) -> None:
    server = AuthorizationServer()
    world = World(tmp_path, an_issuer(server.endpoint), breaker={"failures": 2})
    server.tokens[TOKEN] = active()
    world.ask()
    port = server.port
    server.close()
    for number in range(4):
        assert world.ask(IntrospectToken("bank", f"t{number}")) is None
    assert ["unavailable", "unavailable", "left_alone", "left_alone"] == world.results[1:]
    assert world.ask() is not None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    server = AuthorizationServer(port=port)
    world.ticks.ahead += 60.0
    assert world.ask(IntrospectToken("bank", "back")) is not None
    world.source.stop()
    server.close()


@pytest.mark.parametrize(("status", "left_alone"), [(500, False), (400, False), (401, True), (503, True), (302, True)])
def test_only_what_says_something_about_the_issuer_as_a_whole_opens_the_breaker(
    world: World, server: AuthorizationServer, status: int, left_alone: bool
) -> None:
    """Or whoever finds a token that the issuer stumbles over could lock out everybody."""
    server.respond = body(b"", status)
    for number in range(10):
        world.ask(IntrospectToken("bank", f"t{number}"))
    assert left_alone == world.source.status()[0].left_alone
    assert (5 if left_alone else 10) == len(server.asked)


def test_callers_in_a_hurry_do_not_make_an_issuer_dead(world: World, server: AuthorizationServer) -> None:
    server.respond = slow(1.0, body(active()))
    for number in range(8):
        assert world.ask(IntrospectToken("bank", f"t{number}"), seconds=0.02) is None
    assert not world.source.status()[0].left_alone


def test_an_open_breaker_lets_one_through_at_a_time_and_pauses_longer_each_time() -> None:
    clock = Clock(lambda: 0.0)
    breaker = Breaker(BreakerOptions(failures=1, pause_seconds=1.0, pause_max_seconds=8.0), clock)
    assert breaker.failed()
    pauses = []
    for _ in range(6):
        before = clock.ahead
        while not breaker.admits():
            clock.ahead += 0.01
        assert not breaker.admits()
        pauses.append(clock.ahead - before)
        assert not breaker.failed()
    assert all(0.45 * expected < pause <= expected + 0.1 for pause, expected in zip(pauses, [1, 1, 2, 4, 8, 8], strict=True))  # fmt: skip
    clock.ahead += 100
    assert breaker.admits()
    assert breaker.succeeded()
    assert [True] * 3 == [breaker.admits() for _ in range(3)]


# --- the end


def test_a_stopped_source_asks_nobody(world: World, server: AuthorizationServer) -> None:
    world.source.stop()
    assert world.ask() is None
    assert [] == server.asked


def test_a_cache_survives_many_threads() -> None:
    now = 0.0
    cache = AnswerCache(50, lambda: now)
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for step in range(3000):
                key = bytes([(number * 7 + step) % 100])
                cache.put(key, key, now + (step % 3) - 1)
                assert cache.get(bytes([step % 100])) in {None, bytes([step % 100])}
        except Exception as error:  # noqa: BLE001 - whatever a race raises
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([], True) == (errors, len(cache) <= 50)


def test_a_slow_issuer_takes_nothing_from_another(tmp_path: Path) -> None:
    dull, quick = AuthorizationServer(), AuthorizationServer()
    (tmp_path / "secret").write_text("s")
    client = {"clientId": "rs", "clientSecretFile": str(tmp_path / "secret")}
    options = {"clients": {"dull": client, "quick": client}, "allowHttpLoopback": True, "breaker": {"failures": 1000}}
    source = IntrospectionSource(convert(options, IntrospectionOptions), time.time, time.monotonic)
    source.start()
    source.set_issuers([an_issuer(dull.endpoint, "dull", timeoutSeconds=10), an_issuer(quick.endpoint, "quick")])
    gate = threading.Event()
    dull.respond = lambda request: (gate.wait(15), body(active())(request))[1]
    tokens = [IntrospectToken("dull", f"t{number}") for number in range(60)]
    threads = [threading.Thread(target=source.ask, args=(token, time.time() + 10)) for token in tokens]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 3
    while len(dull.asked) < 60 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(dull.asked) > 40
    assert source.ask(IntrospectToken("quick", TOKEN), time.time() + PATIENCE) is not None
    gate.set()
    for thread in threads:
        thread.join()
    source.stop()
    dull.close()
    quick.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_stop_wakes_those_who_wait_and_whoever_waits_with_them(tmp_path: Path, scheme: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = AuthorizationServer(tls=context if scheme == "https" else None)
    world = World(tmp_path, an_issuer(server.endpoint, timeoutSeconds=30), caFile=str(tmp_path / "ca.pem"))
    gate, answers = threading.Event(), []
    server.respond = lambda request: (gate.wait(60), body(active())(request))[1]
    asking = [threading.Thread(target=lambda: answers.append(world.ask(seconds=60))) for _ in range(4)]
    for thread in asking:
        thread.start()
    while not server.asked:
        time.sleep(0.01)
    world.source.stop()
    for thread in asking:
        thread.join(20)
    assert ([None] * 4, 1) == (answers, len(server.asked))
    assert world.ask() is None
    gate.set()
    server.close()
