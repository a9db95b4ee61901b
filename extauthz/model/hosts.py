"""The one reading of an authority, and patterns that match it label by label."""

import re
from ipaddress import AddressValueError, IPv6Address

from msgspec import Struct

MAX_HOST = 253  # RFC 1035 section 2.3.4
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_\-]*[a-z0-9_])?)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_MAX_PORT = 65535


class Host(Struct, frozen=True, gc=False):
    """A host with exactly one spelling: lower case, no trailing dot; IPv6 compressed, without brackets."""

    name: str
    port: int  # 0 when none was given


def canonicalise_host(raw: str) -> Host | None:
    """Read `host [":" port]` (RFC 3986 section 3.2.2); refuse user info, lists, odd characters (T-17 to T-19)."""
    match = _AUTHORITY.fullmatch(raw)
    if not match:
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
    return Host(name, port)


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


def parse_host_pattern(text: str) -> HostPattern | str:
    """Read a host pattern, or say what is wrong with it."""
    if text == "*":
        return HostPattern(text, "", "any")
    first, dot, rest = text.partition(".")
    capture = re.fullmatch(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", first)
    wild = first == "*" or capture is not None
    literal = canonicalise_host(rest if wild and dot else text)
    if literal is None or literal.port or (wild and not dot):
        return f"host pattern `{text}` must be a host without port, `*.suffix`, `{{name}}.suffix` or `*`"
    if literal.name != (rest if wild else text):
        return f"host pattern `{text}` must be written `{text.lower().removesuffix('.')}`"
    if not wild:
        return HostPattern(text, literal.name, "exact")
    suffix = "." + literal.name
    return HostPattern(text, suffix, "capture", capture[1]) if capture else HostPattern(text, suffix, "below")
