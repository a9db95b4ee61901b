"""Orders on connections that another process accepted and passed on (unix(7), SCM_RIGHTS).

The kernel says who is at the other end as if they had connected here.
"""

import socket
import threading
import time

from extauthz.admin.bounded import BoundedServer
from extauthz.admin.control import ORDER_SECONDS, ControlExchange
from extauthz.admin.desk import Desk

_PAUSE_SECONDS = 0.2


class PassedControl:
    """Answers what comes over `passing`; in the place of a ControlServer."""

    def __init__(self, passing: socket.socket, desk: Desk) -> None:
        self._server = _Server(passing, desk)
        self._thread: threading.Thread | None = None

    def bind(self) -> None:
        """There is nothing to take: the path is the other process's."""

    def start(self) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more; exchanges under way end by themselves or with the process."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(1.0)
        self._server.server_close()


class _Server(BoundedServer):
    address_family = socket.AF_UNIX
    max_connections = 8
    max_seconds = ORDER_SECONDS

    def __init__(self, passing: socket.socket, desk: Desk) -> None:
        self.desk = desk
        self._passing = passing
        super().__init__("", ControlExchange)
        self.socket.close()
        self.socket = passing

    def server_bind(self) -> None:
        self.server_name, self.server_port = "localhost", 0

    def server_activate(self) -> None:
        """What is passed on was accepted elsewhere."""

    def get_request(self) -> tuple[socket.socket, str]:
        message, descriptors, _, _ = socket.recv_fds(self._passing, 1, 1)
        if not descriptors:
            if not message:
                time.sleep(_PAUSE_SECONDS)  # the other process is gone, which ends this one at any moment
            raise OSError("nothing was passed on")  # noqa: EM101, TRY003 - the base class goes on
        return socket.socket(fileno=descriptors[0]), ""
