"""A candidate beside the live bundle: which Checks it is asked about, when, and who hears of it.

Rule 1: it is asked when the answers have left and nothing else is to be done; no answer depends on what it does.
Rule 2: what it may cost is bounded: how many wait, how large they are, and its share of the processor. What is over is
counted and not compared.
Rule 3: the journal has every disagreement as an event of its own, which names the decision: that one was written
before it was answered.
"""

import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

from msgspec import Struct

from extauthz.beside.budget import Budget
from extauthz.beside.evaluate import Settle, evaluate
from extauthz.beside.pair import Callers, Pair, make_pair
from extauthz.beside.tally import Tally
from extauthz.beside.waiting import Waiting
from extauthz.bundle.compare import Change, Comparison, Skip
from extauthz.guards import Listed
from extauthz.journal import CandidateRecord
from extauthz.model.decision import Decision, Undecided
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Refused
from extauthz.snapshot import Snapshot
from extauthz.sources import Live

log = logging.getLogger("extauthz.beside")

_MOST_WAITING: Final = 128
_LARGEST_BYTES: Final = 256 << 10  # of a Check, so that those that wait take 32 MiB at most
_LATE_SECONDS: Final = 5.0
# How long a Check that comes meanwhile may have to wait, plus one evaluation.
_SLICE_SECONDS: Final = 100e-6
_DIGITS: Final = 6  # of the decision id: 16 million steps between nothing and everything
_ALL: Final = "g"  # after every hex digit


class BesideOptions(Struct, frozen=True):
    """How much of the traffic is compared, and at what cost."""

    sample: float  # 0 to 1
    max_share: float  # of the processor time of everything else


class Recorder(Protocol):
    """The journal, as far as it is needed here."""

    def record_candidates(self, records: Sequence[CandidateRecord]) -> bool:
        """Write these with one write; False when the journal cannot. Never raises, never waits for a disk."""
        ...


class Counter(Protocol):
    """The metrics, as far as they are needed here."""

    def candidate_check(self, result: str) -> None:
        """Count a Check that was given to the candidate."""
        ...

    def candidate_skipped(self, cause: str) -> None:
        """Count a Check that was sampled and not compared."""
        ...

    def disagreement(self, change: Change, policy: str) -> None:
        """Count a Check that the candidate decides differently."""
        ...


