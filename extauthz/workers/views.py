"""Several workers in the words of the admin pages and of metrics: one server, and who it is made of."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from socket import gethostname
from typing import TypeVar

import msgspec
from msgspec.structs import replace
from prometheus_client import Metric
from prometheus_client.registry import Collector

from extauthz.admin import BundleStatus, CandidateStatus, JournalStatus, Status, TransportStatus, WorkerStatus
from extauthz.bundle.compare import judge, together
from extauthz.telemetry import Totals
from extauthz.telemetry.families import counter, gauge
from extauthz.workers.channel import ChannelError
from extauthz.workers.plan import Plan
from extauthz.workers.seat import ANSWER_SECONDS, Seat

log = logging.getLogger("extauthz.workers")

T = TypeVar("T")

_NOBODY = "no worker is ready"
_APART = "workers do not compare the same two bundles"
_GROUPS = 20  # of disagreements, shown


class Overview(Collector):
    """What the admin listener shows. Called on its threads."""

    def __init__(self, plan: Plan, seats: Sequence[Seat], totals: Totals) -> None:
        self._plan, self._seats, self._totals = plan, seats, totals
        self._started = time.monotonic()
        self.draining = False

    def ready(self) -> tuple[int, int]:
        """How many workers are ready, and how many there are."""
        return sum(seat.ready for seat in self._seats), len(self._seats)

    def readiness(self) -> tuple[str, ...]:
        """Why the server is not ready; empty while one worker is."""
        if self.draining:
            return ("the server is draining",)
        if self.ready()[0]:
            return ()
        return (_NOBODY, *(f"worker {seat.worker}: {reason}" for seat in self._seats for reason in seat.not_ready))

    def status(self) -> Status:
        """The whole: what workers have in common from one that is ready, the rest added up."""
        found = dict(self._ask_all())
        reasons = self.readiness()
        common = next((found[seat.worker] for seat in self._by_readiness() if seat.worker in found), None)
        serving = [seat.address for seat in self._seats if seat.ready]
        whole = Status(
            version=version("extauthz"),
            instance=gethostname(),
            uptime_seconds=time.monotonic() - self._started,
            ready=not reasons,
            not_ready_because=reasons,
            config_digest=self._plan.digest,
            bundle=BundleStatus(source=""),
            issuers=(),
            journal=self._journal(found.values()),
            transport=TransportStatus(kind="", address="", tls="", serving=bool(serving), inflight=0),
            decisions=self._totals.decisions(),
            workers=tuple(self._workers(found)),
        )
        if common is None:
            return whole
        inflight = sum(status.transport.inflight for status in found.values())
        addresses = ", ".join(seat.address for seat in self._seats)
        transport = replace(common.transport, address=addresses, serving=bool(serving), inflight=inflight)
        shared = {"bundle": common.bundle, "issuers": common.issuers, "emergencies": common.emergencies}
        candidate = _candidate(common, list(found.values()))
        return replace(whole, transport=transport, candidate=candidate, **shared)

    def collect(self) -> Iterator[Metric]:
        """All metrics of all workers, as of now."""
        _at_once(Seat.refresh, self._seats)
        yield from self._totals.collect()
        yield gauge("extauthz_worker_ready", {(str(seat.worker),): float(seat.ready) for seat in self._seats})
        ends: dict[tuple[str, ...], float] = {
            (str(seat.worker), cause): count for seat in self._seats for cause, count in seat.ends.items()
        }
        yield counter("extauthz_worker_restarts_total", ends)
        checks = self._totals.checks()
        yield counter(
            "extauthz_worker_checks_total", {(str(seat.worker),): checks.get(seat.worker, 0) for seat in self._seats}
        )
        memory: dict[tuple[str, ...], float] = {
            (str(seat.worker),): process.memory for seat in self._seats if (process := seat.process)
        }
        yield gauge("extauthz_worker_memory_bytes", memory)

    def _by_readiness(self) -> list[Seat]:
        return sorted(self._seats, key=lambda seat: not seat.ready)

    def _ask_all(self) -> list[tuple[int, Status]]:
        _at_once(Seat.refresh, self._seats)
        return [pair for pair in _at_once(_status, self._seats) if pair is not None]

    def _workers(self, found: dict[int, Status]) -> Iterator[WorkerStatus]:
        now, checks = time.monotonic(), self._totals.checks()
        for seat in self._seats:
            process, own = seat.process, found.get(seat.worker)
            yield WorkerStatus(
                worker=seat.worker,
                address=seat.address,
                pid=process.pid if process else 0,
                ready=seat.ready,
                not_ready_because=() if seat.ready else seat.not_ready,
                serves_seconds=now - seat.since if seat.serves else 0.0,
                restarts=sum(seat.ends.values()),
                last_end=seat.last.detail if seat.last else "",
                revision=own.bundle.revision if own else "",
                checks=checks.get(seat.worker, 0),
                memory_bytes=process.memory if process else 0,
            )

    def _journal(self, found: Iterable[Status]) -> JournalStatus:
        parts = [status.journal for status in found]
        return JournalStatus(
            directory=self._plan.journal,
            records=sum(part.records for part in parts),
            position=sum(part.position for part in parts),
            failures=sum(part.failures for part in parts),
        )


def _candidate(common: Status, found: Sequence[Status]) -> CandidateStatus | None:
    """What all workers have seen of it, judged together."""
    if common.candidate is None:
        return None
    parts = [status.candidate for status in found if status.candidate is not None]
    compared = [part.comparison for part in parts if part.comparison is not None]
    comparison = together(compared, _GROUPS) if len(compared) == len(found) else None
    verdict = judge(comparison, common.candidate.gate)
    return replace(
        common.candidate,
        seconds_spent=sum(part.seconds_spent for part in parts),
        comparison=comparison,
        promotable=verdict.passed,
        not_promotable_because=verdict.reasons if comparison is not None or not compared else (_APART,),
    )


def _status(seat: Seat) -> tuple[int, Status] | None:
    process = seat.process
    if process is None:
        return None
    try:
        return seat.worker, msgspec.json.decode(process.status(ANSWER_SECONDS), type=Status)
    except (ChannelError, msgspec.MsgspecError) as error:
        log.warning("a worker does not tell its status: %s", error, extra={"worker": seat.worker})
        return None


def _at_once(ask: Callable[[Seat], T], seats: Sequence[Seat]) -> list[T]:
    """Ask all side by side, so that one that is stuck costs its own time and not that of the others."""
    with ThreadPoolExecutor(len(seats), thread_name_prefix="ask") as pool:
        return list(pool.map(ask, seats))
