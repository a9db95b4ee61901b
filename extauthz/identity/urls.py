"""Which URLs may name an issuer or be asked for its keys."""

from urllib.parse import urlsplit

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def is_fetchable(url: str) -> str:
    """What is wrong with a URL to fetch keys from, or that names an issuer; "" when nothing is (KEY-01)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if url != url.strip() or not url.isascii() or not url.isprintable() or " " in url or not host:
        return "is not a URL"
    if parts.username is not None or parts.fragment:
        return "must have neither user nor fragment"
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK):
        return ""
    return "must begin with `https://`; `http://` is for loopback only"
