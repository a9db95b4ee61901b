"""One worker after the other in one place: started again when it ends, watched while it runs.

Rule 1: a first end is answered at once; who ends again and again is waited for ever longer, and loudly.
Rule 2: the address stays the same: Envoy lists it.
"""

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from extauthz.telemetry import Totals
from extauthz.workers.channel import ChannelError, Handler
from extauthz.workers.plan import Boot, Cause, Failed
from extauthz.workers.process import WorkerProcess

log = logging.getLogger("extauthz.workers")

BEAT_SECONDS = 0.2  # what a worker that is killed had counted since then is missing in the metrics
ANSWER_SECONDS = 1.0
HUNG_SECONDS = 10.0  # without a single answer: it is ended and started again
BOOT_SECONDS = 120.0  # loading a bundle of 10,000 policies takes 15 on a slow machine
STABLE_SECONDS = 10.0  # who served for so long begins a new count of ends in a row
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
_LAST_SECONDS = 5.0  # between the end of the channel and that of the process

Handlers = Mapping[str, Handler]


class Ended(Struct, frozen=True):
    """How a worker ended."""

    cause: Cause
    detail: str  # for people
    code: int  # exit code of a server that would end for it


class Seat:
    """A place for one worker. Whoever asks does so from other threads than its own."""

    def __init__(
        self,
        boot: Boot,
        totals: Totals,
        take: Callable[[], WorkerProcess],
        handlers: Callable[["Seat"], tuple[Handlers, Handlers]],
        on_end: Callable[[int], None],
    ) -> None:
        """`take` is a process that waits for its boot, or an OSError; `on_end` is told the worker's number.

        `handlers` answer what the worker asks: those that take long, and those that do not.
        """
        self.worker, self.address = boot.worker, boot.address
        self.ends: dict[Cause, int] = {"exit": 0, "signal": 0, "start": 0, "hung": 0}
        self.last: Ended | None = None
        self.not_ready: tuple[str, ...] = ("it has not started yet",)
        self.in_a_row = 0
        self.since = 0.0  # monotonic, when it began to serve; 0 while it does not
        self.process: WorkerProcess | None = None
        self._boot, self._totals, self._take = boot, totals, take
        self._handlers, self._on_end = handlers, on_end
        self._settled = threading.Event()  # the first start came to a result
        self._stopping = threading.Event()
        self._asking = threading.Lock()
        self._answered = 0.0
        self._hung = False
        self._thread = threading.Thread(target=self._run, name=f"worker-{self.worker}", daemon=True)

    @property
    def serves(self) -> bool:
        """Whether it answers Checks, ready or not."""
        return bool(self.since)

    @property
    def ready(self) -> bool:
        """Whether it answers them by a bundle."""
        return self.serves and not self.not_ready

    def start(self) -> None:
        """Begin; see `settled`."""
        self._thread.start()

    def settled(self, seconds: float) -> bool:
        """Whether the first start has come to a result within so many seconds: `serves`, or `last` says why not."""
        return self._settled.wait(seconds)

    def stop(self) -> None:
        """Drain; asked twice, make haste. Nothing is started any more."""
        self._stopping.set()
        if self.process is not None:
            self.process.stop()

    def kill(self) -> None:
        """End the worker now; another takes its place unless all stops."""
        if self.process is not None:
            self.process.kill()

    def join(self, seconds: float) -> bool:
        """Whether all has ended within so many seconds."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def refresh(self) -> None:
        """Ask now how it fares."""
        process = self.process
        if process is None:
            return
        with self._asking:
            try:
                beat = process.beat(ANSWER_SECONDS)
            except ChannelError:
                return
            if process is self.process:
                self._totals.update(self.worker, beat.report)
                self.not_ready, self._answered = beat.not_ready, time.monotonic()

    # --- the seat's own thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                ended = self._live()
            except Exception as error:
                log.exception("a worker could not be looked after because of a bug")
                ended = Ended("start", f"internal error {type(error).__name__}: please report it", 4)
            self.last = ended
            if not self._settled.is_set():
                self._settled.set()
                return  # nobody serves yet who could go on without it
            if not self._stopping.is_set():
                self._stopping.wait(self._mourn(ended))

    def _live(self) -> Ended:
        """One worker, from start to end."""
        try:
            process = self._take()
        except OSError as error:
            return Ended("start", f"it cannot be started: {(error.strerror or str(error)).lower()}", 4)
        self.process, self._hung, self._answered = process, False, time.monotonic()
        if self._stopping.is_set():
            process.stop()
        try:
            self._watch(process)
            if process.wait(_LAST_SECONDS) is None:
                process.kill()
            status = process.wait() or 0
        finally:
            self._leave(process)
        return _ended(process, status, hung=self._hung, served=process.listening is not None)

    def _watch(self, process: WorkerProcess) -> None:
        """Until the channel ends."""
        try:
            process.boot(replace(self._boot, address=self.address), *self._handlers(self))
        except ChannelError:
            return
        if not process.settle(BOOT_SECONDS):
            self._hung = True
            process.kill()
        if process.listening is not None:
            self.address = process.listening.address
            self.since = self._answered = time.monotonic()
            self.refresh()
            self._settled.set()
            log.info("worker serves", extra={"worker": self.worker, "address": self.address, "pid": process.pid})
        while not process.ended(BEAT_SECONDS):
            self.refresh()
            if time.monotonic() - self._answered > HUNG_SECONDS and not self._stopping.is_set():
                self._hung = True
                process.kill()

    def _leave(self, process: WorkerProcess) -> None:
        with self._asking:
            self.process, self.not_ready = None, ("it has ended",)
            if process.last is not None:
                self._totals.update(self.worker, process.last.report)
            self._totals.end(self.worker)
        self._on_end(self.worker)
        process.close()

    def _mourn(self, ended: Ended) -> float:
        """Count and say it; returns how long to wait before the next."""
        lived = time.monotonic() - self.since if self.since else 0.0
        self.ends[ended.cause] += 1
        self.in_a_row = 1 if lived >= STABLE_SECONDS else self.in_a_row + 1
        times = f" {self.in_a_row} times in a row" if self.in_a_row > 1 else ""
        self.since, self.not_ready = 0.0, (f"it ended{times}: {ended.detail}",)
        pause = pause_after(self.in_a_row, random.random())  # noqa: S311 - spreads attempts
        more = {"worker": self.worker, "cause": ended.cause, "served_seconds": round(lived, 1)}
        if self.in_a_row == 1:
            log.error("worker %d ended and is started again: %s", self.worker, ended.detail, extra=more)
        else:
            message = "worker %d ended %d times in a row, next start in %.1f s: %s"
            log.error(message, self.worker, self.in_a_row, pause, ended.detail, extra=more)
        return pause


def pause_after(ends: int, chance: float) -> float:
    """Seconds until the next start, after so many ends in a row; `chance` from 0 to 1 takes up to half of it away."""
    if ends <= 1:
        return 0.0
    return min(_FIRST_PAUSE * 2.0 ** min(ends - 2, 10), _LONGEST_PAUSE) * (1 - chance / 2)


def _ended(process: WorkerProcess, status: int, *, hung: bool, served: bool) -> Ended:
    failed: Failed | None = process.failed
    if failed is not None:
        return Ended("start", "; ".join(failed.lines), failed.code)
    if hung:
        return Ended("hung", "it answered nothing and was ended", 4)
    if status < 0:
        return Ended("signal", f"by {_signal_name(-status)}", 4)
    return Ended("exit" if served else "start", f"with exit code {status}", status or 4)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
