"""What operators order of bundles while the server runs: go back, pin, unpin.

Rule 1: an order is on record before it takes effect, and on disk before it decides anything; when the disk fails, it is
        refused. When the journal fails, the record waits and the order does not: a way back may be what helps.
Rule 2: a kept revision is verified like one from afar and must have the digest that was noted; only its sequence is
        forgiven, for that is what the order is about.
Rule 3: orders and what the source brings take turns.
"""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from threading import RLock

from msgspec.structs import replace

from extauthz.bundle import Built, BundleError, unpack
from extauthz.bundle.difference import Difference, difference
from extauthz.sources.bundles.choose import backwards, behind, in_order, named, require_unpinned
from extauthz.sources.bundles.intake import Intake, Offered
from extauthz.sources.bundles.ordered import Judged, Ordered, OrderRefusedError, Outcome, as_refusal
from extauthz.sources.bundles.origin import Brought
from extauthz.sources.bundles.prepared import Prepare, Prepared, made_hold, made_past
from extauthz.sources.bundles.report import Activation
from extauthz.sources.bundles.state import Hold, Kept, OrderKind, State, StoreError, put_back
from extauthz.sources.bundles.steps import Progress
from extauthz.sources.bundles.store import BundleStore
from extauthz.sources.live import Live
from extauthz.sources.operators import Operator, wrong_with

_NO_CANDIDATE = "there is no candidate: name one in `bundle.candidate`"
_NO_STORE = "`bundle.stateDirectory` is not set, so no revision is kept"
Seen = Callable[[Activation, Progress, float], None]


