"""The bundle that its source holds → the snapshot in force, at start and whenever the source has another.

Rule 1: everything but orders happens in one background thread, and orders take turns with it; what serves sees one
        assignment.
Rule 2: one report a state of the source, however often it is asked.
Rule 3: after a restart the disk answers for a source that is away.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from random import uniform
from threading import Event, RLock, Thread
from typing import Final

from msgspec.structs import replace

from extauthz.bundle import BundleError, Finding
from extauthz.sources.bundles.freshness import Freshness
from extauthz.sources.bundles.intake import Intake, Offered
from extauthz.sources.bundles.keys import load_trust
from extauthz.sources.bundles.options import BundleOptions, CandidateOptions
from extauthz.sources.bundles.orders import BundleOrders
from extauthz.sources.bundles.origin import Brought, UnreachableError
from extauthz.sources.bundles.origins import make_origin
from extauthz.sources.bundles.report import Activation, SourceStatus
from extauthz.sources.bundles.state import Kept, StoreError
from extauthz.sources.bundles.steps import Progress
from extauthz.sources.bundles.store import BundleStore
from extauthz.sources.live import Live

_MAX_DOUBLINGS: Final = 16
_LONGEST_WAIT: Final = 3600.0
_SHORTEST_WAIT: Final = 0.05
_FIRST_SECONDS: Final = 2.0  # a source that answers at once makes a server that is ready at once

_log = logging.getLogger(__name__)


class BundleSource:
    """Follows one source; every attempt is told to `on_change`, from the background thread."""

    def __init__(
        self,
        options: BundleOptions | CandidateOptions,
        live: Live,
        on_change: Callable[[Activation], None],
        on_age: Callable[[bool, float], None] = lambda _too_old, _age: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened yet. `clock` counts seconds since the epoch.

        `on_age` hears when the bundle became too old (True) or is not any more, and how old it is, in seconds.
        """
        self.last: Activation | None = None
        self.chosen: Activation | None = None  # the one that put in force what is
        self._options, self._live, self._clock = options, live, clock
        self._on_change, self._on_age = on_change, on_age
        self._origin = make_origin(options)
        self._store = BundleStore(options.state_directory, options.keep) if options.state_directory else None
        retain = isinstance(options, CandidateOptions)
        limit = options.max_data_bytes
        self._intake = Intake(live, self._store, clock, limit, run_tests=options.run_tests, retain=retain)
        self._fresh = Freshness(options.max_age_seconds, clock, self._note_contact)
        self._steps: Counter[tuple[str, str]] = Counter()
        self._verified = False  # whether what the source holds now was vouched for
        self._failures, self._after = 0, 0.0  # in a row; seconds that the source wants to be left alone
        self._afar = bool(options.url or options.oci)
        self._waited_for = True
        self._stopping, self._asked = Event(), Event()
        self._turn = RLock()  # held while something comes into force, not while the source is asked
        self.orders = BundleOrders(self._turn, self._intake, self._store, live, self._seen_by_order, clock)
        self._thread = Thread(target=self._run, name="bundle-source", daemon=True)

    def begin(self, *, load: bool = True) -> None:
        """Open what the options name, and put in force what can be had at once. Raises OSError that says what is wrong.

        A source afar is asked by `start`, and what was in force comes from the disk; a directory is looked at first.
        Without `load` nobody is kept waiting: everything is done in the background.
        """
        self._waited_for = load
        self._intake.trust = load_trust(self._options.trust)
        try:
            self._origin.check()
        except UnreachableError as error:
            message = f"`bundle`: {error}"
            raise OSError(message) from error
        if self._store is not None:
            heard = self._store.open().contact
            self._fresh = Freshness(self._options.max_age_seconds, self._clock, self._note_contact, heard)
        with self._turn:
            if load and not self._afar:
                self.refresh()
            if load and self._live.latest is None:
                self._restore()
        self._look_at_age()

    def start(self) -> None:
        """Follow the source in the background. Without any bundle yet, its first answer is waited for, but not long."""
        self._intake.retired.start()
        self._thread.start()
        if self._waited_for and self._afar and self._live.latest is None:
            self._asked.wait(_FIRST_SECONDS)

    def stop(self) -> None:
        """End; a bundle that is being read is read to its end, but not activated."""
        self._stopping.set()
        self._origin.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._intake.retired.stop()

    @property
    def offered(self) -> Offered | None:
        """Of a candidate: what came last."""
        return self._intake.offered

    def status(self) -> SourceStatus:
        """How the source fares."""
        hold, waiting = self.orders.held()
        return SourceStatus(
            where=self._origin.where,
            hold=hold,
            waiting=waiting,
            heard=self._fresh.heard,
            contact_age=self._fresh.age,
            too_old=self._fresh.left < 0,
            key_expires=self.chosen.key_expires if self.chosen else None,
            steps=dict(self._steps),
        )

    def refresh(self) -> Activation | None:
        """Ask the source now, in this thread and not beside `start`; None when there is nothing to tell."""
        progress, began = Progress(), time.monotonic()
        found = self._ask(progress)
        with self._turn:
            told = self._told(self._answer(found, progress, began))
        self._look_at_age()
        return told

    # --- one question

    def _ask(self, progress: Progress) -> Brought | UnreachableError | BundleError | None:
        """What the source holds; None when that is what it held before."""
        patience = 0.0 if self._failures else max(0.0, min(_LONGEST_WAIT, self._fresh.left))
        try:
            with progress.step("fetch"):
                return self._origin.fetch(patience)
        except (UnreachableError, BundleError) as error:
            return error

    def _answer(
        self, found: Brought | UnreachableError | BundleError | None, progress: Progress, began: float
    ) -> Activation | None:
        where = self._origin.where
        if isinstance(found, UnreachableError):
            self._failures, self._after = self._failures + 1, found.after or 0.0
            findings = (Finding(file=where, message=str(found)),)
            return self._seen(Activation(result="unreachable", where=where, findings=findings), progress, began)
        if isinstance(found, BundleError):
            self._verified = False
            rejected = Activation(result="rejected", where=where, findings=tuple(found.findings))
            return self._seen(rejected, progress, began)
        brought = found or self._intake.permitted_meanwhile()
        if brought is not None:
            return self._take(brought, progress, began)
        self._failures, self._after = 0, 0.0
        if self._verified:
            self._fresh.contact()
        heard_again = self.last is not None and self.last.result == "unreachable"
        return self._seen(Activation(result="unchanged", where=where) if heard_again else None, progress, began)

    def _take(self, brought: Brought, progress: Progress, began: float, kept: Kept | None = None) -> Activation | None:
        outcome = self._intake.take(brought, progress, self._stopping.is_set, kept)
        if kept is None:
            self._verified = outcome.verified
            if outcome.verified:
                self._fresh.contact()
            self._failures = self._failures + 1 if outcome.again else 0
            self._after = 0.0
            if outcome.again:
                self._origin.forget()
        return self._seen(outcome.activation, progress, began)

    def _restore(self) -> None:
        """Put in force what was last, from the disk, verified anew."""
        if self._store is None or not (active := self._store.state().active):
            return
        began, progress = time.monotonic(), Progress()
        where = f"{self._options.state_directory}/{active}"
        try:
            with progress.step("fetch"):
                kept, archive = self._store.load(active)
        except StoreError as error:
            finding = Finding(file=where, message=str(error))
            self._told(self._seen(Activation(result="rejected", where=where, findings=(finding,)), progress, began))
            return
        activation = self._take(Brought(where, archive=archive), progress, began, kept)
        if (
            activation is not None
            and activation.result == "activated"
            and kept.source == self._origin.where
            and kept.tag
        ):
            self._origin.knows(kept.tag)
            self._verified = True
        # It goes back to nothing: whoever gave leave for it is on record since then.
        self._told(None if activation is None else replace(activation, permit=None))

    # --- reports

    def _seen_by_order(self, activation: Activation, progress: Progress, began: float) -> None:
        self._told(self._seen(activation, progress, began))

    def _seen(self, activation: Activation | None, progress: Progress, began: float) -> Activation | None:
        """Count the steps, and say what is in force afterwards."""
        self._steps.update((step, "passed") for step in progress.passed)
        if progress.failed is not None:
            self._steps[progress.failed, "failed"] += 1
        if activation is None:
            return None
        current = self._live.latest
        return replace(
            activation,
            revision=current.revision if current else "",
            digest=current.digest if current else "",
            step=progress.failed,
            seconds=time.monotonic() - began,
        )

    def _told(self, activation: Activation | None) -> Activation | None:
        if activation is None or activation.says_the_same(self.last):
            return None
        self.last = activation
        if activation.result == "activated" or (activation.result == "unchanged" and activation.sequence is not None):
            self.chosen = activation
        self._on_change(activation)
        return activation

    def _look_at_age(self) -> None:
        changed = self._fresh.look()
        if not changed:
            return
        too_old = changed == "too_old"
        if self._options.when_too_old == "undecided":
            self._live.withhold(too_old=too_old)
        self._on_age(too_old, self._fresh.age)

    def _note_contact(self, now: float) -> None:
        if self._store is None:
            return
        try:
            self._store.update(lambda state: replace(state, contact=now))
        except StoreError as error:
            _log.warning("when the source was heard could not be noted: %s", error)

    # --- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.refresh()
            except Exception:  # noqa: BLE001 - likewise a listener that fails, e.g. for want of disk
                _log.exception("what a new bundle led to failed; its source stays watched")
            self._asked.set()
            left = self._fresh.left
            cap = min(_LONGEST_WAIT, max(_SHORTEST_WAIT, left)) if left >= 0 else _LONGEST_WAIT
            if self._failures:
                self._stopping.wait(min(cap, self._pause()))
            else:
                self._origin.wait(cap)

    def _pause(self) -> float:
        """After failures: soon, then ever more seldom, never in step with other servers."""
        fetch = self._options.fetch
        doublings = float(2 ** min(self._failures - 1, _MAX_DOUBLINGS))
        pause = min(fetch.retry_max_seconds, fetch.retry_seconds * doublings)
        return max(self._after, pause * uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret
