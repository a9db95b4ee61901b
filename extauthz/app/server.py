"""The composition root: builds every room from its options, connects them, starts and stops them in order.

Rule 1: nowhere else are rooms connected; no room opens anything before `start`.
Rule 2: what cannot be had (port, key, directory) ends the start with one line and leaves nothing behind.
Rule 3: what may come later (a usable bundle, keys) does not end the start: the server runs, answers, and is not ready.
"""

import gc
import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from uuid import uuid4

from msgspec import Struct
from prometheus_client import CollectorRegistry

from extauthz.admin import OpenGlass, Status, Views
from extauthz.app import bundles, views
from extauthz.app.emergencies import ControlledEmergencies
from extauthz.app.emergency_record import log_use, record_change, record_document, record_refusal
from extauthz.app.emergency_watch import EmergencyWatch
from extauthz.app.outside import Outside
from extauthz.app.place import Alone, Place
from extauthz.app.readiness import Readiness
from extauthz.guards import Summary
from extauthz.handler import Handler, HandlerOptions, Observer
from extauthz.identity import KeySet, NonceKeys
from extauthz.journal import Journal, JournalError, JournalIdentity, LifecycleKind
from extauthz.model.ports import NoTokenCache, TokenCache
from extauthz.questions import Questions
from extauthz.settings import Settings
from extauthz.sources import (
    Change,
    GenerationalTokenCache,
    JwksSource,
    Live,
    Operator,
    Ports,
    Refresh,
    RuntimeEmergencies,
)
from extauthz.sources.bundles import Activation, BundleSource
from extauthz.sources.issuer_clients import CredentialError
from extauthz.sources.nonce_keys import NonceKeyError, NonceKeySource
from extauthz.telemetry import Metrics, Resource, Tracing
from extauthz.transport import TlsError, UnfitError, open_transport
from extauthz.wire import LAST_RESORT
from extauthz.workers import Signals

log = logging.getLogger("extauthz.app")

# Threads of ours wait this long at most for the interpreter. With the default of 5 ms a burst of Python beside the
# path lifts the p99 of a Check from 2 to 20 ms; with this to 4.
_SWITCH_SECONDS = 50e-6
# What a worker waits for the keys of its issuers before it answers; then it does, and is not ready.
_WARM_UP_SECONDS, _LOOK_SECONDS = 1.0, 0.005
_REFRESH_METRIC = {"changed": "refreshed", "unchanged": "unchanged", "failed": "failed", "withdrawn": "stale"}


