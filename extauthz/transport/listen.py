"""Where the server listens: an IP address with a port, or a Unix socket.

Rule 1: what grpcio would quietly do otherwise is refused first: it takes port 99999 for 34463, binds only some of a
name's addresses, and steals a Unix socket that another process serves.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path

from msgspec import Struct

from extauthz.transport.tls import TlsOptions

_MAX_PORT = 65535
_MAX_SOCKET_PATH = 107  # sun_path, unix(7)
_SOCKET_UMASK = 0o117  # leaves 0660: owner and group, for Envoy runs as another user of the same group


class ListenOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The gRPC listener."""

    address: str = "127.0.0.1:9000"  # `IP:port`, `[IPv6]:port` or `unix:/path`; port 0 takes a free one
    tls: TlsOptions | None = None  # plain text when absent


class Address(Struct, frozen=True):
    """A parsed address; `path` is set for a Unix socket, host and port otherwise."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """As it is written in the configuration."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read an address; raises ValueError that says what would be right."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or len(path.encode()) > _MAX_SOCKET_PATH:
            message = f"`{text}`: a Unix socket must be `unix:/path`, at most {_MAX_SOCKET_PATH} bytes"
            raise ValueError(message)
        return Address(path=path)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    try:
        ip = str(IPv6Address(bare)) if bare else str(IPv4Address(host))
    except AddressValueError:
        message = f"`{text}`: an address must be `IP:port`, `[IPv6]:port` or `unix:/path`"
        raise ValueError(message) from None
    if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        message = f"`{text}`: a port must be a number from 0 to {_MAX_PORT}"
        raise ValueError(message)
    return Address(ip, int(port))


def claim(address: Address) -> None:
    """Make sure that the address can be taken; raises OSError that names it and why."""
    try:
        if address.path:
            _remove_stale(Path(address.path))
        else:
            _try_port(address)
    except OSError as error:
        raise _unusable(address, error.strerror or str(error)) from error


def _unusable(address: Address, why: str) -> OSError:
    return OSError(f"cannot listen on `{address}`: {why[:1].lower()}{why[1:]}")


def _try_port(address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections in TIME_WAIT do not count
        probe.bind((address.host, address.port))


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that is gone; one that answers belongs to somebody."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            message = f"no directory `{path.parent}`"
            raise OSError(message) from None
        return
    if not stat.S_ISSOCK(mode):
        message = "a file that is no socket is in its place"
        raise OSError(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    message = "another process listens on it"
    raise OSError(message)


@contextmanager
def socket_permissions() -> Iterator[None]:
    """While open, Unix sockets are created with 0660, with no moment in which others could connect."""
    before = os.umask(_SOCKET_UMASK)
    try:
        yield
    finally:
        os.umask(before)
