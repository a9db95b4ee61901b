"""The control socket, asked over a real Unix socket with orders good and odd."""

import http.client
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import extauthz.admin.control
from extauthz.admin import (
    AdminOptions,
    BundleOrdered,
    ControlServer,
    Desk,
    Draft,
    Drafted,
    Emergency,
    EmergencyPage,
    Freeze,
    OpenGlass,
    OrderError,
    Pin,
    Promote,
    Restore,
    RevisionPage,
    Revoke,
    Revoked,
    RevokedPage,
    Rollback,
    Unpin,
)
from extauthz.bundle.approvals import GlassRequest

WHEN = datetime(2026, 11, 23, 12, tzinfo=UTC)
ENTRY = Revoked(id="r-1", selector="client", value="app", reason="INC-1", operator="op", uid=0, created=WHEN)
GOOD = {"client": "app", "reason": "INC-1", "operator": "op", "until": "2026-11-24T12:00:00Z"}


class Told:
    """Carries nothing out and remembers what it was told."""

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.error: OrderError | None = None

    def revoke(self, order: Revoke, uid: int) -> Revoked:
        return self._take(("revoke", order, uid))

    def restore(self, entry_id: str, order: Restore, uid: int) -> Revoked:
        return self._take(("restore", entry_id, order, uid))

    def revoked(self, limit: int) -> RevokedPage:
        self._take(("list", limit))
        return RevokedPage(total=1, in_bundle=2, entries=(ENTRY,))

    def freeze(self, order: Freeze, uid: int) -> Emergency:
        return self._done(("freeze", order, uid))

    def draft(self, order: Draft, uid: int) -> Drafted:
        self._take(("draft", order, uid))
        request = GlassRequest(
            id="g-1", break_glass=order.break_glass, begin=WHEN, end=WHEN, ticket="t", justification="j"
        )
        return Drafted(request=request, digest="d")

    def open_glass(self, order: OpenGlass, uid: int) -> Emergency:
        return self._done(("open", order, uid))

    def end(self, emergency_id: str, order: Restore, uid: int) -> Emergency:
        return self._done(("end", emergency_id, order, uid))

    def emergencies(self, limit: int) -> EmergencyPage:
        return EmergencyPage(total=1, emergencies=(self._done(("emergencies", limit)),))

    def rollback(self, order: Rollback, uid: int) -> BundleOrdered:
        self._take(("rollback", order, uid))
        return BundleOrdered(order="rollback")

    def pin(self, order: Pin, uid: int) -> BundleOrdered:
        self._take(("pin", order, uid))
        return BundleOrdered(order="pin")

    def promote(self, order: Promote, uid: int) -> BundleOrdered:
        self._take(("promote", order, uid))
        return BundleOrdered(order="promote")

    def unpin(self, order: Unpin, uid: int) -> BundleOrdered:
        self._take(("unpin", order, uid))
        return BundleOrdered(order="unpin")

    def revisions(self, limit: int) -> RevisionPage:
        self._take(("revisions", limit))
        return RevisionPage(revisions=(), history=())

    def _done(self, order: Any) -> Emergency:
        self._take(order)
        return Emergency(
            id="f-1",
            kind="freeze",
            source="runtime",
            state="in force",
            what="client app",
            begin=WHEN,
            end=WHEN,
            ticket="t",
        )

    def _take(self, order: Any) -> Revoked:
        self.orders.append(order)
        if self.error:
            raise self.error
        return ENTRY


class Control:
    def __init__(self, path: Path) -> None:
        self.path, self.told = path, Told()
        self.server = ControlServer(str(path), Desk(self.told, self.told))
        self.server.bind()
        self.server.start()

    def ask(
        self, method: str = "POST", target: str = "/revocations", order: Any = GOOD, **headers: str
    ) -> tuple[int, Any]:
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        given = {"content_type": "application/json", "content_length": str(len(body))} | headers
        lines = [f"{method} {target} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in given.items()), "", ""]
        with self.connect() as sock:
            sock.sendall("\r\n".join(lines).encode() + body)
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            return answer.status, json.loads(answer.read())

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.path))
        return sock


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    found = Control(tmp_path / "control.sock")
    yield found
    found.server.stop()


