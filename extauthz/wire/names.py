"""Which names and values may leave in an answer. Envoy writes some of them to the client as they are (T-38)."""

import re
from itertools import product
from urllib.parse import quote

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~\-]{1,128}")  # RFC 9110 section 5.6.2, lower case
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_VALUE = re.compile(r"[\x20-\x24\x26-\x7e]*")

# Message framing and connection management: Envoy's own. A content-length set by us hangs the request.
_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    },
)
# Envoy once crashed when `origin` was gone before its CORS filter ran (T-72).
_NEVER_REMOVED = _FRAMING | {"origin"}


def may_set(name: str) -> bool:
    """Whether a header of that name, in lower case, may be set: a token, no pseudo-header, no framing."""
    return bool(_TOKEN.fullmatch(name)) and name not in _FRAMING


def may_remove(name: str) -> bool:
    """Whether a request header of that name, in lower case, may be removed."""
    return bool(_TOKEN.fullmatch(name)) and name not in _NEVER_REMOVED


def clean(text: str, limit: int) -> str:
    """Text for metadata, which is JSON to its readers: cut to `limit` characters, surrogates replaced."""
    return _SURROGATE.sub("\ufffd", text[:limit])


def escape(value: str, separator: str = "") -> str:
    """A verified text as a header value of visible ASCII, percent-encoded where it is anything else.

    `%` and the `separator` of a list are encoded too, so that decoding gives the text back (T-38).
    """
    if _PLAIN_VALUE.fullmatch(value) and value == value.strip(" ") and not (separator and separator in value):
        return value
    safe = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"
    if separator:
        safe = safe.replace(separator, "")
    if value != value.strip(" "):
        safe = safe.replace(" ", "")
    return quote(value, safe=safe, errors="surrogatepass")


def twins(name: str) -> list[str]:
    """Every other spelling that CGI-style servers read as `name`: each `-` as `_` (T-28)."""
    head, *rest = name.replace("_", "-").split("-")
    spellings = [
        head + "".join(s + part for s, part in zip(signs, rest, strict=True))
        for signs in product("-_", repeat=len(rest))
    ]
    return [spelling for spelling in spellings if spelling != name]


def encode_query(text: str) -> str:
    """A name or value of a query parameter; Envoy writes it unencoded (section 2 of RFC 3986 for the safe set)."""
    return quote(text, safe="")
