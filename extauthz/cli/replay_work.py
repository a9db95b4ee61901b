"""Records of a journal held against a bundle, in this process or in several.

Rule: records come while the chain is still being verified; whoever asked throws the counts away when it does not hold.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Final

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder

from extauthz.bundle.read import open_bundle
from extauthz.bundle.replay import Decided, Naming, Replay, Totals, World, add_up, count
from extauthz.journal.chain import Line
from extauthz.journal.pseudonym import PeriodKey, Pseudonyms, advance
from extauthz.journal.record import DecisionEvent, read_decision
from extauthz.model.kept import Kept

Files = Mapping[str, bytes]

_PER_TASK: Final = 2_000  # records: some tenths of a second
_AHEAD: Final = 3  # tasks for each process that wait, so that memory does not grow with the journal
_kept = Decoder(Kept)
_worker: dict[str, "Work"] = {}


class Plan(Struct, frozen=True):
    """What every process needs."""

    new: Files
    live: Files | None
    key: PeriodKey | None
    examples: int


class Work:
    """One process's share."""

    def __init__(self, plan: Plan) -> None:
        """Compile the bundles. Raises BundleError."""
        self._plan = plan
        self._names = None if plan.key is None else Pseudonyms(plan.key, b"")
        self.new = World(open_bundle(plan.new), self._naming)
        self.live = None if plan.live is None else World(open_bundle(plan.live), self._naming)
        self._replay = Replay(self.new, self.live)

    def run(self, records: list[tuple[str, bytes]]) -> Totals:
        """What becomes of these: time and event of each."""
        totals = Totals()
        for time, event in records:
            found = read_decision(event)
            if found is not None:
                decided = decided_of(time, found)
                count(totals, decided, self._replay(decided), self._plan.examples)
        return totals

    def _naming(self, tenant: str, month: str) -> Naming | None:
        key = self._plan.key
        if self._names is None or key is None or isinstance(advance(key, month), str):
            return None
        return self._names.attributes(tenant, month)


class Gathering:
    """Takes records as they are read, and hands them on in portions."""

    def __init__(self, plan: Plan, jobs: int, work: Work, wanted: Callable[[str], bool]) -> None:
        """`work` is this process's own, used when there is no other; `wanted` tells by a record's time."""
        self._work, self._wanted, self._examples = work, wanted, plan.examples
        self._waiting: list[tuple[str, bytes]] = []
        self._done: list[Totals] = []
        self._running: deque[Future[Totals]] = deque()
        self._most = jobs * _AHEAD
        self._pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (plan,)) if jobs > 1 else None

    def take(self, record: Line) -> None:
        """One record of the journal."""
        event = bytes(record.event)
        if event.startswith(b'{"decision"') and self._wanted(record.time):
            self._waiting.append((record.time, event))
            if len(self._waiting) >= _PER_TASK:
                self._hand_on()

    def close(self) -> None:
        """Let the other processes go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def totals(self) -> Totals:
        """The sum, when all records were taken."""
        self._hand_on()
        while self._running:
            self._collect()
        return self._done[0] if self._done else Totals()

    def _hand_on(self) -> None:
        portion, self._waiting = self._waiting, []
        if self._pool is None:
            self._add(self._work.run(portion))
            return
        self._running.append(self._pool.submit(_run, portion))
        if len(self._running) > self._most:
            self._collect()

    def _collect(self) -> None:
        self._add(self._running.popleft().result())

    def _add(self, part: Totals) -> None:
        self._done = [add_up([*self._done, part], self._examples)]


def _begin(plan: Plan) -> None:
    _worker["it"] = Work(plan)


def _run(records: list[tuple[str, bytes]]) -> Totals:
    return _worker["it"].run(records)


def decided_of(time: str, event: DecisionEvent) -> Decided:
    """A record as replay takes it; `time` is RFC 3339."""
    return Decided(
        decision_id=event.decision_id,
        time=time,
        now=int(datetime.fromisoformat(time).astimezone(UTC).timestamp()),
        outcome=event.outcome,
        reason=event.reason,
        check=event.check,
        profile=event.profile,
        policy=event.policy,
        rule=event.rule,
        route=event.route,
        method=event.method,
        host=event.host,
        tenant=event.tenant,
        issuer=event.issuer,
        client=event.client_id,
        roles=event.roles,
        token_id=event.token_id,
        key_id=event.key_id,
        principal=event.source_principal,
        revision=event.revision,
        digest=event.digest,
        emergency=event.emergency,
        kept=_read(bytes(event.read)),
    )


def _read(text: bytes) -> Kept | None:
    """None when nothing was kept, or by a version that keeps it otherwise."""
    try:
        return _kept.decode(text) if text else None
    except (DecodeError, ValidationError):
        return None
