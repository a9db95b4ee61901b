"""How long a server's threads keep the interpreter to themselves: a thread inside of it asks every 0.2 ms for its turn.

Rule 1: nothing but the standard library is imported: this runs inside of what is measured, see `pauses.watched`.
Rule 2: what is noted is processor time of the one thread that used most while ours waited. On a busy machine a wait is
long for others' sake, too; who held the interpreter used a core all the while.

A call that gave the interpreter back meanwhile (a digest, zlib) counts only if our thread did not come to run either.
"""

import gc
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

EVERY = 200e-6  # seconds
WORTH_NOTING = 0.3  # ms
_DEEP = 12  # frames of ours that are noted, the innermost first
_THREAD = 6  # CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED, see clock_getcpuclockid(3)


def watch(directory: str) -> None:
    """Note what holds this process up from now on, each as a line."""
    threading.Thread(target=_Watch(Path(directory)).run, name="holds", daemon=True).start()


class _Watch:
    """The thread that asks."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / f"{os.getpid()}.holds").open("a", buffering=1)
        self._used: dict[int, int] = {}
        self._collections = 0

    def run(self) -> None:
        """Until the process ends."""
        gc.callbacks.append(self._count)
        self._go_first()
        me = threading.get_ident()
        self._elapsed()
        while True:
            began = time.perf_counter()
            collections = self._collections
            time.sleep(EVERY)
            waited = (time.perf_counter() - began - EVERY) * 1e3
            frames = sys._current_frames() if waited >= WORTH_NOTING else {}  # noqa: SLF001 - there is no other way
            used = self._elapsed()
            if not frames or not used:
                continue
            held, who = max(used)
            held = min(held, waited)
            if held < WORTH_NOTING:
                continue
            found = next((thread for thread in threading.enumerate() if thread.native_id == who), None)
            stack = _stack(frames.get(found.ident or 0)) if found is not None and found.ident != me else []
            name = found.name if found is not None else "one that ended"
            collected = self._collections != collections
            about = {"thread": name, "stack": stack, "collected": collected}
            self._file.write(json.dumps({"at": time.time(), "ms": held, "waited_ms": waited, **about}) + "\n")

    def _count(self, phase: str, _: dict[str, int]) -> None:
        self._collections += phase == "stop"

    def _elapsed(self) -> list[tuple[float, int]]:
        """Milliseconds of processor time that each other thread used since the last call."""
        now, before = {}, self._used
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - a few microseconds every time
            task = int(thread)
            if task == threading.get_native_id():
                continue
            try:
                now[task] = time.clock_gettime_ns((~task << 3) | _THREAD)
            except OSError:  # it has ended
                continue
        self._used = now
        return [((used - before[task]) / 1e6, task) for task, used in now.items() if task in before]

    def _go_first(self) -> None:
        """Before others on the machine where that is allowed: our own waiting for a core is nobody's hold."""
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except (AttributeError, OSError):
            return


def _stack(frame: FrameType | None) -> list[str]:
    """Where a thread is: `file:line function`, files of ours by their place in the package."""
    found = []
    while frame is not None and len(found) < _DEEP:
        code = frame.f_code
        _, inside, name = code.co_filename.rpartition("/extauthz/")
        if inside or not found:  # of others only the innermost
            found.append(f"{name}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return found
