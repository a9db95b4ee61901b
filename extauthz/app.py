"""The composition root: builds every room from its options, connects them, starts and stops them in order.

Rule 1: nowhere else are rooms connected; no room opens anything before `start`.
Rule 2: what cannot be had (port, key, directory) ends the start with one line and leaves nothing behind.
Rule 3: what may come later (a usable bundle, keys) does not end the start: the server runs, answers, and is not ready.
"""

import gc
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from uuid import uuid4

from msgspec import Struct
from prometheus_client import CollectorRegistry

from extauthz.admin import AdminServer, BundleStatus, IssuerStatus, JournalStatus, Status, TransportStatus, Views
from extauthz.handler import Handler, HandlerOptions, Observer
from extauthz.identity import KeySet
from extauthz.journal import Journal, JournalError, JournalIdentity, LifecycleKind
from extauthz.settings import Settings
from extauthz.sources import GenerationalTokenCache, JwksSource, Live, Refresh
from extauthz.sources.bundles import Activation, BundleSource
from extauthz.telemetry import BundleLabels, Metrics, Resource, Tracing
from extauthz.transport import StockTransport, TlsError
from extauthz.wire import LAST_RESORT

log = logging.getLogger("extauthz.app")

# Threads of ours wait this long at most for the interpreter. With the default of 5 ms a burst of Python beside the
# path lifts the p99 of a Check from 2 to 20 ms; with this to 4.
_SWITCH_SECONDS = 50e-6
_CACHED_TOKENS = 20_000  # about 2 KiB each: 40 MB beside the 512 MB that a pod is given
_FINDINGS_LOGGED, _FINDINGS_SHOWN = 3, 50
_REFRESH_METRIC = {"changed": "refreshed", "unchanged": "unchanged", "failed": "failed", "withdrawn": "stale"}


class StartError(Exception):
    """Something that the settings name cannot be had. One line; nothing was left running."""


class Addresses(Struct, frozen=True):
    """Where the server listens, with actual ports."""

    grpc: str
    admin: str


def build(settings: Settings, clock: Callable[[], float] = time.time) -> "Server":
    """A server that has opened nothing yet. Raises StartError for TLS files that cannot be used."""
    return Server(settings, clock)


