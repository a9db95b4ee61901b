"""The two ends of the connection, and the client behind the proxies."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext

from extauthz.model.memo import Memo
from extauthz.model.request import Peer

# A connection sends the same bytes with each of its requests: 200 bytes, or some KiB with a certificate.
_MAX_ENDS: Final = 16_384
_MAX_BYTES: Final = 16 << 20
_ENTRY_BYTES: Final = 600
_MAX_KEPT_SNI: Final = 512
_NOBODY: Final = Peer()
_MAPPED = "::ffff:"
_MAX_ADDRESS = 45  # the longest spelling of an IPv6 address, with its last 32 bits as IPv4


def read_peer(raw: bytes) -> Peer:
    """`AttributeContext.Peer`. Raises DecodeError for bytes that are none."""
    if not raw:
        return _NOBODY
    peer = _known.young.get(raw) or _known.get(raw)
    if peer is None:
        peer = _read(AttributeContext.Peer.FromString(raw))
        _known.put(raw, peer)
    return peer


def read_sni(raw: bytes) -> str:
    """The name in a `TLSSession`. Raises DecodeError for bytes that are none."""
    return _read_sni(raw) if len(raw) <= _MAX_KEPT_SNI else _sni(raw)


def _sni(raw: bytes) -> str:
    return str(AttributeContext.TLSSession.FromString(raw).sni)


_read_sni = lru_cache(maxsize=1024)(_sni)  # a server has few names


def _weigh(written: bytes, _: Peer) -> int:
    return _ENTRY_BYTES + 2 * len(written)


_known: Memo[bytes, Peer] = Memo(_MAX_ENDS, _MAX_BYTES, _weigh)


def _read(peer: Any) -> Peer:  # noqa: ANN401 - upb messages have no static type
    """Service and labels are left alone: the first is a client header (T-33)."""
    address, port = "", 0
    if peer.HasField("address"):
        match peer.address.WhichOneof("address"):
            case "socket_address":
                socket = peer.address.socket_address
                address, port = _without_mapping(socket.address), socket.port_value
            case "pipe":
                address = _pipe(peer.address.pipe.path)
            case "envoy_internal_address":
                internal = peer.address.envoy_internal_address
                address = f"envoy://{internal.server_listener_name}/{internal.endpoint_id}"
    return Peer(address, port, peer.principal, peer.certificate)


def _without_mapping(address: str) -> str:
    """IPv4 stays IPv4 when it arrives on an IPv6 socket, or rules on addresses would miss it (T-34)."""
    if not address.lower().startswith(_MAPPED):
        return address
    return _canonical_address(address) or address


def _pipe(path: str) -> str:
    """A path of a Unix socket, or `@name`; anything else could pass for an IP address (T-34)."""
    return path if path.startswith(("/", "@")) else ""


def _canonical_address(text: str) -> str:
    """An IP address in its shortest spelling, "" if it is none; zone ids are refused."""
    return "" if len(text) > _MAX_ADDRESS or "%" in text else _parse_address(text)


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.compressed
    return address.compressed


def client_address(forwarded_for: str, trusted_hops: int, direct: str) -> str:
    """The entry of X-Forwarded-For that the outermost of `trusted_hops` proxies wrote, counted from the right.

    With no trusted hop it is `direct`, the peer's own. With too few entries, or one that is no address, it is unknown
    and "": the request came past a proxy of ours, and the peer's address would pass for an internal client (T-34).
    """
    if not trusted_hops:
        return direct
    entries = forwarded_for.rsplit(",", trusted_hops)
    if len(entries) < trusted_hops:
        return ""
    return _canonical_address(entries[-trusted_hops].strip(" \t"))
