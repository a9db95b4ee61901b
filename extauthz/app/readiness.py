"""When the server may be asked."""

import threading

from extauthz.sources import Live
from extauthz.transport import Transport


class Readiness:
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
        if self._live.current is None:
            return ("the bundle is too old: its source has not been heard for longer than `bundle.maxAgeSeconds`",)
        self._seen |= {name for name, keys in live.keys.items() if keys}
        missing = [name for name in live.waiting_for_keys if name not in self._seen]
        return tuple(f"the keys of issuer `{name}` have not been loaded yet" for name in missing)


class Health:
    """Health of the gRPC service follows readiness; one at a time, or the older view could come last."""

    def __init__(self, readiness: Readiness, transport: Transport) -> None:
        self._readiness, self._transport = readiness, transport
        self._turns = threading.Lock()

    def refresh(self) -> None:
        """Something has changed that readiness depends on."""
        with self._turns:
            self._transport.set_serving(not self._readiness.reasons())

    def drain(self) -> None:
        """Envoy looks elsewhere from now on."""
        with self._turns:
            self._readiness.drain()
            self._transport.set_serving(serving=False)