class BundleOrders:
    """Carries orders out, one at a time, on the thread that brings them."""

    def __init__(
        self,
        turn: RLock,
        intake: Intake,
        store: BundleStore | None,
        live: Live,
        seen: Seen,
        clock: Callable[[], float],
    ) -> None:
        self.on_order: Callable[[Ordered], None] = _unheard  # puts on record, before the effect
        self.share: Callable[[Ordered], None] = _unheard  # tells the other workers, after it
        self.candidate: Callable[[], Offered | None] = _nothing
        self.judged: Callable[[], Judged | None] = _nothing  # by the gate
        self._turn, self._intake, self._store, self._live = turn, intake, store, live
        self._seen, self._clock = seen, clock

    # --- looking

    def held(self) -> tuple[Hold | None, str]:
        """What an operator keeps in force, and which revision waits meanwhile."""
        if self._store is None:
            return None, ""
        try:
            state = self._store.state()
            return state.hold, self._revision(state.waiting)
        except StoreError:
            return None, ""

    def kept(self) -> tuple[State, list[Kept]]:
        """The state, and all revisions on disk, the newest first. Raises OrderRefusedError."""
        store = self._opened()
        try:
            state = store.state()
            return state, in_order(store.revisions())
        except StoreError as error:
            raise OrderRefusedError(str(error), "disk") from error

    def key_state(self, kept: Kept) -> str:
        """Whether the word of the key that vouched still counts: trusted, expired, not trusted, or "" without one."""
        if not kept.key:
            return ""
        found = next((key for key in self._intake.trust.keys if key.id == kept.key), None)
        if found is None:
            return "not trusted"
        return "expired" if found.not_after is not None and found.not_after < self._clock() else "trusted"

    # --- ordering

    def rollback(self, wanted: str, steps: int, operator: Operator, *, dry_run: bool = False) -> Outcome:
        """Go back to a kept revision, or so many back. What is not newer than what was left waits from then on."""

        def choose(state: State, kept: list[Kept]) -> Kept:
            require_unpinned(state)
            return backwards(state, kept, wanted, steps)

        return self._order("rollback", self._back_to("rollback", choose), operator, dry_run=dry_run)

    def pin(self, wanted: str, operator: Operator, *, dry_run: bool = False) -> Outcome:
        """Put a kept revision in force and keep it there, whatever the source brings; "" for the one in force."""

        def choose(state: State, kept: list[Kept]) -> Kept:
            found = named(kept, wanted or state.active)
            if state.hold is not None and state.hold.kind == "pin" and state.hold.id == found.id:
                message = f"`{found.revision}` is pinned already, by {state.hold.operator.name}"
                raise OrderRefusedError(message)
            return found

        return self._order("pin", self._back_to("pin", choose), operator, dry_run=dry_run)

    def promote(self, operator: Operator, *, force: bool = False, dry_run: bool = False) -> Outcome:
        """Put the candidate in force, if the gate lets it pass or `force` overrides that."""

        def prepare(store: BundleStore, state: State, _: list[Kept]) -> Prepared:
            offered, judged = self._require_candidate(state, force=force)
            began, progress = time.monotonic(), Progress()
            about, after, archive = self._intake.admit(offered, progress)
            return Prepared(
                after=after,
                archive=archive,
                effect=self._effect("promote", offered.built, about, progress, began),
                write=lambda change: store.install(after, archive, change),
                judged=judged,
            )

        return self._order("promote", prepare, operator, dry_run=dry_run)

    def unpin(self, operator: Operator) -> Outcome:
        """Follow the source again: what waits comes into force, if it passes its steps."""
        with self._turn:
            try:
                store = self._opened()
                _require(operator)
                before, after = behind(*self.kept())
            except OrderRefusedError as error:
                self._refused("unpin", operator, error)
                raise
            ordered = Ordered(kind="unpin", operator=operator, before=before, after=after)
            self.on_order(ordered)
            past = made_past(ordered, before, self._clock())
            self._write(ordered, lambda: store.update(lambda now: put_back(now, before, None, past)))
            note = self._take_waiting(store, after) if after is not before else ""
            self.share(ordered)
        return Outcome(ordered=ordered, note=note)

    def follow(self, ordered: Ordered) -> None:
        """Another worker carried this order out, and the disk has it: so it is here. Raises what keeps it from it."""
        with self._turn:
            store = self._opened()
            self.on_order(replace(ordered, told=True))
            kept, archive = store.load(store.state().active)
            current = self._live.latest
            if current is None or (current.digest, current.revision) != (kept.digest, kept.revision):
                self._recall(ordered.kind, kept, archive, store)()

    # --- how

    def _order(self, kind: OrderKind, prepare: Prepare, operator: Operator, *, dry_run: bool) -> Outcome:
        with self._turn:
            try:
                store = self._opened()
                _require(operator)
                state, kept = self.kept()
                made = prepare(store, state, kept)
            except (OrderRefusedError, BundleError, StoreError) as error:
                refused = as_refusal(error)
                if not dry_run:
                    self._refused(kind, operator, refused)
                raise refused from error
            after, judged = made.after, made.judged
            before = next((each for each in kept if each.id == state.active), None)
            ordered = Ordered(
                kind=kind,
                operator=operator,
                before=before,
                after=after,
                forced=not judged.passed,
                basis=judged.basis,
                overridden=() if judged.passed else judged.reasons,
            )
            if dry_run:
                return Outcome(ordered=ordered, dry_run=True, difference=self._difference(store, before, made.archive))
            self.on_order(ordered)
            now = self._clock()
            hold, past = made_hold(ordered, after, state, now), made_past(ordered, after, now)
            written = self._write(ordered, lambda: made.write(lambda state: put_back(state, after, hold, past)))
            made.effect()
            self.share(ordered)
        return Outcome(ordered=ordered, waiting=self._revision(written.waiting))

    def _back_to(self, kind: OrderKind, choose: Callable[[State, list[Kept]], Kept]) -> Prepare:
        """To a revision that is kept."""

        def prepare(store: BundleStore, state: State, kept: list[Kept]) -> Prepared:
            after, archive = store.load(choose(state, kept).id)
            effect = self._recall(kind, after, archive, store)
            return Prepared(after=after, archive=archive, effect=effect, write=store.update)

        return prepare

    def _recall(self, kind: OrderKind, kept: Kept, archive: bytes, store: BundleStore) -> Callable[[], None]:
        """Everything that can fail is done now; what is returned puts it in force. Raises BundleError."""
        began, progress = time.monotonic(), Progress()
        current = self._live.latest
        if current is not None and (current.digest, current.revision) == (kept.digest, kept.revision):
            return lambda: None  # it stays
        offered = self.candidate()  # another worker may have promoted it
        known = offered.built if offered is not None else None
        about, built = self._intake.recall(kept, archive, f"{store.directory}/{kept.id}", progress, known)

        return self._effect(kind, built, about, progress, began)

    def _effect(
        self, kind: OrderKind, built: Built, about: Activation, progress: Progress, began: float
    ) -> Callable[[], None]:
        def effect() -> None:
            with progress.step("activate"):
                self._intake.put_in_force(built)
            gc.freeze()
            self._seen(replace(about, order=kind), progress, began)

        return effect

    def _take_waiting(self, store: BundleStore, waiting: Kept) -> str:
        """What waits goes through its steps as if the source brought it now; what is to be said about that."""
        began, progress = time.monotonic(), Progress()
        try:
            kept, archive = store.load(waiting.id)
        except StoreError as error:
            return f"`{waiting.revision}` does not come into force: {error}"
        brought = Brought(kept.source, archive=archive, tag=kept.tag)
        activation = self._intake.take(brought, progress, lambda: False, None).activation
        if activation is None:
            return f"`{waiting.revision}` was rejected before"
        self._seen(activation, progress, began)
        if activation.result == "activated":
            return ""
        first = f": {activation.findings[0]}" if activation.findings else ""
        return f"`{waiting.revision}` does not come into force: it is {activation.result}{first}"

    def _write(self, ordered: Ordered, write: Callable[[], State]) -> State:
        try:
            return write()
        except StoreError as error:
            refused = OrderRefusedError(str(error), "disk")
            self.on_order(replace(ordered, why_not=str(refused)))
            raise refused from error

    def _require_candidate(self, state: State, *, force: bool) -> tuple[Offered, Judged]:
        require_unpinned(state)
        offered, judged = self.candidate(), self.judged()
        current = self._live.latest
        if offered is None or judged is None:
            raise OrderRefusedError(_NO_CANDIDATE)
        found = offered.built.snapshot
        if current is not None and (current.digest, current.revision) == (found.digest, found.revision):
            message = f"`{found.revision}` is in force"
            raise OrderRefusedError(message)
        if judged.digest != found.digest:
            message = "workers have different candidates, or another came just now: look again"
            raise OrderRefusedError(message)
        if not judged.passed and not force:
            message = f"the gate does not let `{found.revision}` pass: {'; '.join(judged.reasons)}"
            raise OrderRefusedError(message)
        return offered, judged

    def _difference(self, store: BundleStore, before: Kept | None, archive: bytes) -> Difference | None:
        if before is None:
            return None
        with suppress(StoreError, BundleError):
            _, old = store.load(before.id)
            return difference(unpack(old, before.id).files, unpack(archive, "").files)
        return None

    def _refused(self, kind: OrderKind, operator: Operator, error: OrderRefusedError) -> None:
        if not wrong_with(operator):
            self.on_order(Ordered(kind=kind, operator=operator, why_not=str(error)))

    def _revision(self, kept_id: str) -> str:
        if not kept_id or self._store is None:
            return ""
        return next((kept.revision for kept in self._store.revisions() if kept.id == kept_id), kept_id)

    def _opened(self) -> BundleStore:
        if self._store is None:
            raise OrderRefusedError(_NO_STORE)
        return self._store


def _require(operator: Operator) -> None:
    if wrong := wrong_with(operator):
        raise OrderRefusedError(wrong)


def _nothing() -> None:
    """There is no candidate."""


def _unheard(ordered: Ordered) -> None:
    """Nobody needs to know."""
