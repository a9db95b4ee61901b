"""The place of a server that is one of several workers: what it has to itself, and what it shares with the others.

Rule: it has no admin listener and no control socket; both are the supervisor's, which speaks for all.
"""

import base64
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from extauthz.admin import CandidateStatus, Desk, PassedControl, Views
from extauthz.app.place import AdminListener, ControlListener
from extauthz.app.proofs import open_replay_store
from extauthz.journal import JournalOptions
from extauthz.journal.places import worker_name
from extauthz.settings import Settings
from extauthz.sources import Change, Found, Kept, RuntimeEmergencies
from extauthz.sources.bundles import BundleOrders, Ordered
from extauthz.sources.replay_store import MemoryReplayStore, SharedStore
from extauthz.sources.told_replay import ToldReplayStore
from extauthz.telemetry import Metrics
from extauthz.workers.channel import Channel, ChannelError
from extauthz.workers.plan import Boot, FirstUse, News
from extauthz.workers.shared import ANSWERS

_ANSWERS = {answer: meaning for meaning, answer in ANSWERS.items()}
_ORDER_SECONDS = 50.0  # likewise
_PUBLISH_SECONDS = 30.0  # longer than the supervisor waits for a worker that does not follow


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

    def __init__(self, channel: Channel, passing: socket.socket, boot: Boot, settings: Settings) -> None:
        """`channel` leads to the supervisor; over `passing` come the connections of its control socket."""
        self.views: Views | None = None
        self.metrics: Metrics | None = None
        self.instance, self.digest = f"{socket.gethostname()}/{worker_name(boot.worker)}", boot.digest
        self.nonce_key = base64.b64decode(boot.nonce_key)
        self._following, self._version = threading.Lock(), -1
        self._channel, self._passing = channel, passing
        self._boot, self._settings = boot, settings
        self._ordered: RuntimeEmergencies | None = None
        self._orders: BundleOrders | None = None

    def admin(self, views: Views, metrics: Metrics) -> AdminListener:
        """The supervisor's."""
        self.views, self.metrics = views, metrics
        return _Shown()

    def control(self, desk: Desk) -> ControlListener:
        """Connections that the supervisor passes on."""
        return PassedControl(self._passing, desk)

    def replay_store(self, clock: Callable[[], float]) -> MemoryReplayStore | SharedStore:
        """In memory means the supervisor's, which all workers share."""
        dpop = self._settings.dpop
        if self._boot.replay:
            return ToldReplayStore(self._first_use, dpop.replay.capacity, clock)
        return open_replay_store(dpop, clock)

    def bundles(self, orders: BundleOrders) -> None:
        """The others are told, and tell."""
        orders.share = self._share_order
        self._orders = orders

    def candidate(self, own: CandidateStatus | None) -> CandidateStatus | None:
        """What all workers together have compared; nothing passes on the word of one. None when that is not known."""
        if own is None:
            return None
        try:
            return msgspec.json.decode(self._channel.ask("candidate"), type=CandidateStatus | None)
        except ChannelError:
            return None

    def follow_order(self, body: bytes) -> None:
        """What another worker was ordered about bundles. Before the first bundle it needs no answer: the disk knows."""
        if self._orders is not None:
            self._orders.follow(msgspec.json.decode(body, type=Ordered))

    def _share_order(self, ordered: Ordered) -> None:
        """Returns when every other worker follows, or has been ended."""
        with suppress(ChannelError):  # without a supervisor all workers end
            self._channel.ask("order", msgspec.json.encode(ordered), _ORDER_SECONDS)

    def open_emergencies(self, ordered: RuntimeEmergencies) -> Found | None:
        """Take the list over, and follow it from now on."""
        if not self._settings.revocations.file:
            return None
        self._ordered = ordered
        ordered.share = self._publish
        try:
            news = msgspec.json.decode(self._channel.ask("join"), type=News)
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
            self._channel.ask("publish", msgspec.json.encode(news), _PUBLISH_SECONDS)

    def _first_use(self, key: bytes, expires: int, seconds: float) -> bool | None:
        try:
            answer = self._channel.ask("first_use", msgspec.msgpack.encode(FirstUse(key, expires)), seconds)
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