class Server:
    """Everything that serves, from the first port to the last record."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._started = time.monotonic()
        self._instance = socket.gethostname()
        self._live = Live()
        self._readiness = _Readiness(self._live)
        self._metrics = Metrics(settings.telemetry.metrics, clock)
        self._registry = CollectorRegistry()
        self._registry.register(self._metrics)
        try:
            self._transport = StockTransport(settings.listen, settings.transport, LAST_RESORT, self._metrics.shed)
        except TlsError as error:
            raise StartError(str(error)) from error
        self._admin = AdminServer(settings.admin, Views(self._registry, self._readiness.reasons, self.status))
        self._bundles = BundleSource(settings.bundle, self._live, _new_cache, self._on_activation)
        self._keys = JwksSource(settings.jwks, self._on_keys, time.monotonic, self._on_refresh)
        self._journal: Journal | None = None
        self._addresses = Addresses("", "")
        self._activated = 0.0
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._undo = ExitStack()

    def start(self) -> Addresses:
        """Take ports, open the journal, load the bundle, answer. Raises StartError; then nothing is left running."""
        with ExitStack() as undo:
            try:
                self._addresses = self._open(undo)
            except (OSError, JournalError, ssl.SSLError) as error:
                raise StartError(str(error)) from error
            self._undo = undo.pop_all()
        log.info(
            "listening",
            extra={
                "grpc": self._addresses.grpc,
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
        journal = self._open_journal(undo)
        observers: list[Observer] = [self._metrics.observe, self._keys.watch]
        if settings.telemetry.tracing.endpoint:
            observers.append(self._start_tracing(undo).observe)
        undo.callback(self._keys.stop)
        self._keys.start()
        undo.callback(self._bundles.stop)
        self._bundles.refresh()  # the first load is done before anybody asks
        self._bundles.start()
        options = HandlerOptions(settings.inbound, settings.answers)
        self._handler = Handler(self._live, journal, observers, options, self._clock, self._metrics.shed)
        self._metrics.set_inflight(lambda: self._transport.inflight)
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.freeze()
        self._transport.start(self._handler)
        self._admin.start()
        self._refresh()
        return Addresses(grpc, admin)

    def _open_journal(self, undo: ExitStack) -> Journal:
        identity = JournalIdentity(
            instance=self._instance, boot=uuid4().hex, version=version("extauthz"), config_digest=self._settings.digest
        )
        journal = Journal(self._settings.journal, identity, self._clock)
        undo.callback(journal.close)
        self._metrics.set_journal(journal.status)
        self._journal = journal
        return journal

    def _start_tracing(self, undo: ExitStack) -> Tracing:
        options = self._settings.telemetry.tracing
        tracing = Tracing(options, Resource(options.service_name, version("extauthz"), self._instance))
        undo.callback(tracing.stop)
        self._metrics.set_dropped_spans(lambda: tracing.dropped)
        tracing.start()
        return tracing

    # --- running and stopping

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second signal ends the waiting."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._stop.wait()
        self.stop()

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        log.info("stopping", extra={"signal": signal.Signals(number).name})

    def stop(self) -> None:
        """End in stages, so that no Check fails for it: Envoy looks elsewhere before the listener closes."""
        options = self._settings.transport
        self._readiness.drain()
        self._transport.set_serving(serving=False)
        self._hurry.wait(options.drain_delay_seconds)
        self._transport.stop(0.0 if self._hurry.is_set() else options.drain_grace_seconds)
        self._handler.draining = True  # for calls that outlived the grace: the journal closes now
        self._undo.close()  # sources, tracing, journal, admin: the start, backwards
        log.info("stopped")

    # --- what rooms report, on their own threads

    def _on_activation(self, activation: Activation) -> None:
        self._metrics.activation(activation.result)
        if activation.result == "activated":
            self._activated = self._clock()
            self._metrics.set_bundle(_labels(self._live, self._activated))
            for issuer, count in self._live.status().keys.items():
                self._metrics.set_keys(issuer, count, None)
            self._keys.set_issuers(self._live.issuers)
            self._note("bundle_activated", {"revision": activation.revision, "digest": activation.digest})
            log.info("bundle activated", extra={"revision": activation.revision, "digest": activation.digest})
        elif activation.result == "rejected":
            self._note("bundle_rejected", {"findings": str(len(activation.findings))})
            first = "; ".join(str(finding) for finding in activation.findings[:_FINDINGS_LOGGED])
            log.error("bundle rejected", extra={"findings": len(activation.findings), "first": first})
        self._refresh()

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
        """Health follows readiness."""
        self._transport.set_serving(not self._readiness.reasons())

    # --- what operators see

    def status(self) -> Status:
        """The whole, for `/status` and the console."""
        live, last = self._live.status(), self._bundles.last
        reasons = self._readiness.reasons()
        journal = self._journal.status() if self._journal else None
        tls = self._settings.listen.tls
        fetched = {issuer.issuer: issuer for issuer in self._keys.status()}
        return Status(
            version=version("extauthz"),
            instance=self._instance,
            uptime_seconds=time.monotonic() - self._started,
            ready=not reasons,
            not_ready_because=reasons,
            config_digest=self._settings.digest,
            bundle=BundleStatus(
                source=self._settings.bundle.directory,
                revision=live.revision,
                digest=live.digest,
                age_seconds=self._clock() - self._activated if live.revision else 0.0,
                documents=live.documents,
                last_result=last.result if last else "",
                last_findings=tuple(str(finding) for finding in last.findings[:_FINDINGS_SHOWN]) if last else (),
            ),
            issuers=tuple(
                IssuerStatus(
                    issuer=issuer.name,
                    source="bundle" if issuer.jwks_file else "network",
                    keys=live.keys.get(issuer.name, 0),
                    age_seconds=fetched[issuer.name].age_seconds if issuer.name in fetched else None,
                    error=fetched[issuer.name].error if issuer.name in fetched else "",
                )
                for issuer in self._live.issuers
            ),
            journal=JournalStatus(
                directory=self._settings.journal.directory,
                records=journal.records if journal else 0,
                position=journal.position if journal else 0,
                failures=journal.failures if journal else 0,
            ),
            transport=TransportStatus(
                kind="stock",
                address=self._addresses.grpc,
                tls="none" if tls is None else "mtls" if tls.client_ca else "tls",
                serving=not reasons,
                inflight=self._transport.inflight,
            ),
            decisions=self._metrics.decisions(),
        )


class _Readiness:
    """Ready is: a bundle in force, and the keys of all its issuers seen once, and not draining.

    Keys that are withdrawn later do not end readiness: then only their tokens are undecided, and every other server
    would go away at the same moment for the same reason.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._seen: frozenset[str] = frozenset()
        self._draining = False

    def drain(self) -> None:
        """Not ready any more, for good."""
        self._draining = True

    def reasons(self) -> tuple[str, ...]:
        """Why not; empty when ready."""
        if self._draining:
            return ("the server is draining",)
        live = self._live.status()
        if not live.revision:
            return ("no bundle is in force",)
        self._seen |= {name for name, keys in live.keys.items() if keys}
        missing = [name for name in live.waiting_for_keys if name not in self._seen]
        return tuple(f"the keys of issuer `{name}` have not been loaded yet" for name in missing)


def _new_cache() -> GenerationalTokenCache:
    return GenerationalTokenCache(_CACHED_TOKENS)


def _labels(live: Live, activated_at: float) -> BundleLabels:
    """The names that may become label values."""
    world = live.current
    if world is None:
        return BundleLabels(revision="", digest="", activated_at=activated_at)
    return BundleLabels(
        revision=world.revision,
        digest=world.digest,
        activated_at=activated_at,
        profiles=frozenset(profile.name for profile in world.profiles.profiles),
        tenants=frozenset(world.tenants),
        rules={policy.name: frozenset(policy.rules) for policy in world.policies.policies},
        issuers=frozenset(issuer.name for issuer in live.issuers),
    )