class StartError(Exception):
    """Something that the settings name cannot be had. One line; nothing was left running."""


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
        self._settings, self._clock, self._place = settings, clock, place
        self._started = time.monotonic()
        self._instance = place.instance
        self._emergencies = RuntimeEmergencies(settings.revocations, clock, self._on_emergency, ticks)
        self._emergencies.set_approvers(settings.emergencies.keys)
        self._metrics = Metrics(settings.telemetry.metrics, clock)
        self._outside = Outside(settings, self._metrics, place.replay_store(clock), clock, ticks)
        try:
            self._nonces = NonceKeySource(settings.dpop, self._on_nonces, made=place.nonce_key)
        except NonceKeyError as error:
            raise StartError(str(error)) from error
        self._live = Live(self._ports(), settings.emergencies.key_ids)
        self._watch = EmergencyWatch(self._emergencies, self._live, clock, self._on_document)
        self._readiness = Readiness(self._live)
        self._registry = CollectorRegistry()
        self._registry.register(self._metrics)
        try:
            self._choice = open_transport(settings.listen, settings.transport, LAST_RESORT, self._metrics.shed)
        except (TlsError, UnfitError) as error:
            raise StartError(str(error)) from error
        self._transport = self._choice.transport
        self._metrics.set_transport(self._choice.kind, fell_back=bool(self._choice.fallback))
        self._admin = place.admin(Views(self._registry, self._readiness.reasons, self._status), self._metrics)
        orders = ControlledEmergencies(self._emergencies, self._live, clock, self._on_refused_order)
        self._metrics.set_revocations(orders.counts)
        self._metrics.set_emergencies(self._watch.in_force, log_use)
        self._control = place.control(orders)
        self._bundles = BundleSource(settings.bundle, self._live, self._on_activation, self._on_bundle_age, clock)
        self._metrics.set_bundles(self._bundles.status)
        self._keys = JwksSource(settings.jwks, self._on_keys, ticks, self._on_refresh)
        self._journal: Journal | None = None
        self._addresses = Addresses("", "")
        self._activated = 0.0
        self._health = threading.Lock()
        self._undo = ExitStack()

    def start(self) -> Addresses:
        """Take ports, open the journal, load the bundle, answer. Raises StartError; then nothing is left running."""
        with ExitStack() as undo:
            try:
                self._addresses = self._open(undo)
            except (OSError, JournalError, CredentialError) as error:
                raise StartError(str(error)) from error
            self._undo = undo.pop_all()
        log.info(
            "listening",
            extra={
                "grpc": self._addresses.grpc,
                "transport": self._choice.kind,
                "admin": self._addresses.admin,
                "revision": self._live.status().revision,
                "ready": not self._readiness.reasons(),
            },
        )
        return self._addresses

    def _open(self, undo: ExitStack) -> Addresses:
        """What can be refused comes first; what others may see comes last. `undo` runs backwards: habit of stopping."""
        settings = self._settings
        undo.callback(self._transport.stop, 0.0)
        grpc = self._transport.bind()
        undo.callback(self._admin.stop)
        admin = self._admin.bind()
        undo.callback(self._control.stop)
        self._control.bind()
        journal = self._open_journal(undo)
        undo.callback(self._emergencies.close)
        self._open_emergencies()
        undo.callback(self._watch.stop)
        observers: list[Observer] = [self._metrics.observe, self._keys.watch]
        if settings.telemetry.tracing.endpoint:
            observers.append(self._start_tracing(undo).observe)
        undo.callback(self._nonces.stop)
        self._nonces.start()
        undo.callback(self._keys.stop)
        with _ca_file("jwks.caFile", settings.jwks.ca_file):
            self._keys.start()
        with _ca_file("introspection.caFile", settings.introspection.ca_file):
            self._outside.start(undo)
        undo.callback(self._bundles.stop)
        self._bundles.begin()  # the first load is done before anybody asks
        self._bundles.start()
        options = HandlerOptions(settings.inbound, settings.answers, settings.tokens.cache_entries)
        ask = Questions(self._outside.directory, self._transport.aside, self._clock, self._metrics.question)
        self._handler = Handler(self._live, journal, observers, options, self._clock, self._metrics.shed, ask)
        self._metrics.set_inflight(lambda: self._transport.inflight)
        self._metrics.set_waiting(lambda: self._transport.waiting)
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.freeze()
        self._warm_up()
        self._transport.start(self._handler)
        self._admin.start()
        self._control.start()
        self._watch.start()
        self._refresh()
        return Addresses(grpc, admin)

    def _warm_up(self) -> None:
        """One of several workers takes its address back within the interval of Envoy's health checks: with keys."""
        if isinstance(self._place, Alone):
            return
        until = time.monotonic() + _WARM_UP_SECONDS
        while self._readiness.reasons() and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def _ports(self) -> Ports:
        kept = self._settings.tokens
        tokens: TokenCache = NoTokenCache()
        if kept.cache_entries:
            tokens = GenerationalTokenCache(kept.cache_entries, kept.cache_bytes)
        return Ports(tokens, self._outside.replay, self._nonces.first, self._emergencies)

    def _open_journal(self, undo: ExitStack) -> Journal:
        identity = JournalIdentity(
            instance=self._instance, boot=uuid4().hex, version=version("extauthz"), config_digest=self._place.digest
        )
        journal = Journal(self._settings.journal, identity, self._clock)
        undo.callback(journal.close)
        self._metrics.set_journal(journal.status)
        self._journal = journal
        return journal

    def _open_emergencies(self) -> None:
        found = self._place.open_emergencies(self._emergencies)
        file = self._settings.revocations.file
        if not file:
            return
        how = {"file": "read", "copy": "restored from its copy"}[found.origin] if found else "created"
        detail = {"entries": str(len(self._emergencies.entries())), "file": how}
        if glasses := self._emergencies.glasses():
            detail["break_glass"] = str(len(glasses))
        if found is not None and found.origin == "copy":
            detail |= {"damage": found.damage, "break_glass_dropped": str(found.dropped)}
            log.error("the revocation file `%s` was restored from its copy: %s", file, found.damage, extra=detail)
        self._note("revocations_opened", detail)
        if found is None:
            log.warning("there is no revocation file `%s` yet: nothing is revoked at run time", file)

    def _start_tracing(self, undo: ExitStack) -> Tracing:
        options = self._settings.telemetry.tracing
        with _ca_file("telemetry.tracing.caFile", options.ca_file):
            tracing = Tracing(options, Resource(options.service_name, version("extauthz"), self._instance))
        undo.callback(tracing.stop)
        self._metrics.set_dropped_spans(lambda: tracing.dropped)
        tracing.start()
        return tracing

    # --- running and stopping

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second signal cuts the drain short."""
        with Signals() as signals:
            name = signals.wait()
            log.info("stopping", extra={"signal": name})
            self.stop(lambda seconds: bool(signals.wait(seconds)))

    def stop(self, pause: Callable[[float], bool]) -> None:
        """End in stages, so that no Check fails for it. `pause` waits and says whether to make haste."""
        options = self._settings.transport
        with self._health:
            self._readiness.drain()  # Envoy looks elsewhere
            self._transport.set_serving(serving=False)
        in_haste = pause(options.drain_delay_seconds)
        self._transport.stop(0.0 if in_haste else options.drain_grace_seconds)
        self._handler.draining = True  # for calls that outlived the grace: the journal closes now
        self._undo.close()  # sources, tracing, journal, admin: the start, backwards
        log.info("stopped")

    # --- what rooms report, on their own threads

    def _on_activation(self, activation: Activation) -> None:
        self._metrics.activation(bundles.result(activation))
        if activation.result == "activated":
            self._activated = self._clock()
            self._metrics.set_bundle(views.labels(self._live, self._activated))
            counts = self._live.status().keys
            for issuer in self._live.issuers:
                if issuer.jwks_file:
                    self._metrics.set_keys(issuer.name, counts.get(issuer.name, 0), None)
            self._keys.set_issuers(self._live.issuers)
            self._outside.set_issuers(self._live.issuers)
            if not self._settings.emergencies.approvers and self._live.latest is not None:
                self._emergencies.set_approvers(self._live.latest.approvers)
        bundles.report(activation, self._note)
        if activation.result == "activated":
            self._watch.look()
            for found in self._live.unapproved:
                self._on_document("emergency_refused", found, activation.revision)
        self._refresh()

    def _on_bundle_age(self, too_old: bool, seconds: float) -> None:  # noqa: FBT001 - one of two
        bundles.age(self._note, seconds, too_old=too_old)
        self._refresh()

    def _on_emergency(self, change: Change) -> None:
        if self._journal is not None:
            record_change(change, self._journal)

    def _on_document(self, kind: LifecycleKind, found: Summary, revision: str) -> None:
        if self._journal is not None:
            record_document(kind, found, revision, self._journal)

    def _on_refused_order(self, order: OpenGlass, operator: Operator, why: str) -> None:
        if self._journal is not None:
            record_refusal(order, operator, why, self._journal)

    def _on_nonces(self, keys: NonceKeys) -> None:
        self._live.set_nonces(keys)
        self._note("configuration_changed", {"changed": "dpop.nonceKeyFile", "keys": str(len(keys.keys))})

    def _on_keys(self, issuer: str, keys: KeySet) -> None:
        self._live.set_keys(issuer, keys)
        self._note("keys_changed", {"issuer": issuer, "keys": str(len(keys))})
        self._refresh()

    def _on_refresh(self, refresh: Refresh) -> None:
        self._metrics.refresh(refresh.issuer, _REFRESH_METRIC[refresh.result])
        if refresh.result in {"changed", "unchanged"}:
            self._metrics.set_keys(refresh.issuer, refresh.keys, self._clock())
        if refresh.result == "withdrawn":
            self._metrics.set_keys(refresh.issuer, 0, None)
        if refresh.detail:
            log.warning("keys of `%s`: %s: %s", refresh.issuer, refresh.result, refresh.detail)

    def _note(self, kind: LifecycleKind, detail: dict[str, str]) -> None:
        if self._journal is not None:
            self._journal.event(kind, detail)

    def _refresh(self) -> None:
        """Health follows readiness; one at a time, or the older view could come last."""
        with self._health:
            self._transport.set_serving(not self._readiness.reasons())

    def _status(self) -> Status:
        """The whole, for `/status` and the console."""
        reasons = self._readiness.reasons()
        return Status(
            version=version("extauthz"),
            instance=self._instance,
            uptime_seconds=time.monotonic() - self._started,
            ready=not reasons,
            not_ready_because=reasons,
            config_digest=self._place.digest,
            bundle=views.bundle(self._live, self._bundles, self._clock() - self._activated),
            issuers=views.issuers(self._live, self._keys.status(), self._outside.introspection.status()),
            journal=views.journal(self._settings.journal, self._journal),
            transport=views.transport(self._settings.listen.tls, self._choice, self._addresses.grpc, reasons),
            emergencies=views.emergencies(self._watch.in_force()),
            decisions=self._metrics.decisions(),
        )


@contextmanager
def _ca_file(key: str, name: str) -> Iterator[None]:
    """Say which key of the configuration names the file that cannot be used."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one: no certificate in the file
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
        message = f"`{key}`: the file `{name}` cannot be used: {why}"
        raise StartError(message) from error
