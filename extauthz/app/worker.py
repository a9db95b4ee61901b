"""A worker process, from its start to its end.

Rule: when the supervisor is gone it ends too: nobody would start it again, and its port is wanted.
"""

import logging
import os
import queue
import signal
import socket
import time
from contextlib import suppress

import msgspec

from extauthz.app.seated import Seated, settings_of
from extauthz.app.server import Server
from extauthz.app.start_error import StartError
from extauthz.settings import Settings
from extauthz.telemetry import configure_logs
from extauthz.workers.channel import Channel, ChannelError
from extauthz.workers.plan import Beat, Boot, Failed, Listening, News

log = logging.getLogger("extauthz.app")

_RESOURCE = 4
_HASTE_SECONDS = 0.2  # between the two signals of a server that has lost its supervisor


def serve_worker(descriptors: str) -> int:
    """Run as the worker whose supervisor is at the other end of these two sockets; the exit code."""
    end, passing = (socket.socket(fileno=int(number)) for number in descriptors.split(","))
    worker = Worker(end, passing)
    worker.channel.start()
    try:
        boot = worker.await_boot()
        if boot is None:
            return 0
        settings = settings_of(boot)
    except msgspec.MsgspecError as error:
        worker.tell("failed", Failed(_RESOURCE, (f"the program was changed under a running supervisor: {error}",)))
        return _RESOURCE
    configure_logs(settings.telemetry.logs, fields={"worker": boot.worker})
    try:
        server = Server(settings, time.time, time.monotonic, worker.seated(boot, settings))
        addresses = server.start()
    except StartError as error:
        worker.tell("failed", Failed(_RESOURCE, (str(error),)))
        return _RESOURCE
    worker.tell("listening", Listening(addresses.grpc))
    server.run()
    worker.tell_last()
    worker.channel.close()
    return 0


class Worker:
    """The channel to the supervisor."""

    def __init__(self, end: socket.socket, passing: socket.socket) -> None:
        """Nothing is read yet."""
        self._passing = passing
        self.seat: Seated | None = None
        self._boot: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.channel = Channel(
            end,
            fast={"boot": self._on_boot},
            slow={"beat": self._beat, "status": self._status, "follow": self._follow, "order": self._order},
            on_end=self._on_end,
        )

    def await_boot(self) -> Boot | None:
        """What to be; None when the supervisor went away before it said so. Raises MsgspecError."""
        told = self._boot.get()
        return msgspec.json.decode(told, type=Boot) if told else None

    def seated(self, boot: Boot, settings: Settings) -> Seated:
        """The place that the supervisor assigns."""
        self.seat = Seated(self.channel, self._passing, boot, settings)
        return self.seat

    def tell(self, kind: str, what: msgspec.Struct) -> None:
        """Say something to the supervisor; without one there is nobody to tell."""
        with suppress(ChannelError):
            self.channel.tell(kind, msgspec.msgpack.encode(what))

    def tell_last(self) -> None:
        """What was counted until the end."""
        with suppress(ChannelError):
            self.channel.tell("last", self._beat(b""))

    def _on_boot(self, body: bytes) -> bytes:
        self._boot.put(body)
        return b""

    def _beat(self, _: bytes) -> bytes:
        if self.seat is None or self.seat.views is None or self.seat.metrics is None:
            raise ChannelError("it is not built yet")  # noqa: EM101, TRY003
        return msgspec.msgpack.encode(Beat(self.seat.metrics.report(), self.seat.views.readiness()))

    def _status(self, _: bytes) -> bytes:
        if self.seat is None or self.seat.views is None:
            raise ChannelError("it is not built yet")  # noqa: EM101, TRY003
        return msgspec.json.encode(self.seat.views.status())

    def _follow(self, body: bytes) -> bytes:
        if self.seat is not None:
            self.seat.follow(msgspec.json.decode(body, type=News))
        return b""

    def _order(self, body: bytes) -> bytes:
        if self.seat is not None:
            self.seat.follow_order(body)
        return b""

    def _on_end(self) -> None:
        """The supervisor is gone: stop, in haste. Before the server runs a signal ends the process by itself."""
        self._boot.put(b"")
        if self.seat is not None:
            log.error("the supervisor is gone: this worker ends")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_HASTE_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
