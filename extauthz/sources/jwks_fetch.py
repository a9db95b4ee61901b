"""One fetch of an issuer's keys over HTTPS, bounded in size and time.

Rule 1: a fetch ends in a KeySet or a FetchError whose text may be logged: it names addresses, never contents.
"""

import ssl
from collections.abc import Callable

import httpx
from msgspec import DecodeError, Struct, ValidationError, json

from extauthz.identity import MAX_JWKS, Issuer, JwksError, KeySet, is_fetchable, parse_jwks

_OK = 200


class FetchError(Exception):
    """Why there are no new keys; printable, though parts may come from afar."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(char if char.isprintable() else "?" for char in message))


class FetchLimits(Struct, frozen=True):
    """What a fetch may cost."""

    seconds: float
    max_bytes: int = MAX_JWKS
    allow_http_loopback: bool = False


class _Metadata(Struct):
    """What we read of OpenID Connect Discovery section 3, or RFC 8414 section 2."""

    issuer: str
    jwks_uri: str


def open_client(tls: ssl.SSLContext, limits: FetchLimits) -> httpx.Client:
    """A client for one fetch. Closing it from another thread ends a fetch that trickles."""
    return httpx.Client(
        verify=tls,
        timeout=limits.seconds,
        follow_redirects=False,  # KEY-01: whoever may redirect could choose the keys
        trust_env=False,
        headers={"accept": "application/json", "accept-encoding": "identity"},
    )


def fetch_keys(
    issuer: Issuer, client: httpx.Client, limits: FetchLimits, clock: Callable[[], float]
) -> tuple[KeySet, list[str]]:
    """The issuer's keys as published now, and a line about each that is unusable. Raises FetchError."""
    deadline = clock() + limits.seconds
    with client:
        uri = issuer.jwks_uri or _discover(client, issuer, limits, deadline, clock)
        text = _get(client, uri, limits, deadline, clock)
    try:
        return parse_jwks(text, issuer)
    except JwksError as error:
        message = f"`{uri}` is not a key set: {error}"
        raise FetchError(message) from None


def _discover(
    client: httpx.Client, issuer: Issuer, limits: FetchLimits, deadline: float, clock: Callable[[], float]
) -> str:
    """Where the issuer says its keys are (OpenID Connect Discovery section 4), if it is the issuer (KEY-01)."""
    uri = issuer.metadata_uri
    try:
        metadata = json.decode(_get(client, uri, limits, deadline, clock), type=_Metadata)
    except (DecodeError, ValidationError, UnicodeDecodeError, RecursionError):
        message = f"`{uri}` is not issuer metadata with `issuer` and `jwks_uri`"
        raise FetchError(message) from None
    if metadata.issuer != issuer.issuer:
        message = f"`{uri}` speaks for another issuer"
        raise FetchError(message)
    return metadata.jwks_uri


def _get(client: httpx.Client, uri: str, limits: FetchLimits, deadline: float, clock: Callable[[], float]) -> bytes:
    """The body of a 200, whole, before the deadline."""
    if wrong := is_fetchable(uri):
        message = f"`{uri[:200]}` {wrong}"
        raise FetchError(message)
    if uri.startswith("http://") and not limits.allow_http_loopback:
        message = f"`{uri}` is not https, and `allowHttpLoopback` is off"
        raise FetchError(message)
    body = bytearray()
    try:
        with client.stream("GET", uri) as response:
            if response.status_code != _OK:
                message = f"`{uri}` answered {response.status_code}"
                raise FetchError(message)
            if response.headers.get("content-encoding", "identity") != "identity":
                message = f"`{uri}` answered in an encoding that was not asked for"
                raise FetchError(message)
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > limits.max_bytes:
                    message = f"`{uri}` answered more than {limits.max_bytes} bytes"
                    raise FetchError(message)
                if clock() > deadline:
                    message = f"`{uri}` did not finish within {limits.seconds:g} s"
                    raise FetchError(message)
    except httpx.TimeoutException:
        message = f"`{uri}` did not answer within {limits.seconds:g} s"
        raise FetchError(message) from None
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        message = f"`{uri}` cannot be reached: {str(error)[:200] or type(error).__name__}"
        raise FetchError(message) from None
    return bytes(body)