class Beside:
    """Compares. Any thread may offer; one at a time compares, and who comes second goes away."""

    def __init__(
        self,
        live: Live,
        candidate: Live,
        options: BesideOptions,
        settle: Settle,
        journal: Recorder,
        metrics: Counter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Of `candidate` only what it holds is used: it decides nothing. `clock` is in seconds since the epoch."""
        self._live, self._candidate, self._settle = live, candidate, settle
        self._journal, self._metrics, self._clock = journal, metrics, clock
        self.budget = Budget(options.max_share)
        self._limit = _ALL if options.sample >= 1 else f"{int(options.sample * 16**_DIGITS):0{_DIGITS}x}"
        self._waiting: deque[Waiting] = deque()
        self._callers = Callers()
        self._pair: Pair | None = None
        self._tally: Tally | None = None
        self._at_work = Lock()
        self._making = Lock()  # of counts, once for each pair
        self._logged: set[str] = set()

    # --- on the path

    def orders(self, world: Snapshot | None) -> Listed | None:
        """What is ordered at run time before a batch is decided; None when nothing will be compared."""
        if world is None or self._candidate.latest is None:
            return None
        return world.orders.listed

    def wants(self, record: DecisionRecord) -> bool:
        """Whether this Check is in the sample: by its decision id, so that anybody can tell later."""
        return record.decision_id[:_DIGITS] < self._limit

    def offer(self, waiting: Waiting, size: int) -> None:
        """Take a Check that has been answered, or is about to be; `size` is that of its message in bytes."""
        if isinstance(waiting.asked, Refused):  # no bundle has a say in that
            return
        if isinstance(waiting.record.decision, Undecided):
            self._skip("undecided")
        elif size > _LARGEST_BYTES:
            self._skip("large")
        elif len(self._waiting) >= _MOST_WAITING:
            self._skip("queue")
        elif self.budget.is_spent:
            self._skip("share")
        else:
            self._waiting.append(waiting)

    # --- beside it: transport.Spare

    @property
    def is_there(self) -> bool:
        """Whether something waits to be compared."""
        return bool(self._waiting)

    def do(self) -> None:
        """Compare for a moment. Total."""
        if not self._waiting or not self._at_work.acquire(blocking=False):
            return
        try:
            self._compare_some()
        except Exception as error:  # noqa: BLE001 - nothing that happens here may reach an answer
            place = _place(error)
            if place not in self._logged:  # once for each
                self._logged.add(place)
                log.error("comparing with the candidate failed at %s", place)  # noqa: TRY400 - texts may quote
        finally:
            self._at_work.release()

    def comparison(self) -> Comparison | None:
        """What has been found about the candidate that is here now; None when there is none."""
        tally = self._counted()
        return tally.comparison() if tally is not None else None

    # --- comparing

    def _compare_some(self) -> None:
        records: list[CandidateRecord] = []
        began = now = time.perf_counter()
        try:
            while self._waiting and now - began < _SLICE_SECONDS:
                if result := self._compare(self._waiting.popleft(), records):
                    self._metrics.candidate_check(result)
                now = time.perf_counter()
        finally:
            if records:
                self._record(records)
            self.budget.spend(time.perf_counter() - began)

    def _compare(self, waiting: Waiting, records: list[CandidateRecord]) -> str:
        """What came of it; "" when it was skipped."""
        live, candidate, tally = self._live.current, self._candidate.latest, self._counted()
        if live is None or candidate is None or tally is None or waiting.world is not live:
            return self._skip("changed")
        if waiting.orders is not live.orders.listed:
            return self._skip("changed")
        now = self._clock()
        if now - waiting.record.time - waiting.record.duration > _LATE_SECONDS:
            return self._skip("late")
        try:
            found = evaluate(waiting, self._paired(live, candidate), self._callers, self._settle)
        except Exception as error:  # noqa: BLE001 - a candidate that fails is what we want to know about
            tally.failed()
            self._note_failure(error, waiting, candidate, tally, records)
            return "failed"
        if isinstance(found, str):
            return self._skip(found)
        decision, difference = found
        if difference is not None and _may_have_ended_meanwhile(waiting.record, decision, now):
            return self._skip("changed")
        tally.compared()
        if difference is None:
            return "agreed"
        tally.differed(difference, waiting.record.decision_id)
        self._metrics.disagreement(difference.change, difference.policy)
        records.append(CandidateRecord(waiting.record, candidate.revision, candidate.digest, difference, decision))
        return "disagreed"

    def _paired(self, live: Snapshot, candidate: Snapshot) -> Pair:
        pair = self._pair
        if pair is None or pair.live is not live or pair.source is not candidate:
            pair = self._pair = make_pair(live, candidate, self._callers)
        return pair

    def _counted(self) -> Tally | None:
        """The counts of the two bundles as they are now, which begin anew when either is another; None without one."""
        live, candidate, tally = self._live.latest, self._candidate.latest, self._tally
        if live is None or candidate is None:
            return None
        if tally is None or not tally.is_of(live, candidate):
            with self._making:
                tally = self._tally
                if tally is None or not tally.is_of(live, candidate):
                    tally = self._tally = Tally(live, candidate, time.monotonic)
        return tally

    def _note_failure(
        self, error: Exception, waiting: Waiting, candidate: Snapshot, tally: Tally, records: list[CandidateRecord]
    ) -> None:
        place = _place(error)
        if place not in tally.places:  # once for each
            tally.places.add(place)
            log.error("the candidate `%s` failed at %s", candidate.revision, place)
        records.append(CandidateRecord(waiting.record, candidate.revision, candidate.digest, error=place))

    def _record(self, records: list[CandidateRecord]) -> None:
        if not self._journal.record_candidates(records) and self._tally is not None:
            self._tally.unrecorded(len(records))

    def _skip(self, cause: Skip) -> str:
        self._metrics.candidate_skipped(cause)
        tally = self._counted()
        if tally is not None:
            tally.skipped(cause)
        return ""


def _may_have_ended_meanwhile(record: DecisionRecord, candidate: Decision, now: float) -> bool:
    """Whether one of the two follows from an emergency, and another second has begun since."""
    emergency = record.decision.evidence.emergency or candidate.evidence.emergency
    return bool(emergency) and int(now) != int(record.time)


def _place(error: Exception) -> str:
    """Kind and place of an error, without its text, which may quote a client."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} {frame.name}"
