"""Starts the workers, keeps them running, shows them as one, and ends them.

Rule 1: what cannot be had at the start ends the start, with one line; later it is tried again, and the others serve on.
Rule 2: the program is loaded by all workers at once, the bundle by one after the other: what is wrong with all is said
        once, and compiling takes a core that those need who serve already.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from extauthz.admin import AdminServer, ControlServer, Views
from extauthz.telemetry import Totals, configure_logs
from extauthz.workers.channel import Handler
from extauthz.workers.plan import Boot, Plan
from extauthz.workers.relay import relay
from extauthz.workers.seat import Seat
from extauthz.workers.shared import FOLLOW_SECONDS, SharedProofs, SharedState, no_proofs, spread
from extauthz.workers.signals import Signals
from extauthz.workers.spare import Spare
from extauthz.workers.views import Overview

log = logging.getLogger("extauthz.workers")

_LOOK_SECONDS = 0.05
_HASTE_SECONDS = 0.2
_SPARE_LOOK_SECONDS = 1.0
_MORE_SECONDS = 10.0  # beyond the drain, for the journal and the sinks to close
_RESOURCE = 4  # exit code: a port, key or directory cannot be used


class StartError(Exception):
    """The server cannot start; everything is ended."""

    def __init__(self, message: str, code: int = _RESOURCE) -> None:
        self.code = code
        super().__init__(message)


class Addresses(Struct, frozen=True):
    """Where the server listens, with actual ports."""

    grpc: str  # of the first worker
    admin: str
    workers: tuple[str, ...]


class Supervisor:
    """All workers, and what they share."""

    def __init__(self, plan: Plan) -> None:
        """Nothing is opened yet."""
        self._plan = plan
        self._totals = Totals(plan.metrics.business)
        self._state = SharedState(plan.revocations)
        self._first_use = SharedProofs(plan.replay_capacity).first_use if plan.replay_capacity else no_proofs
        boots = [self._boot(worker) for worker in range(len(plan.addresses))]
        self._spare = Spare()
        self._seats = [Seat(boot, self._totals, self._spare.take, self._handlers, self._state.leave) for boot in boots]
        self._overview = Overview(plan, self._seats, self._totals)
        registry = CollectorRegistry()
        registry.register(self._overview)
        overview = self._overview
        self._admin = AdminServer(
            plan.admin, Views(registry, overview.readiness, overview.status, workers=overview.ready)
        )
        self._control = ControlServer(plan.admin.control_socket, None, relay(self._seats))

    def _boot(self, worker: int) -> Boot:
        plan = self._plan
        return Boot(
            worker=worker,
            address=plan.addresses[worker],
            settings=plan.settings,
            digest=plan.digest,
            replay=bool(plan.replay_capacity),
            nonce_key=plan.nonce_key,
        )

    def _handlers(self, seat: Seat) -> tuple[Mapping[str, Handler], Mapping[str, Handler]]:
        """What a worker may ask: what takes long, and what the thread that reads may answer."""

        def tell(news: bytes) -> None:
            if (process := seat.process) is not None:
                process.follow(news, FOLLOW_SECONDS)

        slow: dict[str, Handler] = {
            "join": lambda _: self._state.join(seat.worker, tell, seat.kill),
            "publish": lambda body: self._state.publish(seat.worker, body),
            "candidate": lambda _: msgspec.json.encode(self._overview.status().candidate),
            "order": lambda body: spread(body, [other for other in self._seats if other is not seat]),
        }
        return slow, {"first_use": self._first_use}

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code. Raises StartError."""
        with Signals() as signals:
            try:
                started = self._start(signals)
            except BaseException:
                self._end(signals, in_haste=True)
                raise
            if started:
                log.info("stopping", extra={"signal": self._await_signal(signals)})
            self._end(signals)
        log.info("stopped")
        return 0

    def _await_signal(self, signals: Signals) -> str:
        """The name of the one that came; until then a spare is kept whenever nobody needs the processor to start."""
        while not (name := signals.wait(_SPARE_LOOK_SECONDS if self._plan.spare else None)):
            if all(seat.serves for seat in self._seats):
                self._spare.prepare()
        return name

    # --- starting

    def _start(self, signals: Signals) -> bool:
        """Whether all workers serve; False when a signal came before."""
        try:
            admin = self._admin.bind()
            self._control.bind()
        except OSError as error:
            raise StartError(str(error)) from error
        self._admin.start()
        self._control.start()
        self._spare.prepare(len(self._seats))
        for seat in self._seats:
            seat.start()
            while not seat.settled(0):
                if signals.wait(_LOOK_SECONDS):
                    return False
            if not seat.serves and seat.last is not None:
                message = f"worker {seat.worker}: {seat.last.detail}"
                raise StartError(message, seat.last.code)
        addresses = tuple(seat.address for seat in self._seats)
        if self._plan.ports_file:
            _write_whole(Path(self._plan.ports_file), Addresses(addresses[0], admin, addresses))
        log.info("listening", extra={"grpc": ", ".join(addresses), "admin": admin, "workers": len(addresses)})
        return True

    # --- stopping

    def _end(self, signals: Signals, *, in_haste: bool = False) -> None:
        """Drain all workers at once; a second signal, or time, makes haste."""
        self._overview.draining = True
        self._spare.stop()
        for seat in self._seats:
            seat.stop()
        if in_haste:
            time.sleep(_HASTE_SECONDS)  # two signals at once are one
            for seat in self._seats:
                seat.stop()
        deadline = time.monotonic() + self._plan.drain_seconds + _MORE_SECONDS
        while not all(seat.join(0) for seat in self._seats):
            if signals.wait(_LOOK_SECONDS):
                for seat in self._seats:
                    seat.stop()
            if time.monotonic() > deadline:
                log.error("workers did not end in time and are killed")
                deadline += _MORE_SECONDS
                for seat in self._seats:
                    seat.kill()
        self._control.stop()
        self._admin.stop()


def supervise(descriptor: int) -> int:
    """Run the plan in this open file; the exit code. For a process that was just started, see `app.launch`."""
    with os.fdopen(descriptor, "rb") as file:
        plan = msgspec.json.decode(file.read(), type=Plan)
    for held in plan.held:
        os.set_inheritable(held, False)  # noqa: FBT003 - the signature is Python's
    configure_logs(plan.logs)
    try:
        return Supervisor(plan).run()
    except StartError as error:
        sys.stderr.write(f"extauthz: {error}\n")
        return error.code


def _write_whole(path: Path, addresses: Addresses) -> None:
    """Readers never see half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.encode(addresses))
    fresh.replace(path)
