"""The one reading of an authority, and patterns that match it label by label."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from msgspec import Struct

# Patterns that are kept as they were read: a bundle's documents are looked at by several, and again with each change.
_KEPT = 4096
MAX_HOST = 253  # RFC 1035 section 2.3.4
_MAX_AUTHORITY = MAX_HOST + len(".:65535")
# Labels of at most 63 characters (RFC 1035 section 2.3.4); underscores because Kubernetes and SRV names have them.
_NAME = re.compile(
    r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?)*",
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")
_MAX_PORT = 65535
# URL parsers take a name whose last label is a number for an IPv4 address: `127.1`, `0x7f000001`.
_NUMERIC_END = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


class Host(Struct, frozen=True, gc=False):
    """A host with exactly one spelling: lower case, no trailing dot; IPv6 compressed, without brackets."""

    name: str
    port: int  # 0 when none was given


def canonicalise_host(raw: str) -> Host | None:
    """Read `host [":" port]` (RFC 3986 section 3.2.2); refuse user info, lists, odd characters (T-17 to T-19)."""
    return _read_host(raw) if len(raw) <= _MAX_AUTHORITY else None


@lru_cache(maxsize=1024)  # a server has few names
def _read_host(raw: str) -> Host | None:
    match = _AUTHORITY.fullmatch(raw)
    if not match or not raw.isascii():  # lower-casing would turn U+212A into `k`
        return None
    name, port = match[1].lower(), int(match[2] or 0)
    if port > _MAX_PORT:
        return None
    if name.startswith("["):
        try:
            return Host(IPv6Address(name[1:-1]).compressed, port)
        except AddressValueError:
            return None
    name = name.removesuffix(".")
    if len(name) > MAX_HOST or not _NAME.fullmatch(name):
        return None
    if _NUMERIC_END.fullmatch(name.rpartition(".")[2]) and not _is_ipv4(name):
        return None
    return Host(name, port)


def _is_ipv4(name: str) -> bool:
    """Four decimal numbers without leading zeros, the one spelling that everybody reads alike."""
    try:
        IPv4Address(name)
    except AddressValueError:
        return False
    return True


class HostPattern(Struct, frozen=True):
    """`api.example.com`, `*.example.com` (one label or more), `{tenant}.example.com` (one label) or `*`."""

    text: str
    suffix: str  # what the host must end with, or be when `kind` is exact
    kind: str  # "exact", "any", "below" or "capture"
    capture: str = ""

    def match(self, host: str) -> dict[str, str] | None:
        """The captured label by name, or None when the pattern does not cover the host."""
        if self.kind == "exact":
            return {} if host == self.suffix else None
        if self.kind == "any":
            return {}
        if not host.endswith(self.suffix) or len(host) == len(self.suffix):
            return None
        if self.kind == "below":
            return {}
        label = host[: -len(self.suffix)]
        return {self.capture: label} if _LABEL.fullmatch(label) else None

    @property
    def specificity(self) -> tuple[int, int]:
        """Sort key: the smaller, the more specific."""
        return ({"exact": 0, "capture": 1, "below": 2, "any": 3}[self.kind], -len(self.suffix))


@lru_cache(maxsize=_KEPT)
def parse_host_pattern(text: str) -> HostPattern | str:
    """Read a host pattern, or say what is wrong with it."""
    if text == "*":
        return HostPattern(text, "", "any")
    first, dot, rest = text.partition(".")
    capture = re.fullmatch(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", first)
    wild = first == "*" or capture is not None
    literal = canonicalise_host(rest if wild and dot else text)
    if literal is None or literal.port or (wild and (not dot or ":" in literal.name)):
        return f"host pattern `{text}` must be a host without port, `*.suffix`, `{{name}}.suffix` or `*`"
    spelling = f"[{literal.name}]" if ":" in literal.name else literal.name
    if spelling != (rest if wild else text):
        return f"host pattern `{text}` must be written `{first + '.' if wild else ''}{spelling}`"
    if not wild:
        return HostPattern(text, literal.name, "exact")
    suffix = "." + literal.name
    return HostPattern(text, suffix, "capture", capture[1]) if capture else HostPattern(text, suffix, "below")
