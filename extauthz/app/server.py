"""The life of a server: its rooms are opened in order, run, and are closed in the opposite order.

Rule 1: what cannot be had (port, key, directory) ends the start with one line and leaves nothing behind.
Rule 2: what may come later (a usable bundle, keys) does not end the start: the server runs, answers, and is not ready.
"""

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from msgspec import Struct

from extauthz.app.opening import open_emergencies, open_journal, start_tracing
from extauthz.app.place import Alone, Place
from extauthz.app.rooms import Rooms
from extauthz.app.start_error import StartError, ca_file
from extauthz.handler import Handler, HandlerOptions, Observer
from extauthz.journal import Journal, JournalError
from extauthz.questions import Questions
from extauthz.settings import Settings
from extauthz.sources.issuer_clients import CredentialError
from extauthz.workers import Signals

log = logging.getLogger("extauthz.app")

# Threads of ours wait this long at most for the interpreter. With the default of 5 ms a burst of Python beside the
# path lifts the p99 of a Check from 2 to 20 ms; with this to 4.
_SWITCH_SECONDS = 50e-6
# What a worker waits for the keys of its issuers before it answers; then it does, and is not ready.
_WARM_UP_SECONDS, _LOOK_SECONDS = 1.0, 0.005
# What the last Checks have for their decision and its way out after nobody is asked any more.
LAST_SECONDS = 1.0


class Addresses(Struct, frozen=True):
    """Where the server listens, with actual ports."""

    grpc: str
    admin: str


def build(
    settings: Settings,
    clock: Callable[[], float] = time.time,
    ticks: Callable[[], float] = time.monotonic,
    place: Place | None = None,
) -> "Server":
    """A server that has opened nothing yet. Raises StartError for TLS files that cannot be used.

    `clock` counts seconds since the epoch; `ticks` counts seconds and never jumps. `place`: alone if there is none.
    """
    return Server(settings, clock, ticks, place or Alone(settings))


class Server:
    """Everything that serves, from the first port to the last record."""

    def __init__(
        self, settings: Settings, clock: Callable[[], float], ticks: Callable[[], float], place: Place
    ) -> None:
        self._rooms = Rooms(settings, clock, ticks, place)
        self._live = self._rooms.live
        self._undo = ExitStack()

    def start(self) -> Addresses:
        """Take ports, open the journal, load the bundle, answer. Raises StartError; then nothing is left running."""
        rooms = self._rooms
        with ExitStack() as undo:
            try:
                addresses = self._open(undo)
            except (OSError, JournalError, CredentialError) as error:
                raise StartError(str(error)) from error
            self._undo = undo.pop_all()
        log.info(
            "listening",
            extra={
                "grpc": addresses.grpc,
                "transport": rooms.choice.kind,
                "admin": addresses.admin,
                "revision": self._live.status().revision,
                "ready": not rooms.readiness.reasons(),
            },
        )
        return addresses

    def _open(self, undo: ExitStack) -> Addresses:
        """What can be refused comes first; what others may see comes last. `undo` runs backwards: habit of stopping."""
        rooms = self._rooms
        undo.callback(rooms.transport.stop, 0.0)
        grpc = rooms.transport.bind()
        rooms.listen_at(grpc)
        undo.callback(rooms.admin.stop)
        admin = rooms.admin.bind()
        undo.callback(rooms.control.stop)
        rooms.control.bind()
        journal = open_journal(rooms, undo)
        open_emergencies(rooms, undo)
        undo.callback(rooms.watch.stop)
        observers: list[Observer] = [rooms.metrics.observe, rooms.keys.watch]
        if rooms.settings.telemetry.tracing.endpoint:
            observers.append(start_tracing(rooms, undo).observe)
        self._open_sources(undo)
        self._handler = self._make_handler(journal, observers)
        beside = self._handler.beside = rooms.candidate.beside(journal)
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.freeze()
        self._warm_up()
        rooms.transport.start(self._handler, beside)
        rooms.admin.start()
        rooms.control.start()
        rooms.watch.start()
        rooms.health.refresh()
        return Addresses(grpc, admin)

    def _open_sources(self, undo: ExitStack) -> None:
        """Keys of nonces, of issuers, whom to ask, the bundle that all of them follow, and what is compared with it."""
        rooms, settings = self._rooms, self._rooms.settings
        undo.callback(rooms.nonces.stop)
        rooms.nonces.start()
        undo.callback(rooms.keys.stop)
        with ca_file("jwks.caFile", settings.jwks.ca_file):
            rooms.keys.start()
        with ca_file("introspection.caFile", settings.introspection.ca_file):
            rooms.outside.start(undo)
        undo.callback(rooms.bundles.stop)
        rooms.bundles.begin()  # the first load is done before anybody asks
        rooms.bundles.start()
        undo.callback(rooms.candidate.stop)
        rooms.candidate.begin()
        rooms.candidate.start()

    def _make_handler(self, journal: Journal, observers: list[Observer]) -> Handler:
        rooms, settings = self._rooms, self._rooms.settings
        options = HandlerOptions(settings.inbound, settings.answers, settings.tokens.cache_entries)
        ask = Questions(rooms.outside.directory, rooms.transport.aside, rooms.clock, rooms.metrics.question)
        return Handler(self._live, journal, observers, options, rooms.clock, rooms.metrics.shed, ask)

    def _warm_up(self) -> None:
        """One of several workers takes its address back within the interval of Envoy's health checks: with keys."""
        if isinstance(self._rooms.place, Alone):
            return
        until = time.monotonic() + _WARM_UP_SECONDS
        while self._rooms.readiness.reasons() and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second signal cuts the drain short."""
        with Signals() as signals:
            name = signals.wait()
            log.info("stopping", extra={"signal": name})
            self.stop(lambda seconds: bool(signals.wait(seconds)))

    def stop(self, pause: Callable[[float], bool]) -> None:
        """End in stages, so that no Check fails for it. `pause` waits and says whether to make haste."""
        rooms, options = self._rooms, self._rooms.settings.transport
        rooms.health.drain()  # Envoy looks elsewhere
        in_haste = pause(options.drain_delay_seconds)
        self._finish(0.0 if in_haste else options.drain_grace_seconds, pause)
        self._handler.draining = True  # for calls that outlived the grace: the journal closes now
        self._undo.close()  # sources, tracing, journal, admin: the start, backwards
        log.info("stopped")

    def _finish(self, grace: float, pause: Callable[[float], bool]) -> None:
        """Checks in flight end; to those that wait for the outside longer than `grace`, nobody says anything any more.

        So they are decided without an answer, on record, before the transport would cut them off without one.
        """
        transport, until = self._rooms.transport, time.monotonic() + grace
        closing = threading.Thread(target=transport.stop, args=(grace + LAST_SECONDS,), name="closing")
        try:
            closing.start()
        except RuntimeError:  # the machine gives no thread: then without those who wait
            transport.stop(grace)
            return
        while closing.is_alive() and time.monotonic() < until and not pause(0.0):
            closing.join(_LOOK_SECONDS)
        self._rooms.outside.give_up()
        closing.join()
