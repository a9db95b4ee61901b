"""Connections of the control socket go to a worker: it knows the bundle, and the kernel still says who is calling.

Rule: one worker takes all orders as long as it runs, so that no two change the same state at once.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from extauthz.workers.seat import Seat

_BODY = b'{"error":"no worker runs that could take an order"}'
_NOBODY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def relay(seats: Sequence[Seat]) -> Callable[[socket.socket], None]:
    """Pass a connection on; called by one thread."""
    clerk: list[Seat] = []

    def hand_over(connection: socket.socket) -> None:
        for seat in [*clerk, *seats]:
            process = seat.process
            if seat.serves and process is not None and process.hand_over(connection):
                clerk[:] = [seat]
                return
        connection.settimeout(1.0)
        with suppress(OSError):
            connection.sendall(_NOBODY)

    return hand_over
