"""Bundles and keys that arrive while the server runs: who has to follow, and in which order.

Rule: called on the threads of the sources, one bundle at a time; what decides has been replaced before.
"""

import logging
from collections.abc import Callable

from extauthz.app import bundles, views
from extauthz.app.emergency_watch import EmergencyWatch
from extauthz.app.outside import Outside
from extauthz.app.readiness import Health
from extauthz.app.records import Records
from extauthz.identity import KeySet
from extauthz.sources import JwksSource, Live, Refresh, RuntimeEmergencies
from extauthz.sources.bundles import Activation
from extauthz.telemetry import Metrics

log = logging.getLogger("extauthz.app")

_REFRESH_METRIC = {"changed": "refreshed", "unchanged": "unchanged", "failed": "failed", "withdrawn": "stale"}


class KeyArrivals:
    """What the source of keys reports."""

    def __init__(
        self, live: Live, health: Health, metrics: Metrics, records: Records, clock: Callable[[], float]
    ) -> None:
        self._live, self._health, self._metrics = live, health, metrics
        self._records, self._clock = records, clock

    def on_keys(self, issuer: str, keys: KeySet) -> None:
        """Other keys than before."""
        self._live.set_keys(issuer, keys)
        self._records.note("keys_changed", {"issuer": issuer, "keys": str(len(keys))})
        self._health.refresh()

    def on_refresh(self, refresh: Refresh) -> None:
        """They were asked for, with whatever result."""
        self._metrics.refresh(refresh.issuer, _REFRESH_METRIC[refresh.result])
        if refresh.result in {"changed", "unchanged"}:
            self._metrics.set_keys(refresh.issuer, refresh.keys, self._clock())
        if refresh.result == "withdrawn":
            self._metrics.set_keys(refresh.issuer, 0, None)
        if refresh.detail:
            log.warning("keys of `%s`: %s: %s", refresh.issuer, refresh.result, refresh.detail)


class BundleArrivals:
    """What the source of bundles reports."""

    def __init__(
        self,
        live: Live,
        health: Health,
        metrics: Metrics,
        records: Records,
        followers: "Followers",
        clock: Callable[[], float],
    ) -> None:
        self._live, self._health, self._metrics = live, health, metrics
        self._records, self._followers, self._clock = records, followers, clock
        self.activated_at = 0.0  # seconds since the epoch

    def on_activation(self, activation: Activation) -> None:
        """A bundle came into force, or did not."""
        self._metrics.activation(bundles.result(activation))
        if activation.result == "activated":
            self._show()
            self._followers.follow(self._live)
        bundles.report(activation, self._records.note)
        if activation.result == "activated":
            self._followers.watch.look()
            for found in self._live.unapproved:
                self._records.document("emergency_refused", found, activation.revision)
        self._health.refresh()

    def on_age(self, too_old: bool, seconds: float) -> None:  # noqa: FBT001 - one of two
        """The source of bundles was not heard for too long, or is heard again."""
        bundles.age(self._records.note, seconds, too_old=too_old)
        self._health.refresh()

    def _show(self) -> None:
        self.activated_at = self._clock()
        self._metrics.set_bundle(views.labels(self._live, self.activated_at))
        counts = self._live.status().keys
        for issuer in self._live.issuers:
            if issuer.jwks_file:
                self._metrics.set_keys(issuer.name, counts.get(issuer.name, 0), None)


class Followers:
    """Those who follow the bundle in force."""

    def __init__(
        self,
        keys: JwksSource,
        outside: Outside,
        emergencies: RuntimeEmergencies,
        watch: EmergencyWatch,
        *,
        approvers_of_bundle: bool,
    ) -> None:
        """`approvers_of_bundle`: the settings name no approvers of break glass, so that those of the bundle count."""
        self._keys, self._outside, self._emergencies = keys, outside, emergencies
        self._approvers_of_bundle = approvers_of_bundle
        self.watch = watch

    def follow(self, live: Live) -> None:
        """Another bundle is in force."""
        self._keys.set_issuers(live.issuers)
        self._outside.set_issuers(live.issuers)
        if self._approvers_of_bundle and live.latest is not None:
            self._emergencies.set_approvers(live.latest.approvers)
