"""A candidate beside the live bundle: which Checks it is asked about, when, and who hears of it.

Rule 1: it is asked when the answers have left and nothing else is to be done; no answer depends on what it does. What
is known of Checks alike is looked up before, for that costs less than putting a Check aside.
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
from typing import Final

from msgspec import Struct

from extauthz.beside.budget import Budget
from extauthz.beside.evaluate import Settle
from extauthz.beside.known import Agreed, Disagreed
from extauthz.beside.outlet import Counter, Found, Outlet, Recorder
from extauthz.beside.pair import Pair, make_pair
from extauthz.beside.tally import Tally
from extauthz.beside.waiting import Waiting
from extauthz.beside.weigh import Scales, Weighed, recall
from extauthz.bundle.compare import Comparison, Skip
from extauthz.journal import finding
from extauthz.model.decision import Undecided
from extauthz.model.request import Refused
from extauthz.snapshot import Snapshot
from extauthz.sources import Live

log = logging.getLogger("extauthz.beside")

_MOST_WAITING: Final = 128
_LARGEST_BYTES: Final = 256 << 10  # of a Check, so that those that wait take 32 MiB at most
_LATE_SECONDS: Final = 5.0
_MOST_FOUND: Final = 1024  # disagreements that wait for the journal, 200 bytes each
# Fewer are left to whoever sweeps: looking at the sockets once more for a single one costs more than comparing it.
_BATCH: Final = 16
# How long a Check that comes meanwhile may have to wait, plus one evaluation.
_SLICE_SECONDS: Final = 100e-6
_SLICES: Final = 8  # of one sweep
_DIGITS: Final = 6  # of the decision id: 16 million steps between nothing and everything
_ALL: Final = "g"  # after every hex digit


class BesideOptions(Struct, frozen=True):
    """How much of the traffic is compared, and at what cost."""

    sample: float  # 0 to 1
    max_share: float  # of the processor time of everything else


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
        self._live, self._candidate, self._scales = live, candidate, Scales(settle)
        self._metrics, self._clock = metrics, clock
        self._outlet = Outlet(journal, metrics)
        self.budget = Budget(options.max_share)
        self.slice_seconds = _SLICE_SECONDS
        # Ids below this are in the sample, so that anybody can tell later which.
        self.limit: Final = _ALL if options.sample >= 1 else f"{int(options.sample * 16**_DIGITS):0{_DIGITS}x}"
        self._waiting: deque[Waiting] = deque()
        self._found: deque[Found] = deque()  # is known, and waits for the journal
        self._pair: tuple[Pair, Tally] | None = None
        self._tally: Tally | None = None
        self._is_begun = False  # something is left of what was begun
        self._at_work = Lock()
        self._making = Lock()  # of counts, once for each pair
        self._logged: set[str] = set()

    # --- on the path

    def offer(self, sample: Sequence[Waiting]) -> None:
        """Take Checks of the sample that have been answered, or are about to be."""
        began, agreed = time.perf_counter(), 0
        if self._candidate.latest is None:
            return
        if self.budget.is_spent:
            for waiting in sample:
                self._refuse(waiting, "share")
            return
        pair, tally = self._pair or (None, None)
        if pair is not None and pair.source is not self._candidate.latest:
            pair = None
        for waiting in sample:
            known = recall(waiting, pair) if pair is not None and waiting.world is pair.live else None
            if isinstance(known, Agreed):
                agreed += 1
            elif isinstance(known, Disagreed) and tally is not None:
                self._put_found(Found(known.difference, known.finding, waiting.record.decision_id, tally))
            else:
                self._put(waiting)
        if agreed and tally is not None:
            self._agreed(tally, agreed)
        self.budget.spend(time.perf_counter() - began)

    def _put(self, waiting: Waiting) -> None:
        if isinstance(waiting.record.decision, Undecided):
            self._refuse(waiting, "undecided")
        elif waiting.size > _LARGEST_BYTES:
            self._refuse(waiting, "large")
        elif len(self._waiting) >= _MOST_WAITING:
            self._refuse(waiting, "queue")
        elif not isinstance(waiting.asked, Refused):
            self._waiting.append(waiting)

    def _put_found(self, found: Found) -> None:
        if len(self._found) >= _MOST_FOUND:
            self._skip("queue")
        else:
            self._found.append(found)

    def _refuse(self, waiting: Waiting, cause: Skip) -> None:
        if not isinstance(waiting.asked, Refused):  # no bundle has a say in that
            self._skip(cause)

    # --- beside it: transport.Spare

    @property
    def waiting(self) -> int:
        """How many wait to be compared or recorded."""
        return len(self._waiting) + len(self._found)

    @property
    def is_there(self) -> bool:
        """Whether there is enough to begin, or something left of what was begun."""
        return self._is_begun or len(self._waiting) + len(self._found) >= _BATCH

    def do(self) -> None:
        """Compare for a moment. Total."""
        if not self.waiting or not self._at_work.acquire(blocking=False):
            return
        try:
            self._compare_some()
        except Exception as error:  # noqa: BLE001 - nothing that happens here may reach an answer
            place = _place(error)
            if place not in self._logged:  # once for each
                self._logged.add(place)
                log.error("comparing with the candidate failed at %s", place)  # noqa: TRY400 - texts may quote
        finally:
            self._is_begun = self.waiting > 0
            self._at_work.release()

    def sweep(self) -> bool:
        """Some of what is too little to begin with, for a thread beside the path; whether there is more. Total."""
        for _ in range(_SLICES):
            if not self.waiting:
                return False
            self.do()
        return self.waiting > 0

    def comparison(self) -> Comparison | None:
        """What has been found about the candidate that is here now; None when there is none."""
        tally = self._counted()
        return tally.comparison() if tally is not None else None

    # --- comparing

    def _compare_some(self) -> None:
        began = now = time.perf_counter()
        found: list[Found] = []
        agreed: dict[Tally, int] = {}
        try:
            while self._waiting and now - began < self.slice_seconds:
                self._compare(self._waiting.popleft(), found, agreed)
                now = time.perf_counter()
            while self._found and len(found) < _BATCH:
                found.append(self._found.popleft())
        finally:
            try:
                self._outlet.put(found)
                for tally, count in agreed.items():
                    self._agreed(tally, count)
            finally:
                self.budget.spend(time.perf_counter() - began)

    def _compare(self, waiting: Waiting, found: list[Found], agreed: dict[Tally, int]) -> None:
        """Into one of the two, unless it is skipped."""
        live, candidate, tally = self._live.current, self._candidate.latest, self._counted()
        if live is None or candidate is None or tally is None or waiting.world is not live:
            return self._skip("changed")
        if waiting.orders is not live.orders.listed:
            return self._skip("changed")
        now = self._clock()
        if now - waiting.record.time - waiting.record.duration > _LATE_SECONDS:
            return self._skip("late")
        try:
            weighed: Weighed = self._scales.weigh(waiting, self._paired(live, candidate, tally), now)
        except Exception as error:  # noqa: BLE001 - a candidate that fails is what we want to know about
            failure = self._note_failure(error, waiting, candidate, tally)
            found.append(Found(None, failure, waiting.record.decision_id, tally))
            return None
        if isinstance(weighed, Agreed):
            agreed[tally] = agreed.get(tally, 0) + 1
        elif isinstance(weighed, Disagreed):
            found.append(Found(weighed.difference, weighed.finding, waiting.record.decision_id, tally))
        else:
            self._skip(weighed)
        return None

    def _agreed(self, tally: Tally, count: int) -> None:
        tally.agreed(count)
        self._metrics.candidate_checks("agreed", count)

    def _paired(self, live: Snapshot, candidate: Snapshot, tally: Tally) -> Pair:
        """With what is known of them, which is looked up on the path from now on."""
        pair, counted = self._pair or (None, None)
        if pair is None or pair.live is not live or pair.source is not candidate:
            pair = make_pair(live, candidate, self._scales.callers, pair)
        if counted is not tally or self._pair is None or self._pair[0] is not pair:
            self._pair = (pair, tally)
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

    def _note_failure(self, error: Exception, waiting: Waiting, candidate: Snapshot, tally: Tally) -> bytes:
        place = _place(error)
        if place not in tally.places:  # once for each
            tally.places.add(place)
            log.error("the candidate `%s` failed at %s", candidate.revision, place)
        return finding(waiting.record, candidate.revision, candidate.digest, error=place)

    def _skip(self, cause: Skip) -> None:
        self._metrics.candidate_skipped(cause)
        tally = self._counted()
        if tally is not None:
            tally.skipped(cause)


def _place(error: Exception) -> str:
    """Kind and place of an error, without its text, which may quote a client."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} {frame.name}"
