"""What has been found since a candidate stands beside a live bundle."""

from collections.abc import Callable
from typing import Final

from extauthz.bundle.compare import Comparison, Difference, Group, Skip
from extauthz.snapshot import Snapshot
from extauthz.telemetry.counters import Shards

_OTHER: Final = "other"
_AGREED: Final = ("agreed",)
_MAX_GROUPS: Final = 1000  # policies, rules and tenants that meet; what comes on top is one group a change
SHOWN_GROUPS: Final = 20


class Tally:
    """Counts of one pair of bundles. One thread at a time tells of disagreements, several of the rest, any may read."""

    def __init__(self, live: Snapshot, candidate: Snapshot, ticks: Callable[[], float]) -> None:
        """`ticks` counts seconds and never jumps."""
        self._live, self._candidate, self._ticks = live, candidate, ticks
        self._began: float | None = None
        self._errors = self._unrecorded = 0
        self._changes: dict[str, int] = {}
        self._groups: dict[tuple[str, str, str, str], tuple[Difference, int, str]] = {}
        self._counts = Shards()
        self.places: set[str] = set()  # where the candidate failed

    def is_of(self, live: Snapshot, candidate: Snapshot) -> bool:
        """Whether it counts these; other keys make no other bundle."""
        if live is self._live and candidate is self._candidate:
            return True
        return _name(live) == _name(self._live) and _name(candidate) == _name(self._candidate)

    def agreed(self, count: int) -> None:
        """Both have decided so many alike."""
        self._begin()
        self._counts.mine().counts[_AGREED] += count

    def differed(self, difference: Difference, decision_id: str, count: int = 1) -> None:
        """And so many not alike."""
        self._begin()
        change = difference.change
        self._changes[change] = self._changes.get(change, 0) + count
        key = (change, difference.policy, difference.rule, difference.tenant)
        found = self._groups.get(key)
        if found is None and len(self._groups) >= _MAX_GROUPS:
            difference = Difference(change, _OTHER, _OTHER, _OTHER)
            key = (change, _OTHER, _OTHER, _OTHER)
            found = self._groups.get(key)
        self._groups[key] = (
            (difference, count, decision_id) if found is None else (found[0], found[1] + count, found[2])
        )

    def failed(self, count: int = 1) -> None:
        """The candidate failed on so many Checks."""
        self._begin()
        self._errors += count

    def skipped(self, cause: Skip) -> None:
        """A Check that was sampled was not compared."""
        self._counts.mine().counts["skipped", cause] += 1

    def unrecorded(self, count: int) -> None:
        """The journal did not take so many."""
        self._unrecorded += count

    def comparison(self, groups: int = SHOWN_GROUPS) -> Comparison:
        """As of now."""
        counts = dict(self._counts.total().counts)
        changes = self._changes.copy()
        rows = sorted(self._groups.copy().values(), key=lambda row: -row[1])[:groups]
        return Comparison(
            revision=self._candidate.revision,
            digest=self._candidate.digest,
            live_revision=self._live.revision,
            live_digest=self._live.digest,
            seconds=self._ticks() - self._began if self._began is not None else 0.0,
            compared=counts.pop(_AGREED, 0) + sum(changes.values()),
            changes=changes,
            errors=self._errors,
            skipped={key[1]: count for key, count in counts.items()},
            groups=tuple(Group(d.change, d.policy, d.rule, d.tenant, count, example) for d, count, example in rows),
            unrecorded=self._unrecorded,
        )

    def _begin(self) -> None:
        if self._began is None:
            self._began = self._ticks()


def _name(world: Snapshot) -> tuple[str, str]:
    return world.digest, world.revision
