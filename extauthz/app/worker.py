"""A server that is one of several workers: what it has to itself, and what it asks of its supervisor.

Rule 1: it has no admin listener and no control socket; both are the supervisor's, which speaks for all.
Rule 2: when the supervisor is gone it ends too: nobody would start it again, and its port is wanted.
"""

import base64
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from extauthz.admin import Orders, PassedControl, Views
from extauthz.app.place import AdminListener, ControlListener
from extauthz.app.proofs import open_replay_store
from extauthz.app.server import Server, StartError
from extauthz.journal import JournalOptions
from extauthz.journal.places import worker_name
from extauthz.settings import Settings
from extauthz.sources import Change, Found, Kept, RuntimeEmergencies
from extauthz.sources.replay_store import MemoryReplayStore, SharedStore
from extauthz.sources.told_replay import ToldReplayStore
from extauthz.telemetry import Metrics, configure_logs
from extauthz.workers.channel import Channel, ChannelError
from extauthz.workers.plan import Beat, Boot, Failed, FirstUse, Listening, News
from extauthz.workers.shared import ANSWERS

log = logging.getLogger("extauthz.app")

_RESOURCE = 4
_HASTE_SECONDS = 0.2  # between the two signals of a server that has lost its supervisor
_ANSWERS = {answer: meaning for meaning, answer in ANSWERS.items()}


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
        self.passing = passing
        self.seat: Seated | None = None
        self._boot: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.channel = Channel(
            end,
            fast={"boot": self._on_boot},
            slow={"beat": self._beat, "status": self._status, "follow": self._follow},
            on_end=self._on_end,
        )

    def await_boot(self) -> Boot | None:
        """What to be; None when the supervisor went away before it said so. Raises MsgspecError."""
        told = self._boot.get()
        return msgspec.json.decode(told, type=Boot) if told else None

    def seated(self, boot: Boot, settings: Settings) -> "Seated":
        """The place that the supervisor assigns."""
        self.seat = Seated(self, boot, settings)
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

    def _on_end(self) -> None:
        """The supervisor is gone: stop, in haste. Before the server runs a signal ends the process by itself."""
        self._boot.put(b"")
        log.error("the supervisor is gone: this worker ends")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_HASTE_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)


class _Shown:
    """In the place of an admin listener: the supervisor asks over the channel."""

    def bind(self) -> str:
        """There is no address."""
        return ""

    def start(self) -> None:
        """The channel answers already."""

    def stop(self) -> None:
        """The channel ends with the process."""


class Seated:
    """The place of a worker. Implements `app.place.Place`."""

    def __init__(self, worker: Worker, boot: Boot, settings: Settings) -> None:
        self.views: Views | None = None
        self.metrics: Metrics | None = None
        self.instance, self.digest = f"{socket.gethostname()}/{worker_name(boot.worker)}", boot.digest
        self.nonce_key = base64.b64decode(boot.nonce_key)
        self._following, self._version = threading.Lock(), -1
        self._worker, self._boot, self._settings = worker, boot, settings
        self._ordered: RuntimeEmergencies | None = None

    def admin(self, views: Views, metrics: Metrics) -> AdminListener:
        """The supervisor's."""
        self.views, self.metrics = views, metrics
        return _Shown()

    def control(self, orders: Orders) -> ControlListener:
        """Connections that the supervisor passes on."""
        return PassedControl(self._worker.passing, orders)

    def replay_store(self, clock: Callable[[], float]) -> MemoryReplayStore | SharedStore:
        """In memory means the supervisor's, which all workers share."""
        dpop = self._settings.dpop
        if self._boot.replay:
            return ToldReplayStore(self._first_use, dpop.replay.capacity, clock)
        return open_replay_store(dpop, clock)

    def open_emergencies(self, ordered: RuntimeEmergencies) -> Found | None:
        """Take the list over, and follow it from now on."""
        if not self._settings.revocations.file:
            return None
        self._ordered = ordered
        ordered.share = self._publish
        try:
            news = msgspec.json.decode(self._worker.channel.ask("join"), type=News)
        except ChannelError as error:
            message = f"what is ordered at run time is not known: {error}"
            raise OSError(message) from error
        self.follow(news)
        return Found(msgspec.json.decode(news.state, type=list[Kept]), "file")

    def follow(self, news: News) -> None:
        """Put in force, and on record, what another worker was told."""
        with self._following:
            if self._ordered is None or news.version <= self._version:
                return  # the newer came before the older
            entries = msgspec.json.decode(news.state, type=list[Kept])
            self._ordered.adopt(entries, msgspec.json.decode(news.change, type=Change | None))
            self._version = news.version

    def _publish(self, change: Change, entries: list[Kept]) -> None:
        """Returns when every other worker follows, or has been ended."""
        news = News(Raw(msgspec.json.encode(entries)), Raw(msgspec.json.encode(change)))
        with suppress(ChannelError):  # without a supervisor all workers end
            self._worker.channel.ask("publish", msgspec.json.encode(news), seconds=30.0)

    def _first_use(self, key: bytes, expires: int, seconds: float) -> bool | None:
        try:
            answer = self._worker.channel.ask("first_use", msgspec.msgpack.encode(FirstUse(key, expires)), seconds)
        except ChannelError as error:
            raise OSError(str(error)) from error
        return _ANSWERS[answer]


def settings_of(boot: Boot) -> Settings:
    """The server's settings with what a worker has to itself: its address, its journal, its files."""
    whole = msgspec.json.decode(boot.settings, type=Settings)
    return replace(
        whole,
        listen=replace(whole.listen, address=boot.address),
        journal=journal_of(whole.journal, boot.worker),
        workers=replace(whole.workers, count=1, addresses=()),
    )


def journal_of(options: JournalOptions, worker: int) -> JournalOptions:
    """A directory of its own below the server's, whose keys all workers use."""
    sinks = tuple(replace(sink, path=f"{sink.path}.{worker}") if sink.path else sink for sink in options.sinks)
    root = options.directory
    return replace(
        options,
        directory=f"{root}/{worker_name(worker)}",
        signing_key_file=options.signing_key_file or f"{root}/signing.key",
        pseudonym_key_file=options.pseudonym_key_file or f"{root}/pseudonym.key",
        sinks=sinks,
    )
