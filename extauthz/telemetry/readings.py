"""What metrics read from other rooms: names of the live bundle, and how the journal fares."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class BundleLabels(Struct, frozen=True, kw_only=True):
    """The names in the live bundle: the only ones that may become label values."""

    revision: str
    digest: str
    activated_at: float  # seconds since the epoch
    profiles: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    rules: Mapping[str, Collection[str]] = {}  # by policy
    issuers: frozenset[str] = frozenset()


class CandidateReadings(Protocol):
    """How a candidate fares."""

    @property
    def revision(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def promotable(self) -> bool: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102


class HoldReadings(Protocol):
    """What keeps a bundle in force against its source."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def since(self) -> float: ...  # noqa: D102


class SourceReadings(Protocol):
    """How the source of bundles fares."""

    @property
    def contact_age(self) -> float: ...  # noqa: D102
    @property
    def too_old(self) -> bool: ...  # noqa: D102
    @property
    def key_expires(self) -> float | None: ...  # noqa: D102
    @property
    def hold(self) -> HoldReadings | None: ...  # noqa: D102
    @property
    def steps(self) -> Mapping[tuple[str, str], int]: ...  # noqa: D102


class SinkReadings(Protocol):
    """How a sink of the journal fares."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def lag(self) -> int: ...  # noqa: D102
    @property
    def delivered(self) -> int: ...  # noqa: D102
    @property
    def lost(self) -> int: ...  # noqa: D102
    @property
    def failures(self) -> int: ...  # noqa: D102


class JournalReadings(Protocol):
    """How the journal fares."""

    @property
    def records(self) -> int: ...  # noqa: D102
    @property
    def bytes(self) -> int: ...  # noqa: D102
    @property
    def writes(self) -> int: ...  # noqa: D102
    @property
    def failures(self) -> int: ...  # noqa: D102
    @property
    def sinks(self) -> Sequence[SinkReadings]: ...  # noqa: D102


class ReplayReadings(Protocol):
    """How the store of used proofs fares."""

    @property
    def entries(self) -> int: ...  # noqa: D102
    @property
    def replayed(self) -> int: ...  # noqa: D102
    @property
    def refused_full(self) -> int: ...  # noqa: D102
    @property
    def failures(self) -> int: ...  # noqa: D102
