"""Istio's hosts: string match on the authority as it is sent, port included, in any case.

Rule 1: Istio's `example.com` is not `example.com:443`; ours is, so the port is compared apart.
"""

from typing import Final

from extauthz.mesh.texts import Text, quoted, read_match
from extauthz.mesh.values import Value
from extauthz.model.hosts import canonicalise_host

_WITHOUT_PORT: Final = "request.port == 0"
_HOST: Final = Text("request.host")
_BARE: Final = Text("request.host", guard=_WITHOUT_PORT)
# As it is sent: IPv6 addresses in brackets, which `request.host` has not.
_AUTHORITY: Final = Text(
    '((request.host.contains(":") ? "[" + request.host + "]" : request.host) + '
    '(request.port == 0 ? "" : ":" + string(request.port)))'
)
_HEX: Final = frozenset("0123456789abcdef")  # what may also begin or end an IPv6 address


def host(value: str) -> Value:
    """What a value of `hosts` becomes."""
    lower = value.lower()
    match = read_match(lower)
    name, colon, port = match.text.partition(":")
    if match.kind == "present":
        return Value(native="*", is_exact=True, attribute=_HOST, match=match)
    if any(char in lower for char in "[]{}") or not lower.isascii():
        return Value(lost="only names and IPv4 addresses can be compared as they are sent", instead="compare `ports`")
    if match.kind == "exact":
        return _exact(lower, name, port, colon)
    if match.kind == "prefix":
        if not colon:
            native = "" if "*" in name else f"{name}*"
            if _HEX.issuperset(name):
                return Value(native=native, attribute=_AUTHORITY, match=match)
            return Value(native=native, is_exact=bool(native), attribute=_HOST, match=match)
        if not port:
            return Value(native=name, cel=f"request.host == {quoted(name)} && request.port != 0")
        return Value(native=name, attribute=_AUTHORITY, match=match)
    if colon or _HEX.issuperset(match.text):  # may be the end of a port
        return Value(attribute=_AUTHORITY, match=match)
    native = "" if "*" in match.text else f"*{match.text}"
    return Value(native=native, attribute=_BARE, match=match)


def _exact(written: str, name: str, port: str, colon: str) -> Value:
    found = canonicalise_host(written)
    instead = "write the host as clients send it: a name or IPv4 address, with or without a port"
    if found is None:
        return Value(
            attribute=_HOST,
            match=read_match(written),
            refused="such a host is refused before any policy",
            instead=instead,
        )
    if found.name != name:
        return Value(lost=f"this host is `{found.name}` here", instead=instead)
    if colon:
        return Value(native=name, cel=f"request.host == {quoted(name)} && request.port == {port}")
    return Value(native=name, attribute=_BARE, match=read_match(written))


def without_port(values: list[Value]) -> str:
    """The one expression for hosts of which none has a port, "" when that is not so."""
    plain = values and all(value.native and value.attribute == _BARE for value in values)
    return _WITHOUT_PORT if plain else ""
