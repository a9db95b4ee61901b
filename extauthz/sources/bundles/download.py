"""One question to a server over HTTPS, bounded in size and time, whoever answers.

Rule 1: it ends in an answer or an UnreachableError whose text names addresses and files, never credentials or content.
Rule 2: no redirect is followed here; whoever asked decides where else to ask, and what to show there.
Rule 3: certificates, keys and tokens are files that may be replaced while we run.
"""

import os
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Final, NoReturn
from urllib.parse import urlsplit

import httpcore
import httpx
from msgspec import Struct

from extauthz.identity import is_fetchable
from extauthz.sources.bundles.options import FetchOptions
from extauthz.sources.bundles.origin import UnreachableError
from extauthz.sources.bundles.patience import PatientBackend
from extauthz.sources.deadlines import until

_MAX_SECRET_BYTES: Final = 64 << 10
_IDLE_SECONDS: Final = 90.0
_LOST: Final = (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError)
_REFUSED: Final = frozenset({401, 403})
_WITH_BODY: Final = frozenset({200, 226})  # 226: RFC 3229, part of what there is
_MAX_AFTER: Final = 300.0  # a server that wants to be left alone for longer is asked anyway


class Answer(Struct, frozen=True):
    """What the server said."""

    status: int
    headers: dict[str, str]  # names in lower case; the last of several
    body: bytes