def test_orders_arrive_with_the_uid_that_the_kernel_vouches_for(control: Control) -> None:
    status, entry = control.ask()
    assert (201, "r-1") == (status, entry["id"])
    assert 200 == control.ask("DELETE", "/revocations/r-1", {"reason": "over", "operator": "op"})[0]
    status, page = control.ask("GET", "/revocations?limit=7", b"")
    assert (200, 1, 2, "2026-11-23T12:00:00Z") == (
        status,
        page["total"],
        page["inBundle"],
        page["entries"][0]["created"],
    )
    revoke, restore, listing = control.told.orders
    assert ("app", os.getuid()) == (revoke[1].client, revoke[2])
    assert ("r-1", "over", os.getuid()) == (restore[1], restore[2].reason, restore[3])
    assert ("list", 7) == listing


GLASS = {
    "subjects": [{"issuer": "https://idp.test", "id": "u1"}],
    "routes": [{"host": "api.test", "path": "/loans/**", "methods": ["GET"]}],
}
DRAFT = {"breakGlass": GLASS, "end": "2026-11-24T12:00:00Z", "ticket": "INC-1", "justification": "x"}
OPEN = {
    "request": {**DRAFT, "id": "g-1", "begin": "2026-11-24T11:00:00Z"},
    "approvals": [{"approver": "ciso", "signature": "AA=="}],
    "operator": "op",
}


@pytest.mark.parametrize(
    ("method", "target", "order", "status", "told"),
    [
        ("POST", "/freezes", {**GOOD, "client": "app"}, 201, "freeze"),
        (
            "POST",
            "/freezes",
            {"everything": True, "until": GOOD["until"], "reason": "r", "operator": "op"},
            201,
            "freeze",
        ),
        ("POST", "/break-glasses/drafts", DRAFT, 200, "draft"),
        ("POST", "/break-glasses", OPEN, 201, "open"),
        ("DELETE", "/emergencies/f-1", {"reason": "over", "operator": "op"}, 200, "end"),
        ("DELETE", "/emergencies/inc.4711", {"reason": "over", "operator": "op"}, 200, "end"),
        ("GET", "/emergencies?limit=3", b"", 200, "emergencies"),
        ("POST", "/bundle/rollback", {"steps": 2, "reason": "r", "operator": "op"}, 200, "rollback"),
        ("POST", "/bundle/pin", {"revision": "r1", "dryRun": True, "reason": "r", "operator": "op"}, 200, "pin"),
        ("POST", "/bundle/promote", {"force": True, "reason": "r", "operator": "op"}, 200, "promote"),
        ("POST", "/bundle/unpin", {"reason": "r", "operator": "op"}, 200, "unpin"),
        ("GET", "/bundle/revisions?limit=3", b"", 200, "revisions"),
    ],
)
def test_orders_about_emergencies_and_bundles_arrive_likewise(
    control: Control, method: str, target: str, order: Any, status: int, told: str
) -> None:
    found, _ = control.ask(method, target, order)
    ((name, *rest),) = control.told.orders
    assert (status, told) == (found, name)
    assert rest[-1] == (3 if method == "GET" else os.getuid())


@pytest.mark.parametrize(
    ("target", "order", "status"),
    [
        ("/freezes", {key: value for key, value in GOOD.items() if key != "until"}, 400),
        ("/freezes", {**GOOD, "path": "/x"}, 400),
        ("/freezes", {**GOOD, "reason": "x" * 9000}, 413),
        ("/break-glasses/drafts", {**DRAFT, "justification": None}, 400),
        ("/break-glasses/drafts", {**DRAFT, "justification": "x" * 9000}, 200),
        ("/break-glasses/drafts", {**DRAFT, "justification": "x" * 140_000}, 413),
        ("/break-glasses", {**OPEN, "reason": "x"}, 400),
        ("/break-glasses", {**OPEN, "approvals": None}, 400),
        ("/bundle/rollback", {"reason": "r"}, 400),
        ("/bundle/rollback", {"steps": 0, "reason": "r", "operator": "op"}, 400),
        ("/bundle/unpin", {"revision": "r1", "reason": "r", "operator": "op"}, 400),
    ],
)
def test_they_are_exactly_orders_too(control: Control, target: str, order: Any, status: int) -> None:
    """A request for break glass may be longer than other orders, but has its end as well."""
    assert status == control.ask("POST", target, order)[0]


