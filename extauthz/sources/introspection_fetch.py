"""One question to an issuer over HTTPS (RFC 7662 section 2), bounded in size and time.

Rule 1: it ends in an answer or an AskError whose text may be logged: it names addresses, never tokens or answers.
"""

import ssl
import time
from typing import Literal, NoReturn
from urllib.parse import urlencode, urlsplit

import httpcore
from msgspec import Struct

from extauthz.identity import MAX_ANSWER, SIGNED_TYPE, Glance, Introspection, Issuer, glance
from extauthz.sources.deadlines import DeadlineBackend, until
from extauthz.sources.issuer_clients import Client, CredentialError

Fault = Literal["unavailable", "refused", "garbled", "downgraded"]

_OK = 200
_IDLE_CONNECTIONS = 32  # kept open to all issuers; how many are open at once is bounded by how many Checks may wait
_IDLE_SECONDS = 30.0
# Answers that say nothing about the token: the issuer does not take our word for who we are, or is on its knees.
_UNAUTHORIZED = frozenset({401, 403})
_ON_ITS_KNEES = frozenset({429, 502, 503, 504})
_LOST = (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError)
_JSON = "application/json"
_SIGNED = f"application/{SIGNED_TYPE}"


class AskError(Exception):
    """Why there is no answer."""

    def __init__(self, fault: Fault, message: str, *, dead: bool) -> None:
        """`dead`: it says something about the issuer as a whole, and not about this token alone."""
        self.fault, self.dead = fault, dead
        super().__init__("".join(char if char.isprintable() else "?" for char in message))


class Said(Struct, frozen=True):
    """An answer, and how long it may be kept."""

    answer: bytes
    seen: Glance


def open_pool(tls: ssl.SSLContext, backend: DeadlineBackend) -> httpcore.ConnectionPool:
    """Connections that questions share, opened by `backend`."""
    return httpcore.ConnectionPool(
        tls,
        max_connections=None,  # or a slow issuer could take the connections of the others
        max_keepalive_connections=_IDLE_CONNECTIONS,
        keepalive_expiry=_IDLE_SECONDS,
        retries=0,
        network_backend=backend,
    )


def fetch_answer(pool: httpcore.ConnectionPool, issuer: Issuer, token: str, client: Client, seconds: float) -> Said:
    """What the issuer says about `token`, within `seconds`. Raises AskError."""
    settings = issuer.introspection
    if settings is None:
        _fail("garbled", f"`{issuer.name}` has no endpoint", dead=True)
    end = time.monotonic() + seconds
    try:
        status, found_type, body = _post(pool, settings.endpoint, *_question(issuer, settings, token, client), end)
    except _LOST:  # the issuer closed an idle connection at the wrong moment; asking again changes nothing there
        try:
            status, found_type, body = _post(pool, settings.endpoint, *_question(issuer, settings, token, client), end)
        except _LOST as error:
            _fail("unavailable", f"`{settings.endpoint}` cannot be reached: {_text(error)}", dead=True)
    _check_status(settings.endpoint, status)
    if settings.signed and found_type != _SIGNED:
        message = f"`{settings.endpoint}` answered without a signature: a downgrade (INT-07)"
        _fail("downgraded", message, dead=False)
    seen = glance(body, signed=settings.signed)
    if isinstance(seen, str):
        _fail("garbled", f"`{settings.endpoint}` gave no usable answer: {seen}", dead=False)
    return Said(body, seen)


def _question(
    issuer: Issuer, settings: Introspection, token: str, client: Client
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header and form (INT-01: whoever asks shows who it is)."""
    try:
        shown = client.authenticate(issuer.issuer)
    except CredentialError as error:
        _fail("refused", str(error), dead=True)
    form = urlencode([("token", token), ("token_type_hint", "access_token"), *shown.form]).encode()
    headers = [
        (b"host", urlsplit(settings.endpoint).netloc.encode()),
        (b"accept", (_SIGNED if settings.signed else _JSON).encode()),
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(form)).encode()),
        *shown.headers,
    ]
    return headers, form


def _post(
    pool: httpcore.ConnectionPool, uri: str, headers: list[tuple[bytes, bytes]], form: bytes, end: float
) -> tuple[int, str, bytes]:
    """Status, media type and body."""
    seconds = max(0.001, end - time.monotonic())
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    body = bytearray()
    try:
        with (
            until(end),
            pool.stream("POST", uri, headers=headers, content=form, extensions={"timeout": timeouts}) as response,
        ):
            if response.status != _OK:
                return response.status, "", b""
            found = {name.lower(): value for name, value in response.headers}
            if found.get(b"content-encoding", b"identity").lower() != b"identity":
                _fail("garbled", f"`{uri}` answered in an encoding that was not asked for", dead=False)
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > MAX_ANSWER:
                    _fail("garbled", f"`{uri}` answered more than {MAX_ANSWER} bytes", dead=False)
    except httpcore.TimeoutException:
        _fail("unavailable", f"`{uri}` did not answer within {seconds:.3g} s", dead=True)
    except _LOST:
        raise
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, RuntimeError) as error:
        # RuntimeError: the pool was closed under us
        _fail("unavailable", f"`{uri}` cannot be reached: {_text(error)}", dead=True)
    media_type = found.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return response.status, media_type, bytes(body)


def _text(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


def _fail(fault: Fault, message: str, *, dead: bool) -> NoReturn:
    raise AskError(fault, message, dead=dead) from None


def _check_status(uri: str, status: int) -> None:
    """INT-02: only 200 is an answer; a redirect is followed nowhere, for the token would go with it."""
    if status == _OK:
        return
    if status in _UNAUTHORIZED:
        _fail("refused", f"`{uri}` answered {status}: it does not accept this client", dead=True)
    dead = status in _ON_ITS_KNEES or 300 <= status < 400  # noqa: PLR2004 - redirects
    _fail("unavailable" if dead else "garbled", f"`{uri}` answered {status}", dead=dead)
