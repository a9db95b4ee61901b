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
from typing import Literal

from msgspec.structs import replace

from extauthz.bundle import BundleError, unpack
from extauthz.bundle.difference import Difference, difference
from extauthz.sources.bundles.choose import backwards, behind, in_order, named
from extauthz.sources.bundles.intake import Intake, Offered
from extauthz.sources.bundles.ordered import Judged, Ordered, OrderRefusedError, Outcome
from extauthz.sources.bundles.origin import Brought
from extauthz.sources.bundles.report import Activation
from extauthz.sources.bundles.state import Hold, Kept, OrderKind, Past, State, StoreError, put_back
from extauthz.sources.bundles.steps import Progress
from extauthz.sources.bundles.store import BundleStore
from extauthz.sources.live import Live
from extauthz.sources.operators import Operator, wrong_with

_HOLDS: dict[OrderKind, Literal["rollback", "pin", "promotion"]] = {
    "rollback": "rollback",
    "pin": "pin",
    "promote": "promotion",
}
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
            _require_unpinned(state)
            return backwards(state, kept, wanted, steps)

        return self._order("rollback", choose, operator, dry_run=dry_run)

    def pin(self, wanted: str, operator: Operator, *, dry_run: bool = False) -> Outcome:
        """Put a kept revision in force and keep it there, whatever the source brings; "" for the one in force."""

        def choose(state: State, kept: list[Kept]) -> Kept:
            found = named(kept, wanted or state.active)
            if state.hold is not None and state.hold.kind == "pin" and state.hold.id == found.id:
                message = f"`{found.revision}` is pinned already, by {state.hold.operator.name}"
                raise OrderRefusedError(message)
            return found

        return self._order("pin", choose, operator, dry_run=dry_run)

    def promote(self, operator: Operator, *, force: bool = False, dry_run: bool = False) -> Outcome:
        """Put the candidate in force, if the gate lets it pass or `force` overrides that."""
        with self._turn:
            try:
                store = self._opened()
                _require(operator)
                state, kept = self.kept()
                offered, judged = self._require_candidate(state, force=force)
                began, progress = time.monotonic(), Progress()
                about, after, archive = self._intake.admit(offered, progress)
            except (OrderRefusedError, BundleError, StoreError) as error:
                refused = _as_refusal(error)
                if not dry_run:
                    self._refused("promote", operator, refused)
                raise refused from error
            before = next((each for each in kept if each.id == state.active), None)
            against = () if judged.passed else judged.reasons
            ordered = Ordered(
                kind="promote",
                operator=operator,
                before=before,
                after=after,
                forced=force and not judged.passed,
                basis=judged.basis,
                overridden=against,
            )
            if dry_run:
                return Outcome(ordered=ordered, dry_run=True, difference=self._difference(store, before, archive))
            self.on_order(ordered)
            hold = self._hold("promote", after, operator, state, before)
            past = self._past(ordered, after)
            now = self._write(
                ordered, lambda: store.install(after, archive, lambda now: put_back(now, after, hold, past))
            )
            with progress.step("activate"):
                self._intake.put_in_force(offered.built)
            gc.freeze()
            self._seen(replace(about, order="promote"), progress, began)
            self.share(ordered)
        return Outcome(ordered=ordered, waiting=self._revision(now.waiting))

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
            past = self._past(ordered, before)
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

    def _order(
        self, kind: OrderKind, choose: Callable[[State, list[Kept]], Kept], operator: Operator, *, dry_run: bool
    ) -> Outcome:
        with self._turn:
            try:
                store = self._opened()
                _require(operator)
                state, kept = self.kept()
                after = choose(state, kept)
                before = next((each for each in kept if each.id == state.active), None)
                after, archive = store.load(after.id)
                effect = self._recall(kind, after, archive, store)
            except (OrderRefusedError, BundleError, StoreError) as error:
                refused = _as_refusal(error)
                if not dry_run:
                    self._refused(kind, operator, refused)
                raise refused from error
            ordered = Ordered(kind=kind, operator=operator, before=before, after=after)
            if dry_run:
                return Outcome(ordered=ordered, dry_run=True, difference=self._difference(store, before, archive))
            self.on_order(ordered)
            hold = self._hold(kind, after, operator, state, before)
            past = self._past(ordered, after)
            now = self._write(ordered, lambda: store.update(lambda now: put_back(now, after, hold, past)))
            effect()
            self.share(ordered)
        return Outcome(ordered=ordered, waiting=self._revision(now.waiting))

    def _recall(self, kind: OrderKind, kept: Kept, archive: bytes, store: BundleStore) -> Callable[[], None]:
        """Everything that can fail is done now; what is returned puts it in force. Raises BundleError."""
        began, progress = time.monotonic(), Progress()
        current = self._live.latest
        if current is not None and (current.digest, current.revision) == (kept.digest, kept.revision):
            return lambda: None  # it stays
        offered = self.candidate()  # another worker may have promoted it
        known = offered.built if offered is not None else None
        about, built = self._intake.recall(kept, archive, f"{store.directory}/{kept.id}", progress, known)

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

    def _hold(self, kind: OrderKind, kept: Kept, operator: Operator, state: State, before: Kept | None) -> Hold:
        left = state.hold.left if state.hold is not None and state.hold.kind != "pin" else ()
        if kind != "pin" and before is not None:
            left = (*left, before.digest)
        return Hold(
            kind=_HOLDS[kind],
            id=kept.id,
            revision=kept.revision,
            digest=kept.digest,
            since=self._clock(),
            operator=operator,
            left=left,
        )

    def _past(self, ordered: Ordered, kept: Kept) -> Past:
        return Past(
            at=self._clock(),
            what=ordered.kind,
            id=kept.id,
            revision=kept.revision,
            before=ordered.before.revision if ordered.before else "",
            operator=ordered.operator,
            forced=ordered.forced,
        )

    def _require_candidate(self, state: State, *, force: bool) -> tuple[Offered, Judged]:
        _require_unpinned(state)
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


def _require_unpinned(state: State) -> None:
    hold = state.hold
    if hold is not None and hold.kind == "pin":
        message = f"`{hold.revision}` is pinned by {hold.operator.name}: pin another revision, or unpin"
        raise OrderRefusedError(message)


def _as_refusal(error: Exception) -> OrderRefusedError:
    if isinstance(error, OrderRefusedError):
        return error
    if isinstance(error, BundleError):
        return OrderRefusedError(f"it may not come into force ({error.step}): {error.findings[0]}")
    return OrderRefusedError(str(error), "disk")


def _nothing() -> None:
    """There is no candidate."""


def _unheard(ordered: Ordered) -> None:
    """Nobody needs to know."""
