"""The admin pages, asked over real sockets."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from html.parser import HTMLParser

import pytest
from prometheus_client import CollectorRegistry, Counter

from extauthz.admin import (
    AdminOptions,
    AdminServer,
    BundleStatus,
    CandidateStatus,
    IssuerStatus,
    JournalStatus,
    Status,
    TransportStatus,
    Views,
)
from extauthz.bundle.compare import Comparison, Group

EVIL = "<script>alert(1)</script>"
STATUS = Status(
    version="1.2.3",
    instance="pod-1",
    uptime_seconds=93784.0,
    ready=True,
    not_ready_because=(),
    config_digest="c0ffee",
    bundle=BundleStatus(
        source="/bundle",
        revision=EVIL,
        digest="abc",
        age_seconds=61.0,
        documents={"AccessPolicy": 12},
        last_result="rejected",
        last_findings=(f"a.yaml:3: spec: {EVIL}",),
    ),
    issuers=(IssuerStatus(issuer="keycloak", source="network", keys=2, age_seconds=5.0, error="timed out"),),
    journal=JournalStatus(directory="/var/journal", records=7, position=19),
    transport=TransportStatus(kind="stock", address="127.0.0.1:9000", tls="mtls", serving=True, inflight=1),
    decisions={"token_expired": 3, "policy_allowed": 40},
    candidate=CandidateStatus(
        source="/candidate",
        sample=0.5,
        revision=EVIL,
        last_findings=(f"b.yaml:3: spec: {EVIL}",),
        comparison=Comparison(
            revision=EVIL,
            digest="d2",
            live_revision="r1",
            live_digest="d1",
            seconds=3660,
            compared=10_000,
            changes={"allow_to_deny": 2},
            errors=1,
            skipped={"queue": 7},
            groups=(Group("allow_to_deny", EVIL, "all", "acme", 2, "0190b2c4"),),
        ),
        not_promotable_because=("2 checks differ",),
    ),
)


class Admin:
    def __init__(self, readiness: Callable[[], tuple[str, ...]] | None = None, **options) -> None:
        self.reasons: tuple[str, ...] = ()
        registry = CollectorRegistry()
        Counter("extauthz_example", "an example", registry=registry).inc()
        options.setdefault("address", "127.0.0.1:0")
        self.server = AdminServer(
            AdminOptions(**options), Views(registry, readiness or (lambda: self.reasons), lambda: STATUS)
        )
        self.address = self.server.bind()
        self.port = int(self.address.rpartition(":")[2])
        self.server.start()

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found


@pytest.fixture(scope="module")
def admin() -> Iterator[Admin]:
    server = Admin(host_names=("admin.example",))
    yield server
    server.server.stop()


def test_metrics_come_as_prometheus_text_or_openmetrics_as_asked(admin: Admin) -> None:
    status, headers, body = admin.ask("GET", "/metrics")
    assert (200, "text/plain") == (status, headers["content-type"].partition(";")[0])
    assert b"extauthz_example_total 1.0" in body
    _, headers, body = admin.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert "application/openmetrics-text" == headers["content-type"].partition(";")[0]
    assert body.endswith(b"# EOF\n")


def test_readiness_is_503_with_the_reasons_until_there_are_none(admin: Admin) -> None:
    admin.reasons = ("no bundle is active",)
    status, _, body = admin.ask("GET", "/readyz")
    assert (503, {"ready": False, "reasons": ["no bundle is active"]}) == (status, json.loads(body))
    assert 200 == admin.ask("GET", "/livez")[0]
    admin.reasons = ()
    status, _, body = admin.ask("GET", "/readyz")
    assert (200, {"ready": True, "reasons": []}) == (status, json.loads(body))


def test_status_is_json_with_revision_keys_and_journal(admin: Admin) -> None:
    found = json.loads(admin.ask("GET", "/status")[2])
    assert EVIL == found["bundle"]["revision"]
    assert {
        "issuer": "keycloak",
        "source": "network",
        "keys": 2,
        "ageSeconds": 5.0,
        "error": "timed out",
        "introspection": "",
    } == found["issuers"][0]
    assert (7, 19) == (found["journal"]["records"], found["journal"]["position"])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def test_t68_the_console_escapes_what_it_shows_and_loads_nothing(admin: Admin) -> None:
    _, headers, body = admin.ask("GET", "/")
    page = Tags()
    page.feed(body.decode())
    assert not {"script", "img", "link", "iframe", "form"} & page.tags
    assert not {name for name, _ in page.attributes} & {"src", "style", "onclick", "onerror"}
    assert {"/status", "/metrics", "/readyz"} == {value for name, value in page.attributes if name == "href"}
    assert b"&lt;script&gt;" in body
    assert "default-src 'none'" in headers["content-security-policy"]
    for words in (b"1 d 2 h", b"12 AccessPolicy", b"<td>token_expired<td class=n>3", b"mtls", b"timed out"):
        assert words in body


def test_a_script_of_another_origin_may_not_read_the_pages(admin: Admin) -> None:
    headers = admin.ask("GET", "/status", Origin="https://evil.example")[1]
    assert "access-control-allow-origin" not in headers
    assert "same-origin" == headers["cross-origin-resource-policy"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/readyz", "/status"])
def test_head_is_get_without_a_body(admin: Admin, path: str) -> None:
    status, headers, body = admin.ask("HEAD", path)
    assert (200, b"") == (status, body)
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_t61_no_other_method_is_served(admin: Admin, method: str) -> None:
    status, headers, _ = admin.ask(method, "/status")
    assert (405, "GET, HEAD") == (status, headers["allow"])


def test_an_unknown_page_is_not_found(admin: Admin) -> None:
    assert 404 == admin.ask("GET", "/etc/passwd")[0]
    assert 404 == admin.ask("GET", "/status/../x")[0]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9001", 200),
        ("[::1]:9001", 200),
        ("localhost:9001", 200),
        ("admin.example", 200),
        ("evil.example", 421),
        ("admin.example.evil.example", 421),
        ("user@127.0.0.1", 421),
        ("", 421),
    ],
)
def test_a_foreign_host_name_is_refused_so_that_dns_rebinding_reads_nothing(
    admin: Admin, host: str, status: int
) -> None:
    assert status == admin.ask("GET", "/status", Host=host)[0]


def raw(port: int, sent: bytes, seconds: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while part := connection.recv(65536):
                found += part
        except OSError:  # closed before all was sent
            return b""
        return found


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_a_request_beyond_16_kib_is_not_served(admin: Admin, sent: bytes) -> None:
    assert b" 200 " not in raw(admin.port, sent)[:20]
    assert 200 == admin.ask("GET", "/livez")[0]


@pytest.mark.parametrize("sent", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n", b""])
def test_garbage_is_not_served_and_not_echoed(admin: Admin, sent: bytes) -> None:
    found = raw(admin.port, sent)
    assert b" 200 " not in found[:20]
    assert b"\xff" not in found
    assert 200 == admin.ask("GET", "/livez")[0]


def test_a_connection_beyond_the_bound_ends_the_oldest_that_has_not_said_what_it_wants() -> None:
    server = Admin(max_connections=2)
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(2)]
    time.sleep(0.1)
    assert 200 == server.ask("GET", "/livez")[0]
    assert b"" == idle[0].recv(1)
    idle[1].sendall(b"GET /livez HTTP/1.0\r\n\r\n")
    assert b" 200 " in idle[1].recv(100)
    for connection in idle:
        connection.close()
    server.server.stop()


def test_t61_probes_get_through_beside_clients_that_trickle() -> None:
    """More slow connections than places, opened again as soon as they are closed, from the address of the probe."""
    server = Admin(max_connections=4)
    over = threading.Event()

    def trickle() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
                while not over.wait(0.2):
                    connection.sendall(b"X: y\r\n")

    clients = [threading.Thread(target=trickle) for _ in range(12)]
    for client in clients:
        client.start()
    time.sleep(0.3)
    try:
        assert [200] * 20 == [server.ask("GET", "/livez")[0] for _ in range(20)]
    finally:
        over.set()
        for client in clients:
            client.join()
        server.server.stop()


def test_a_head_is_there_within_a_second_or_not_at_all() -> None:
    server = Admin()
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\n")
        with suppress(OSError):
            while time.monotonic() - began < 4:
                time.sleep(0.1)
                slow.sendall(b"X: y\r\n")
    assert 1.0 <= time.monotonic() - began < 3.0
    server.server.stop()


def test_an_exchange_under_way_is_not_ended_for_another() -> None:
    """With all places taken by who waits for an answer, the next is refused."""
    began, answer = threading.Event(), threading.Event()

    def slow_readiness() -> tuple[str, ...]:
        began.set()
        answer.wait(5)
        return ()

    server = Admin(max_connections=1, readiness=slow_readiness)
    found: list[int] = []
    client = threading.Thread(target=lambda: found.append(server.ask("GET", "/readyz")[0]))
    client.start()
    assert began.wait(5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as second:
        assert b"" == second.recv(1)
    answer.set()
    client.join()
    assert [200] == found
    server.server.stop()


def test_who_holds_the_most_connections_gives_way_first() -> None:
    server = Admin(max_connections=3)

    def connect(source: str) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", server.port), timeout=5, source_address=(source, 0))
        time.sleep(0.05)
        return made

    probe, greedy = connect("127.0.0.2"), [connect("127.0.0.3") for _ in range(3)]
    assert b"" == greedy[0].recv(1)
    probe.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
    assert b" 200 " in probe.recv(100)
    for connection in (probe, *greedy):
        connection.close()
    server.server.stop()


def test_an_occupied_port_is_an_os_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=r".+") as error:
            Admin(address=address)
    assert f"cannot listen on `{address}` for admin: address already in use" == str(error.value)


@pytest.mark.parametrize("text", ["localhost:9001", ":9001", "127.0.0.1", "[::1]", "127.0.0.1:70000", "unix:/x"])
def test_an_address_that_is_no_ip_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"an address must be|a port must be"):
        AdminOptions(address=text)
