"""Bundles over HTTPS: asked with an ETag, held by a long poll, bounded in size and time, and nobody is trusted blindly."""

import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from extauthz.sources.bundles.https import HttpsOrigin
from extauthz.sources.bundles.options import BundleOptions, FetchOptions
from extauthz.sources.bundles.origin import UnreachableError
from tests.faults.bundle_server import BundleServer, cut_off, send


@pytest.fixture
def server(tmp_path: Path) -> Any:
    found = BundleServer(tmp_path)
    found.publish(b"first")
    yield found
    found.respond = None
    found.down()


def origin(server: BundleServer, **options: Any) -> HttpsOrigin:
    given = {"ca_file": str(server.ca_file), "timeout_seconds": 5.0, "poll_seconds": 0.1, **options}
    return HttpsOrigin(server.url, FetchOptions(**given))


def failure(source: HttpsOrigin) -> str:
    with pytest.raises(UnreachableError) as caught:
        source.fetch(60.0)
    return str(caught.value)


def test_an_archive_is_brought_once(server: BundleServer) -> None:
    source = origin(server, wait_seconds=0)
    brought = source.fetch(60.0)
    assert brought is not None
    assert (b"first", '"v1"') == (brought.archive, brought.tag)
    assert source.fetch(60.0) is None
    assert [None, '"v1"'] == [headers.get("if-none-match") for _, headers in server.asked]
    server.publish(b"second")
    again = source.fetch(60.0)
    assert again is not None
    assert b"second" == again.archive


def test_after_a_restart_it_is_asked_whether_that_is_still_the_one(server: BundleServer) -> None:
    source = origin(server, wait_seconds=0)
    source.knows('"v1"')
    assert source.fetch(60.0) is None
    source.forget()
    assert source.fetch(60.0) is not None


def test_a_long_poll_brings_a_change_at_once(server: BundleServer) -> None:
    """RFC 7240: `Prefer: wait`. The client asks again without a pause."""
    source = origin(server, wait_seconds=30)
    source.fetch(60.0)
    source.wait(60.0)
    publish = threading.Timer(0.3, server.publish, (b"second",))
    publish.start()
    began = time.monotonic()
    brought = source.fetch(60.0)
    assert brought is not None
    assert b"second" == brought.archive
    assert "wait=30" == server.asked[-1][1]["prefer"]
    assert 0.2 < time.monotonic() - began < 20


def test_the_server_is_asked_to_wait_no_longer_than_there_is_patience(server: BundleServer) -> None:
    source = origin(server, wait_seconds=30)
    source.fetch(60.0)
    server.holds = False
    source.fetch(7.9)
    assert "wait=7" == server.asked[-1][1]["prefer"]
    source.fetch(0.5)
    assert "prefer" not in server.asked[-1][1]


def test_a_server_that_does_not_wait_is_not_asked_without_end(server: BundleServer) -> None:
    source = origin(server, wait_seconds=30, poll_seconds=0.5)
    server.holds = False
    source.fetch(60.0)
    source.fetch(60.0)
    began = time.monotonic()
    source.wait(60.0)
    assert time.monotonic() - began > 0.4


def test_tags_that_change_with_every_answer_do_not_make_a_storm(server: BundleServer) -> None:
    """A fleet of web servers that do not agree about ETags."""
    count = iter(range(1000))
    server.respond = lambda handler: send(handler, 200, b"first", etag=f'"{next(count)}"')
    source = origin(server, wait_seconds=30, poll_seconds=0.5)
    source.fetch(60.0)
    source.fetch(60.0)
    began = time.monotonic()
    source.wait(60.0)
    assert time.monotonic() - began > 0.4


def test_without_an_etag_it_is_downloaded_every_time(server: BundleServer) -> None:
    server.respond = lambda handler: send(handler, 200, b"first")
    source = origin(server)
    assert source.fetch(60.0) is not None
    assert source.fetch(60.0) is not None
    assert ["if-none-match" in headers for _, headers in server.asked] == [False, False]


