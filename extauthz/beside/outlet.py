"""Who hears of what was found: journal, metrics and counts, of many Checks at once."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from extauthz.beside.tally import Tally
from extauthz.bundle.compare import Change, Difference
from extauthz.journal import CandidateRecord


class Found(Struct, frozen=True, gc=False):
    """A Check that the candidate decides differently, or on which it failed."""

    difference: Difference | None  # None when it failed
    finding: bytes  # of the journal's event, see `CandidateRecord`
    decision_id: str
    tally: Tally  # of the two bundles that decided


class Recorder(Protocol):
    """The journal, as far as it is needed here."""

    def record_candidates(self, records: Sequence[CandidateRecord]) -> bool:
        """Write these with one write; False when the journal cannot. Never raises, never waits for a disk."""
        ...


class Counter(Protocol):
    """The metrics, as far as they are needed here."""

    def candidate_checks(self, result: str, count: int) -> None:
        """Count Checks that were given to the candidate."""
        ...

    def candidate_skipped(self, cause: str) -> None:
        """Count a Check that was sampled and not compared."""
        ...

    def disagreements(self, change: Change, policy: str, count: int) -> None:
        """Count Checks that the candidate decides differently."""
        ...


class Outlet:
    """Tells them. One thread at a time."""

    def __init__(self, journal: Recorder, metrics: Counter) -> None:
        self._journal, self._metrics = journal, metrics

    def put(self, found: Sequence[Found]) -> None:
        """On record with one write, then counted: once for all that are alike."""
        if not found:
            return
        written = self._journal.record_candidates([CandidateRecord(each.decision_id, each.finding) for each in found])
        alike: dict[tuple[int, int], list[Found]] = {}
        for each in found:
            alike.setdefault((id(each.difference), id(each.tally)), []).append(each)
        for group in alike.values():
            first, count = group[0], len(group)
            if not written:
                first.tally.unrecorded(count)
            if first.difference is None:
                first.tally.failed(count)
                self._metrics.candidate_checks("failed", count)
            else:
                first.tally.differed(first.difference, first.decision_id, count)
                self._metrics.disagreements(first.difference.change, first.difference.policy, count)
                self._metrics.candidate_checks("disagreed", count)
