"""The snapshot in force.

Rule 1: readers take `current` once for a Check and never wait; it is replaced whole, by one assignment.
Rule 2: writers (bundle and key sources) take turns, so that neither undoes what the other just published.
"""

from threading import Lock

from msgspec import Struct
from msgspec.structs import replace

from extauthz.guards import AsListed, Orders, Summary, opened_by
from extauthz.identity import NO_KEYS, NO_NONCE_KEYS, Issuer, KeySet, NonceKeys
from extauthz.model.ports import NoTokenCache, RefuseEveryProof, ReplayStore, TokenCache
from extauthz.model.reasons import Reason
from extauthz.snapshot import Snapshot


class Ports(Struct, frozen=True):
    """What is the process's and not a bundle's: it goes into every snapshot that is put in force.

    Verified tokens survive a new bundle: they are kept under the keys and the document that they were verified with.
    """

    tokens: TokenCache = NoTokenCache()
    replay: ReplayStore = RefuseEveryProof()
    nonces: NonceKeys = NO_NONCE_KEYS
    orders: Orders = AsListed()


NO_PORTS = Ports()


class LiveStatus(Struct, frozen=True):
    """What is in force, for status pages and readiness."""

    revision: str  # "" before the first activation
    digest: str
    documents: dict[str, int]  # how many of each kind
    keys: dict[str, int]  # by issuer: how many keys are known
    waiting_for_keys: tuple[str, ...]  # issuers whose keys are not there yet


class Live:
    """Holds the snapshot in force; None until a bundle was activated."""

    def __init__(self, ports: Ports = NO_PORTS, approver_keys: frozenset[str] = frozenset()) -> None:
        """`approver_keys`: ids of the only keys that may approve break glass; empty: those that a bundle names."""
        self._ports, self._approver_keys = ports, approver_keys
        self.current: Snapshot | None = None  # what decides; None also while what there is may not decide
        self.latest: Snapshot | None = None  # what was activated last
        self.absence = Reason.NO_BUNDLE  # the reason of decisions while there is no `current`
        self.unapproved: tuple[Summary, ...] = ()  # break glass of the bundle that others than these approved
        self.issuers: tuple[Issuer, ...] = ()
        self._writers = Lock()

    def activate(self, snapshot: Snapshot, issuers: tuple[Issuer, ...]) -> None:
        """Put `snapshot` in force, with the keys known so far of issuers whose document is the same as before."""
        with self._writers:
            known = self.latest.keys if self.latest is not None else {}
            before = {issuer.name: issuer for issuer in self.issuers}
            kept = {
                issuer.name: known[issuer.name]
                for issuer in issuers
                if issuer.name in known and issuer.has_remote_keys and before.get(issuer.name) == issuer
            }
            self.issuers = issuers
            ports = {name: getattr(self._ports, name) for name in Ports.__struct_fields__}
            if self._approver_keys:
                listed = opened_by(snapshot.emergencies, self._approver_keys)
                self.unapproved = tuple(each for each in snapshot.emergencies.summaries if each not in listed.summaries)
                snapshot = replace(snapshot, emergencies=listed)
            self._publish(replace(snapshot, keys={**kept, **snapshot.keys}, **ports))

    def withhold(self, *, too_old: bool) -> None:
        """While `too_old` nothing is in force, and decisions end with that reason; keys are still kept up to date."""
        with self._writers:
            self.absence = Reason.BUNDLE_TOO_OLD if too_old else Reason.NO_BUNDLE
            self._publish(self.latest)

    def _publish(self, snapshot: Snapshot | None) -> None:
        self.latest = snapshot
        self.current = None if self.absence is Reason.BUNDLE_TOO_OLD else snapshot

    def set_keys(self, issuer_name: str, keys: KeySet) -> None:
        """Publish an issuer's keys, or NO_KEYS to withdraw them.

        Without effect when the bundle in force has no such issuer, has its keys from a file, or has another document
        of that name by now: an answer that was under way must not vouch for it.
        """
        with self._writers:
            snapshot = self.latest
            fetched = {issuer.name: issuer.digest for issuer in self.issuers if issuer.has_remote_keys}
            wanted = fetched.get(issuer_name)
            if snapshot is not None and wanted is not None and keys.issuer_digest in {wanted, NO_KEYS.issuer_digest}:
                self._publish(replace(snapshot, keys={**snapshot.keys, issuer_name: keys}))

    def set_nonces(self, nonces: NonceKeys) -> None:
        """Publish other keys of DPoP nonces, for this bundle and the next."""
        with self._writers:
            self._ports = replace(self._ports, nonces=nonces)
            if self.current is not None:
                self.current = replace(self.current, nonces=nonces)

    def status(self) -> LiveStatus:
        """A consistent view of what is in force now."""
        with self._writers:
            snapshot, issuers = self.latest, self.issuers
        if snapshot is None:
            return LiveStatus("", "", {}, {}, ())
        keys = {name: len(known) for name, known in snapshot.keys.items()}
        waiting = tuple(issuer.name for issuer in issuers if issuer.has_keys and not keys.get(issuer.name))
        return LiveStatus(snapshot.revision, snapshot.digest, dict(snapshot.documents), keys, waiting)
