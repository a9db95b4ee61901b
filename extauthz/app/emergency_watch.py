"""Tells what begins and ends by itself. Decisions never wait for it: times are enforced where they are made."""

import logging
import threading
from collections.abc import Callable

from extauthz.app.emergency_views import clock_warning
from extauthz.guards import Summary
from extauthz.journal import LifecycleKind
from extauthz.sources import Live, RuntimeEmergencies

log = logging.getLogger("extauthz.app")

_SECONDS = 1.0


class EmergencyWatch:
    """A thread that looks once a second."""

    def __init__(
        self,
        ordered: RuntimeEmergencies,
        live: Live,
        clock: Callable[[], float],
        note: Callable[[LifecycleKind, Summary, str], None],
    ) -> None:
        """`note` is told of every Emergency document that begins, ends or is gone, with the revision in force."""
        self._ordered, self._live, self._clock, self._note = ordered, live, clock, note
        self._known: dict[str, Summary] = {}
        self._warned = ""
        self._turns = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emergencies", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Compare what is in force with what was; also called when a bundle is activated."""
        with self._turns:
            self._ordered.sweep()
            world = self._live.current
            if world is not None:
                self._compare(world.emergencies.summaries, world.revision)
            self._watch_clock()

    def in_force(self) -> list[tuple[str, Summary]]:
        """Every freeze and break glass in force, with where it stands: `bundle` or `runtime`."""
        now = int(self._clock())
        world = self._live.current
        found = [("runtime", summary) for summary in self._ordered.listed.summaries]
        found += [("bundle", summary) for summary in (world.emergencies.summaries if world else ())]
        return [(source, summary) for source, summary in found if summary.is_in_force(now)]

    def _compare(self, listed: tuple[Summary, ...], revision: str) -> None:
        now = int(self._clock())
        current = {summary.id: summary for summary in listed if summary.is_in_force(now)}
        for name, summary in self._known.items():
            if current.get(name) != summary:
                self._note("emergency_expired" if summary.end <= now else "emergency_ended", summary, revision)
        for name, summary in current.items():
            if self._known.get(name) != summary:
                self._note("emergency_opened", summary, revision)
        self._known = current

    def _watch_clock(self) -> None:
        """Say once that the clock was set while something depends on it."""
        warning = clock_warning(self._ordered.clock.step()) if self._ordered.listed.summaries else ""
        if warning and not self._warned:
            log.error("%s", warning)
        self._warned = warning

    def _run(self) -> None:
        while not self._stopping.wait(_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("what began or ended could not be told")
