"""The static table of HPACK (RFC 7541 appendix A)."""

from typing import Final

from extauthz.transport.http2.fields import Field, field

_WITH_VALUES = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
)
_NAMES = """
    accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control
    content-disposition content-encoding content-language content-length content-location content-range content-type
    cookie date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since
    last-modified link location max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after
    server set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate
""".split()  # noqa: SIM905 - 45 lines otherwise

# By index, from 1; nothing is at 0.
STATIC: Final[tuple[Field, ...]] = (
    field(b"", b""),
    *(field(name.encode(), value.encode()) for name, value in _WITH_VALUES),
    *(field(name.encode(), b"") for name in _NAMES),
)
