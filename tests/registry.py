"""A registry on the loopback that speaks what a pull needs of the OCI Distribution Specification, and bad days of it.

Manifests by tag and digest with HEAD, blobs, challenges (Basic; Bearer with a token server), and storage elsewhere.
"""

import json
import ssl
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import trustme

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.extauthz.bundle.v1.tar+gzip"
EMPTY = b"{}"


def digest_of(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the small answer must not wait for an ACK
    owner: ClassVar["Registry"]

    def do_GET(self) -> None:
        try:
            self.owner.serve(self)
        except OSError:
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def handle_error(self, *_: Any) -> None:
        """Clients that go away are no news."""


class Registry:
    """Repositories in memory."""

    def __init__(self, authority: trustme.CA | None = None) -> None:
        self.tags: dict[str, str] = {}  # `repository:tag` to the manifest's digest
        self.content: dict[str, bytes] = {}  # by digest
        self.password = ""  # `user:password` that Basic or the token server wants
        self.scheme = "bearer"  # of the challenge
        self.realm = ""  # of the token server, if it is not this one
        self.token = "t-1"
        self.storage: Registry | None = None  # where blobs are redirected to
        self.redirects = 1
        self.tell_digest = True
        self.spoil: Callable[[str, bytes], bytes] = lambda _path, body: body
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        handler = type("Own", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.secure = authority is not None
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def base(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}"

    def push(self, archive: bytes, tag: str = "live", *, repository: str = "policies/bank", **changes: Any) -> str:
        """As `oras push` does; `changes` spoil the manifest. The manifest's digest."""
        layer = {"mediaType": LAYER_TYPE, "digest": digest_of(archive), "size": len(archive)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": "application/vnd.extauthz.bundle.v1",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(EMPTY), "size": 2},
            "layers": [layer],
            "annotations": {"org.opencontainers.image.created": "2026-11-23T10:00:00Z"},
            **changes,
        }
        text = json.dumps(manifest).encode()
        self.content |= {digest_of(archive): archive, digest_of(text): text}
        self.tags[f"{repository}:{tag}"] = digest_of(text)
        return digest_of(text)

    def serve(self, handler: _Handler) -> None:
        path = urlsplit(handler.path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append((handler.command, handler.path, headers))
        if path.path == "/token":
            self._grant(handler, headers, parse_qs(path.query))
            return
        if self.password and not self._known(headers):
            realm = self.realm or f"{self.base}/token"
            bearer = f'Bearer realm="{realm}",service="registry.test",scope="repository:policies/bank:pull"'
            handler.send(401, www_authenticate='Basic realm="registry"' if self.scheme == "basic" else bearer)
            return
        repository, kind, name = path.path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "manifests":
            digest = name if name.startswith("sha256:") else self.tags.get(f"{repository}:{name}", "")
            body = self.content.get(digest)
            if body is None:
                handler.send(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
                return
            told = {"docker_content_digest": digest} if self.tell_digest else {}
            handler.send(200, self.spoil(path.path, body), content_type=MANIFEST_TYPE, **told)
        elif self.storage is not None and self.redirects:
            handler.send(307, location=f"{self.storage.base}/v2/storage/blobs/{name}?signature=good-for-an-hour")
        elif name in self.content:
            handler.send(200, self.spoil(path.path, self.content[name]), content_type="application/octet-stream")
        else:
            handler.send(404)

    def _known(self, headers: dict[str, str]) -> bool:
        wanted = f"Bearer {self.token}" if self.scheme == "bearer" else self._basic()
        return headers.get("authorization") == wanted

    def _grant(self, handler: _Handler, headers: dict[str, str], query: dict[str, list[str]]) -> None:
        good = headers.get("authorization") == self._basic() and query["scope"] == ["repository:policies/bank:pull"]
        if good and query["service"] == ["registry.test"]:
            handler.send(200, json.dumps({"token": self.token, "expires_in": 300}).encode())
        else:
            handler.send(401)

    def _basic(self) -> str:
        return f"Basic {b64encode(self.password.encode()).decode()}"
