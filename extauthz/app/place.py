"""Where a server stands: alone, or as one of several workers. All that differs is here.

Rule: alone, a server has everything to itself; a worker has what `app.worker` gives it in its place.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from extauthz.admin import AdminServer, CandidateStatus, ControlServer, Desk, Views
from extauthz.app.proofs import open_replay_store
from extauthz.settings import Settings
from extauthz.sources import Found, RuntimeEmergencies
from extauthz.sources.bundles import BundleOrders
from extauthz.sources.replay_store import MemoryReplayStore, SharedStore
from extauthz.telemetry import Metrics


class AdminListener(Protocol):
    """Shows the server."""

    def bind(self) -> str:
        """Take the address and return it, without serving yet. Raises OSError."""
        ...

    def start(self) -> None:
        """Begin to answer."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class ControlListener(Protocol):
    """Takes orders."""

    def bind(self) -> None:
        """Take the path, without serving yet. Raises OSError."""
        ...

    def start(self) -> None:
        """Begin to answer."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class Place(Protocol):
    """What a server has around it."""

    @property
    def instance(self) -> str:
        """The server's name across restarts."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, hex."""
        ...

    def admin(self, views: Views, metrics: Metrics) -> AdminListener:
        """Who shows the server."""
        ...

    def control(self, desk: Desk) -> ControlListener:
        """Who brings orders."""
        ...

    def replay_store(self, clock: Callable[[], float]) -> MemoryReplayStore | SharedStore:
        """Where used proofs are remembered."""
        ...

    @property
    def nonce_key(self) -> bytes:
        """The key of DPoP nonces where no file has them; b"" makes one."""
        ...

    def bundles(self, orders: BundleOrders) -> None:
        """Let orders about bundles reach whoever shares this server's work; comes before any bundle does."""
        ...

    def candidate(self, own: CandidateStatus | None) -> CandidateStatus | None:
        """How the candidate fares on the whole server; `own` is what was compared here."""
        ...

    def open_emergencies(self, ordered: RuntimeEmergencies) -> Found | None:
        """Read what is ordered at run time; None when there was nothing to read. Raises OSError."""
        ...


class Alone:
    """One process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.instance, self.digest = socket.gethostname(), settings.digest
        self.nonce_key = b""

    def admin(self, views: Views, metrics: Metrics) -> AdminListener:  # noqa: ARG002 - the views have their registry
        """A TCP listener."""
        return AdminServer(self._settings.admin, views)

    def control(self, desk: Desk) -> ControlListener:
        """A Unix socket, where the settings name one."""
        return ControlServer(self._settings.admin.control_socket, desk)

    def replay_store(self, clock: Callable[[], float]) -> MemoryReplayStore | SharedStore:
        """As the settings say."""
        return open_replay_store(self._settings.dpop, clock)

    def bundles(self, orders: BundleOrders) -> None:
        """There is nobody else."""

    def candidate(self, own: CandidateStatus | None) -> CandidateStatus | None:
        """This is the whole server."""
        return own

    def open_emergencies(self, ordered: RuntimeEmergencies) -> Found | None:
        """Hold the file."""
        return ordered.open()
