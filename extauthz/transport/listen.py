"""Taking the address of the gRPC listener.

Rule 1: what grpcio would quietly do otherwise, below the stock transport, is refused first: it takes port 99999 for
34463, binds only some of a name's addresses, and steals a Unix socket that another process serves.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from extauthz.model.addresses import Address, parse_address
from extauthz.transport.tls import TlsOptions

_SOCKET_UMASK = 0o117  # leaves 0660: owner and group, for Envoy runs as another user of the same group


class ListenOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The gRPC listener."""

    address: str = "127.0.0.1:9000"  # `IP:port`, `[IPv6]:port` or `unix:/path`; port 0 takes a free one
    tls: TlsOptions | None = None  # plain text when absent

    def __post_init__(self) -> None:
        """Refuse what cannot be an address."""
        parse_address(self.address)


def claim(address: Address) -> None:
    """Make sure that the address can be taken; raises OSError that names it and why."""
    try:
        if address.path:
            _remove_stale(Path(address.path))
        else:
            _try_port(address)
    except OSError as error:
        raise _unusable(address, error.strerror or str(error)) from error


def listener(address: Address) -> tuple[socket.socket, Address]:
    """Take the address: a socket that does not listen yet, and the address with its actual port. Raises OSError."""
    claim(address)
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if address.path:
            with socket_permissions():
                sock.bind(address.path)
            return sock, address
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        return sock, Address(address.host, sock.getsockname()[1])
    except OSError as error:  # taken between the claim and now
        sock.close()
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
