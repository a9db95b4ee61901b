"""Where a listener listens: an IP address with a port, or a Unix socket.

Names are not taken: a listener must not depend on what DNS says, and may not end on only some of a name's addresses.
"""

from ipaddress import AddressValueError, IPv4Address, IPv6Address

from msgspec import Struct

_MAX_PORT = 65535
_MAX_SOCKET_PATH = 107  # sun_path, unix(7)


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