def test_a_token_is_read_anew_for_every_question(server: BundleServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    server.wanted_token = "second"
    source = origin(server, token_file=str(token))
    assert "answered 401: it does not accept this server" in failure(source)
    token.write_text("second\n")
    assert source.fetch(60.0) is not None
    token.write_text("")
    assert failure(source) == f"`fetch.tokenFile`: `{token}` holds no text, or more than one line"
    token.unlink()
    assert failure(source) == f"`fetch.tokenFile`: `{token}` cannot be read: no such file or directory"


def test_a_client_certificate_is_shown_and_read_anew_when_it_is_replaced(tmp_path: Path) -> None:
    clients, strangers = trustme.CA(), trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    server = BundleServer(tmp_path)
    server.down()
    server.client_ca = str(tmp_path / "clients.pem")
    server.up()
    try:
        server.publish(b"first")

        def write(authority: trustme.CA) -> None:
            made = authority.issue_cert("extauthz")
            made.private_key_pem.write_to_path(tmp_path / "key.pem")
            made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")

        write(strangers)
        files = {"client_certificate_file": str(tmp_path / "cert.pem"), "client_key_file": str(tmp_path / "key.pem")}
        source = origin(server, **files)
        assert failure(source).startswith(f"`{server.url}` ")
        write(clients)
        assert source.fetch(60.0) is not None
        (tmp_path / "key.pem").write_text("no key")
        assert failure(source) == (
            f"`fetch.clientCertificateFile`: `{tmp_path}/cert.pem` cannot be used: it holds no usable PEM"
        )
        assert "cannot be reached" in failure(origin(server)) or "broke off" in failure(origin(server))
    finally:
        server.down()


def test_a_server_without_a_good_certificate_is_not_believed(server: BundleServer, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    assert "certificate verify failed" in failure(origin(server, ca_file=str(tmp_path / "other.pem")))
    assert "certificate verify failed" in failure(origin(server, ca_file=""))
    by_name = HttpsOrigin(server.url.replace("127.0.0.1", "localhost"), FetchOptions(ca_file=str(server.ca_file)))
    assert "certificate verify failed" in failure(by_name), "its certificate is for another name"
    assert server.asked == []


def test_a_ca_file_that_cannot_be_used_is_named(server: BundleServer, tmp_path: Path) -> None:
    assert (
        failure(origin(server, ca_file=f"{tmp_path}/gone"))
        == f"`{tmp_path}/gone` cannot be read: no such file or directory"
    )
    (tmp_path / "empty").write_text("")
    expected = f"`fetch.caFile`: `{tmp_path}/empty` cannot be used: it holds no usable PEM"
    assert expected == failure(origin(server, ca_file=f"{tmp_path}/empty"))


def test_redirects_are_not_followed(server: BundleServer) -> None:
    for location in ("https://127.0.0.1:1/x", "/elsewhere", "http://127.0.0.1/x"):
        server.respond = lambda handler, location=location: send(handler, 302, location=location)
        assert "answered 302: redirects are not followed: name the final address" in failure(origin(server))
    assert {"/bundles/small.tar.gz"} == {path for path, _ in server.asked}


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, "there is nothing"), (403, "it does not accept this server"), (500, "internal server error"), (204, "no content"),
     (206, "partial content"), (304, "not modified"), (299, "an unknown status")],
)  # fmt: skip
def test_other_answers_are_told(server: BundleServer, status: int, expected: str) -> None:
    server.respond = lambda handler: send(handler, status)
    assert f"`{server.url}` answered {status}: {expected}" == failure(origin(server))


@pytest.mark.parametrize(
    ("sent", "after"), [("17", 17.0), ("99999", 300.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)]
)
def test_a_server_that_wants_to_be_left_alone_is(server: BundleServer, sent: str, after: float | None) -> None:
    server.respond = lambda handler: send(handler, 503, retry_after=sent)
    with pytest.raises(UnreachableError) as caught:
        origin(server).fetch(60.0)
    assert after == caught.value.after


def test_an_archive_that_is_too_large_is_not_read_to_its_end(server: BundleServer) -> None:
    server.publish(bytes(1 << 20))
    assert f"`{server.url}` answered more than 65536 bytes" == failure(origin(server, max_bytes=65536))


def test_half_an_archive_is_none(server: BundleServer) -> None:
    server.respond = cut_off(bytes(100_000), 50_000)
    assert failure(origin(server)).startswith(f"`{server.url}` broke off: peer closed connection")
    assert 2 == len(server.asked), "an idle connection may break: it is tried once more"


def test_a_content_encoding_that_was_not_asked_for_is_refused(server: BundleServer) -> None:
    server.respond = lambda handler: send(handler, 200, b"x", content_encoding="gzip")
    assert "answered in an encoding that was not asked for" in failure(origin(server))


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: every single read is in time."""
    handler.send_response(200)
    handler.send_header("content-length", "1000000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def test_a_server_that_trickles_is_left(server: BundleServer) -> None:
    server.respond = trickle
    began = time.monotonic()
    assert f"`{server.url}` did not finish within 0.5 s" == failure(origin(server, timeout_seconds=0.5))
    assert time.monotonic() - began < 20


def test_a_server_that_never_answers_is_left(server: BundleServer) -> None:
    server.respond = lambda _: time.sleep(3)
    assert f"`{server.url}` did not finish within 0.3 s" == failure(origin(server, timeout_seconds=0.3))


def test_stop_ends_a_long_poll_at_once(server: BundleServer) -> None:
    source = origin(server, wait_seconds=600, timeout_seconds=600)
    source.fetch(600.0)
    failures: list[str] = []
    asking = threading.Thread(target=lambda: failures.append(failure_of(source)))
    asking.start()
    time.sleep(0.5)
    source.stop()
    asking.join(10)
    assert not asking.is_alive()
    assert len(failures) == 1


def failure_of(source: HttpsOrigin) -> str:
    try:
        source.fetch(600.0)
    except UnreachableError as error:
        return str(error)
    return "it went on"


def test_plain_http_is_for_the_loopback_alone_and_only_when_allowed(tmp_path: Path) -> None:
    server = BundleServer(tmp_path, with_tls=False)
    try:
        server.publish(b"first")
        assert failure(origin(server)) == f"`{server.url}` is not https, and `allowHttpLoopback` is off"
        assert origin(server, allow_http_loopback=True).fetch(60.0) is not None
    finally:
        server.down()
    for url in ("http://bundles.test/x", "ftp://bundles.test/x", "bundles.test/x", "https://u:p@bundles.test/x"):
        with pytest.raises(ValueError, match="`url`: "):
            BundleOptions(url=url, state_directory="/x")


def test_a_server_that_went_away_and_came_back_is_asked_on(server: BundleServer) -> None:
    source = origin(server, wait_seconds=0)
    source.fetch(60.0)
    server.down()
    assert "cannot be reached" in failure(source)
    server.up()
    assert source.fetch(60.0) is None
