"""The admin listener that shows and changes nothing."""

import socket
import threading
from typing import Annotated

from msgspec import Meta, Struct

from extauthz.admin.bounded import BoundedServer
from extauthz.admin.control import MAX_PATH
from extauthz.admin.exchange import Exchange, Views
from extauthz.model.addresses import Address, parse_address


class AdminOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The admin listener. It shows what the server does, so bind it where only operators and scrapers reach it."""

    address: str = "127.0.0.1:9001"  # `IP:port` or `[IPv6]:port`; port 0 takes a free one
    # names besides IP addresses and `localhost` by which it may be asked; others are refused (DNS rebinding)
    host_names: tuple[str, ...] = ()
    max_connections: Annotated[int, Meta(ge=1, le=256)] = 16  # at once; probes find a place among slow ones
    # path of a Unix socket for `extauthz ctl`; its owner and root may revoke there. Without it nobody can at run time.
    control_socket: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be an address, and Unix sockets, which no scraper reaches."""
        path = self.control_socket
        if path and not (path.startswith("/") and len(path.encode()) <= MAX_PATH):
            message = f"`{path}`: a control socket is an absolute path of at most {MAX_PATH} bytes"
            raise ValueError(message)
        if parse_address(self.address).path:
            message = f"`{self.address}`: an address must be `IP:port` or `[IPv6]:port`"
            raise ValueError(message)


class AdminServer:
    """The admin listener and its threads."""

    def __init__(self, options: AdminOptions, views: Views) -> None:
        """Nothing is opened yet."""
        self._options = options
        self._views = views
        self._where = parse_address(options.address)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def bind(self) -> str:
        """Take the address, without serving yet; returns it with the actual port. Raises OSError."""
        try:
            self._server = _Server((self._where.host, self._where.port), self._options, self._views)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            message = f"cannot listen on `{self._options.address}` for admin: {why}"
            raise OSError(message) from error
        return str(Address(self._where.host, self._server.server_port))

    def start(self) -> None:
        """Begin to answer."""
        if self._server is not None:
            self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Close the listener; exchanges under way end by themselves or with the process."""
        if self._server is not None:
            if self._thread is not None:
                self._server.shutdown()
                self._thread.join(1.0)
            self._server.server_close()


class _Server(BoundedServer):
    def __init__(self, where: tuple[str, int], options: AdminOptions, views: Views) -> None:
        self.views = views
        self.host_names = frozenset(options.host_names)
        self.max_connections = options.max_connections
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        super().__init__(where, Exchange)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the DNS for the name of the address.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