class Downloads:
    """Asks servers for one source. One thread asks; `stop` may be called from another."""

    def __init__(self, options: FetchOptions) -> None:
        """Nothing is read or opened yet."""
        self._options = options
        self._stopping = Event()
        self._pools: dict[bool, tuple[object, httpcore.ConnectionPool]] = {}  # by whether our certificate is shown

    def stop(self) -> None:
        """End a question that is under way; later ones fail."""
        self._stopping.set()

    def pause(self, seconds: float) -> None:
        """Wait, unless we stop."""
        self._stopping.wait(seconds)

    def get(
        self,
        uri: str,
        headers: Mapping[str, str],
        *,
        max_bytes: int,
        method: str = "GET",
        wait: float = 0.0,
        as_us: bool = True,
    ) -> Answer:
        """The answer, with its body if the status is 200 or 226. `wait`: seconds that the server may hold the question.

        `as_us` shows our certificate, if we have one. Raises UnreachableError.
        """
        if wrong := is_fetchable(uri):
            self._fail(uri, wrong)
        if uri.startswith("http://") and not self._options.allow_http_loopback:
            self._fail(uri, "is not https, and `allowHttpLoopback` is off")
        end = time.monotonic() + wait + self._options.timeout_seconds
        for last in (False, True):
            try:
                return self._ask(uri, headers, max_bytes, method, (end, as_us))
            except _LOST as error:  # an idle connection that the server closed at the wrong moment: once more
                if last or self._stopping.is_set():
                    self._fail(uri, f"broke off: {_text(error)}")
        raise AssertionError  # the loop ends in an answer or an error

    def bearer(self) -> dict[str, str]:
        """The header that shows our token, if we have one. Raises UnreachableError."""
        if not self._options.token_file:
            return {}
        return {"authorization": f"Bearer {self._secret('tokenFile', self._options.token_file)}"}

    def basic(self) -> dict[str, str]:
        """The header that shows our name and password, if we have them. Raises UnreachableError."""
        if not self._options.credentials_file:
            return {}
        pair = self._secret("credentialsFile", self._options.credentials_file)
        if ":" not in pair:
            message = f"`fetch.credentialsFile`: `{self._options.credentials_file}` must hold `user:password`"
            raise UnreachableError(message)
        return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}

    def check(self) -> None:
        """Read every file once. Raises UnreachableError for one that cannot be used."""
        self.bearer()
        self.basic()
        self._pool(as_us=True)

    def _ask(
        self, uri: str, headers: Mapping[str, str], max_bytes: int, method: str, how: tuple[float, bool]
    ) -> Answer:
        end, as_us = how
        own = {"host": urlsplit(uri).netloc, "accept-encoding": "identity", "user-agent": "extauthz"}
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**own, **headers}.items()]
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), max(0.001, end - time.monotonic()))
        pool = self._pool(as_us=as_us)
        body = bytearray()
        try:
            with until(end), pool.stream(method, uri, headers=sent, extensions={"timeout": timeouts}) as response:
                found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                if response.status in _WITH_BODY and method != "HEAD":
                    if found.get("content-encoding", "identity").lower() != "identity":
                        self._fail(uri, "answered in an encoding that was not asked for")
                    for chunk in response.iter_stream():
                        body += chunk
                        if len(body) > max_bytes:
                            self._fail(uri, f"answered more than {max_bytes} bytes")
        except httpcore.TimeoutException:
            self._fail(uri, f"did not finish within {self._options.timeout_seconds:g} s")
        except _LOST:
            raise
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
            self._fail(uri, f"cannot be reached: {_text(error)}")
        if self._stopping.is_set():
            self._fail(uri, "was not waited for: the server stops")
        return Answer(response.status, found, bytes(body))

    def _pool(self, *, as_us: bool) -> httpcore.ConnectionPool:
        """Connections under the files as they are now."""
        options = self._options
        files = [options.ca_file, *((options.client_certificate_file, options.client_key_file) if as_us else ())]
        states = tuple(self._state(file) for file in files if file)
        kept = self._pools.get(as_us)
        if kept is not None and kept[0] == states:
            return kept[1]
        pool = httpcore.ConnectionPool(
            self._tls(as_us=as_us),
            max_connections=2,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=PatientBackend(self._stopping),
        )
        self._pools[as_us] = (states, pool)
        if kept is not None:
            kept[1].close()
        return pool

    def _tls(self, *, as_us: bool) -> ssl.SSLContext:
        options = self._options
        key, file = "caFile", options.ca_file
        try:
            context = ssl.create_default_context(cafile=file) if file else httpx.create_ssl_context()
            if as_us and options.client_certificate_file:
                key, file = "clientCertificateFile", options.client_certificate_file
                context.load_cert_chain(file, options.client_key_file, password=_no_password)
        except OSError as error:  # ssl.SSLError is one: no certificate in the file, or a key that does not fit
            why = "it holds no usable PEM" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
            message = f"`fetch.{key}`: `{file}` cannot be used: {why}"
            raise UnreachableError(message) from error
        return context

    def _state(self, file: str) -> tuple[int, int, int]:
        try:
            found = os.stat(file)  # noqa: PTH116 - as cheap as can be
        except OSError as error:
            message = f"`{file}` cannot be read: {(error.strerror or str(error)).lower()}"
            raise UnreachableError(message) from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _secret(self, key: str, name: str) -> str:
        try:
            with Path(name).open("rb") as file:
                text = file.read(_MAX_SECRET_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not ASCII"
            message = f"`fetch.{key}`: `{name}` cannot be read: {why}"
            raise UnreachableError(message) from error
        if not text or not text.isprintable():
            message = f"`fetch.{key}`: `{name}` holds no text, or more than one line"
            raise UnreachableError(message)
        return text

    def _fail(self, uri: str, why: str) -> NoReturn:
        message = f"`{uri[:200]}` {why}"
        raise UnreachableError(message) from None


def refused(uri: str, answer: Answer) -> UnreachableError:
    """What a status that is no success means."""
    status, after = answer.status, None
    if status in _REFUSED:
        why = "it does not accept this server"
    elif httpx.codes.is_redirect(status) and status != httpx.codes.NOT_MODIFIED:
        why = "redirects are not followed: name the final address"
    elif status == httpx.codes.NOT_FOUND:
        why = "there is nothing"
    else:
        why = httpx.codes.get_reason_phrase(status).lower() or "an unknown status"
        wanted = answer.headers.get("retry-after", "")
        after = min(_MAX_AFTER, float(wanted)) if wanted.isascii() and wanted.isdigit() else None
    return UnreachableError(f"`{uri[:200]}` answered {status}: {why}", after)


def _no_password() -> str:
    """Without it OpenSSL would ask on the terminal."""
    return ""


def _text(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
