"""What a server is made of: every room, built from its own options and connected to the others.

Rule 1: nowhere else are rooms connected; none of them has opened anything yet.
Rule 2: a room gets the rooms that it tells, so that the order of lines is the order of knowing.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from extauthz.admin import Desk, Status, Views
from extauthz.app import views
from extauthz.app.arrivals import BundleArrivals, Followers, KeyArrivals
from extauthz.app.bundle_orders import ControlledBundles, record_order
from extauthz.app.candidate import Candidate
from extauthz.app.emergencies import ControlledEmergencies
from extauthz.app.emergency_record import log_use
from extauthz.app.emergency_watch import EmergencyWatch
from extauthz.app.outside import Outside
from extauthz.app.place import Place
from extauthz.app.readiness import Health, Readiness
from extauthz.app.records import Records
from extauthz.app.start_error import StartError
from extauthz.identity import NonceKeys
from extauthz.model.ports import NoTokenCache, TokenCache
from extauthz.settings import Settings
from extauthz.sources import GenerationalTokenCache, JwksSource, Live, Ports, RuntimeEmergencies
from extauthz.sources.bundles import BundleSource
from extauthz.sources.nonce_keys import NonceKeyError, NonceKeySource
from extauthz.sources.token_cache import TokenOptions
from extauthz.telemetry import Metrics
from extauthz.transport import Choice, TlsError, UnfitError, open_transport
from extauthz.wire import LAST_RESORT


class Rooms:
    """All that serves. Raises StartError for TLS files, nonce keys and transports that cannot be used."""

    def __init__(
        self, settings: Settings, clock: Callable[[], float], ticks: Callable[[], float], place: Place
    ) -> None:
        self.settings, self.clock, self.place = settings, clock, place
        self._started = time.monotonic()
        self.records = Records()
        self.metrics = Metrics(settings.telemetry.metrics, clock)
        self.emergencies = RuntimeEmergencies(settings.revocations, clock, self.records.ordered, ticks)
        self.emergencies.set_approvers(settings.emergencies.keys)
        self.outside = Outside(settings, self.metrics, place.replay_store(clock), clock, ticks)
        self.nonces = self._nonce_keys()
        ports = Ports(_token_cache(settings.tokens), self.outside.replay, self.nonces.first, self.emergencies)
        self.live = Live(ports, settings.emergencies.key_ids)
        self.watch = EmergencyWatch(self.emergencies, self.live, clock, self.records.document)
        self.readiness = Readiness(self.live)
        self.choice = self._choose_transport()
        self.transport = self.choice.transport
        self.health = Health(self.readiness, self.transport)
        registry = CollectorRegistry()
        registry.register(self.metrics)
        self.admin = place.admin(Views(registry, self.readiness.reasons, self.status), self.metrics)
        orders = ControlledEmergencies(self.emergencies, self.live, clock, self.records.refused)
        arrived = KeyArrivals(self.live, self.health, self.metrics, self.records, clock)
        self.keys = JwksSource(settings.jwks, arrived.on_keys, ticks, arrived.on_refresh)
        by_bundle = not settings.emergencies.approvers
        followers = Followers(self.keys, self.outside, self.emergencies, self.watch, approvers_of_bundle=by_bundle)
        self._arrived = BundleArrivals(self.live, self.health, self.metrics, self.records, followers, clock)
        self.bundles = BundleSource(
            settings.bundle, self.live, self._arrived.on_activation, self._arrived.on_age, clock
        )
        self.bundles.orders.on_order = partial(record_order, note=self.records.note, metrics=self.metrics)
        place.bundles(self.bundles.orders)
        self.control = place.control(Desk(orders, ControlledBundles(self.bundles.orders)))
        self.candidate = Candidate(settings, self.live, self.metrics, self.records.note, clock)
        self.bundles.orders.candidate = self.candidate.offered
        self.bundles.orders.judged = lambda: self.candidate.judged(place.candidate(self.candidate.status()))
        self._measure(orders)
        self._address = ""

    def status(self) -> Status:
        """The whole, for `/status` and the console."""
        reasons = self.readiness.reasons()
        age = self.clock() - self._arrived.activated_at
        return Status(
            version=version("extauthz"),
            instance=self.place.instance,
            uptime_seconds=time.monotonic() - self._started,
            ready=not reasons,
            not_ready_because=reasons,
            config_digest=self.place.digest,
            bundle=views.bundle(self.live, self.bundles, age, self.clock()),
            issuers=views.issuers(self.live, self.keys.status(), self.outside.introspection.status()),
            journal=views.journal(self.settings.journal, self.records.journal),
            transport=views.transport(self.settings.listen.tls, self.choice, self._address, reasons),
            emergencies=views.emergencies(self.watch.in_force()),
            decisions=self.metrics.decisions(),
            candidate=self.candidate.status(),
        )

    def listen_at(self, address: str) -> None:
        """The actual address of the gRPC listener, for the status."""
        self._address = address

    def _measure(self, orders: ControlledEmergencies) -> None:
        """What metrics read of others when they are scraped."""
        metrics, transport = self.metrics, self.transport
        metrics.set_transport(self.choice.kind, fell_back=bool(self.choice.fallback))
        metrics.set_revocations(orders.counts)
        metrics.set_emergencies(self.watch.in_force, log_use)
        metrics.set_bundles(self.bundles.status)
        metrics.set_inflight(lambda: transport.inflight)
        metrics.set_waiting(lambda: transport.waiting)

    def _nonce_keys(self) -> NonceKeySource:
        try:
            return NonceKeySource(self.settings.dpop, self._on_nonces, made=self.place.nonce_key)
        except NonceKeyError as error:
            raise StartError(str(error)) from error

    def _on_nonces(self, keys: NonceKeys) -> None:
        self.live.set_nonces(keys)
        self.records.note("configuration_changed", {"changed": "dpop.nonceKeyFile", "keys": str(len(keys.keys))})

    def _choose_transport(self) -> Choice:
        settings = self.settings
        try:
            return open_transport(settings.listen, settings.transport, LAST_RESORT, self.metrics.shed)
        except (TlsError, UnfitError) as error:
            raise StartError(str(error)) from error


def _token_cache(options: TokenOptions) -> TokenCache:
    return (
        GenerationalTokenCache(options.cache_entries, options.cache_bytes) if options.cache_entries else NoTokenCache()
    )