def test_only_its_owner_and_root_are_heard(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the socket's mode, and by the kernel's word for whoever gets through it."""
    mode = control.path.stat().st_mode
    assert (True, 0o600) == (stat.S_ISSOCK(mode), stat.S_IMODE(mode))
    monkeypatch.setattr(extauthz.admin.control, "peer_uid", lambda _connection: os.geteuid() + 1)
    assert (403, {"error": "only the server's own user and root may use this socket"}) == control.ask()
    assert [] == control.told.orders


@pytest.mark.parametrize(
    ("order", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        ({**GOOD, "clients": "x"}, {}, 400),
        ({**GOOD, "operator": None}, {}, 400),
        ({**GOOD, "client": ["app"]}, {}, 400),
        ({**GOOD, "until": "tomorrow"}, {}, 400),
        ({**GOOD, "until": "2026-11-24T12:00:00"}, {}, 400),
        ({"client": "app", "reason": "INC-1"}, {}, 400),
        ({**GOOD, "reason": "x" * 9000}, {}, 413),
        (GOOD, {"content_type": "text/plain"}, 415),
        (GOOD, {"content_length": "-1"}, 411),
        (GOOD, {"content_length": "1e3"}, 411),
        (GOOD, {"transfer_encoding": "chunked"}, 411),
    ],
)
def test_bodies_that_are_not_exactly_an_order_are_refused(
    control: Control, order: Any, headers: Any, status: int
) -> None:
    found, body = control.ask(order=order, **headers)
    assert (status, ["error"]) == (found, [*body])
    assert [] == control.told.orders


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/", 404),
        ("POST", "/revocations/", 404),
        ("DELETE", "/revocations", 404),
        ("DELETE", "/revocations/a/b", 404),
        ("DELETE", "/revocations/%2e%2e", 404),
        ("GET", "/metrics", 404),
        ("GET", "/freezes", 404),
        ("POST", "/emergencies", 404),
        ("DELETE", "/freezes/f-1", 404),
        ("POST", "/break-glasses/", 404),
        ("GET", "/revocations?limit=x", 400),
        ("PUT", "/revocations", 501),
    ],
)
def test_there_is_nothing_else(control: Control, method: str, target: str, status: int) -> None:
    assert status == control.ask(method, target)[0]
    assert [] == control.told.orders


def test_a_refused_order_says_why(control: Control) -> None:
    control.told.error = OrderError(422, "tenant: unknown tenant `acm`, did you mean `acme`?")
    assert (422, {"error": "tenant: unknown tenant `acm`, did you mean `acme`?"}) == control.ask()
    control.told.error = OrderError(503, "still revoked: the disk is full")
    assert 503 == control.ask("DELETE", "/revocations/r-1", {"reason": "over", "operator": "op"})[0]


def test_a_half_sent_order_is_not_carried_out(control: Control) -> None:
    with control.connect() as sock:
        sock.sendall(b"POST /revocations HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
        sock.shutdown(socket.SHUT_WR)
        assert b"the body is shorter than stated" in b"".join(iter(lambda: sock.recv(4096), b""))
    assert [] == control.told.orders


def test_endless_headers_and_many_connections_hold_nobody_up(control: Control) -> None:
    with control.connect() as sock, pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as the kernel likes
        sock.sendall(b"GET / HTTP/1.1\r\n" + b"X-Endless: 1\r\n" * 1_000_000)
    idle = [control.connect() for _ in range(8)]
    time.sleep(0.1)
    for sock in idle:
        sock.close()
    time.sleep(0.2)
    assert 201 == control.ask()[0]


def test_the_socket_goes_with_the_server_and_a_dead_ones_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    control = Control(path)
    assert 201 == control.ask()[0]
    control.server.stop()
    assert [] == [*tmp_path.iterdir()]


def test_a_living_servers_socket_and_foreign_files_are_left_alone(control: Control, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot listen on `.*control.sock` for control: another process listens on it"):
        ControlServer(str(control.path), Desk(Told(), Told())).bind()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="a file that is no socket is in its place"):
        ControlServer(str(tmp_path / "file"), Desk(Told(), Told())).bind()
    with pytest.raises(OSError, match="no such file or directory"):
        ControlServer(str(tmp_path / "nowhere" / "x"), Desk(Told(), Told())).bind()
    assert 201 == control.ask()[0]


def test_without_a_path_there_is_no_socket(tmp_path: Path) -> None:
    before = threading.active_count()
    server = ControlServer("", Desk(Told(), Told()))
    server.bind()
    server.start()
    server.stop()
    assert before == threading.active_count()


@pytest.mark.parametrize("path", ["control.sock", "/" + "x" * 103])
def test_a_path_that_no_socket_can_have_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a control socket is an absolute path of at most 103 bytes"):
        AdminOptions(control_socket=path)
