"""One bundle that was brought → in force and on disk, or the step and the reason why not.

Rule 1: the last good bundle stays in force until a better one is complete: verified, compiled, tested and on disk.
Rule 2: what was rejected for what it is, is not looked at again; what failed for want of disk is.
"""

import gc
import logging
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle import Built, BundleError, Finding, Memory, collector_paused, unpack
from extauthz.bundle.delta import OtherBaseError
from extauthz.bundle.finding import refusal
from extauthz.bundle.verify import Trust
from extauthz.sources.bundles.origin import Brought
from extauthz.sources.bundles.report import Activation
from extauthz.sources.bundles.retired import Retired, parts_of
from extauthz.sources.bundles.state import Kept, State, StoreError, caught_up
from extauthz.sources.bundles.steps import Progress, Rules, Vouched, build, fingerprint, open_package, to_keep
from extauthz.sources.bundles.store import BundleStore, identified
from extauthz.sources.live import Live

_log = logging.getLogger(__name__)


class Outcome(Struct, frozen=True):
    """What became of a bundle."""

    activation: Activation | None  # None when it was rejected before, or we stop
    verified: bool  # whether it was vouched for, or nobody had to
    again: bool = False  # it failed for a reason that may pass


class _Refused(Struct, frozen=True):
    """What was rejected for what it is, under what was permitted then."""

    content: str  # fingerprint
    permitted: frozenset[str]
    verified: bool
    brought: Brought | None  # kept where leave to go back would make a difference


class Offered(Struct, frozen=True):
    """A candidate as it is compared: what `ctl promote` puts in force."""

    brought: Brought
    built: Built


class Intake:
    """Takes bundles through their steps, one at a time."""

    def __init__(
        self,
        live: Live,
        store: BundleStore | None,
        clock: Callable[[], float],
        max_data_bytes: int,
        *,
        run_tests: bool,
        retain: bool = False,
    ) -> None:
        """`retain`: keep what came last in memory, to be put in force elsewhere."""
        self.trust = Trust()
        self.offered: Offered | None = None
        self._retain = retain
        self._live, self._store, self._clock, self._run_tests = live, store, clock, run_tests
        self._max_data_bytes = max_data_bytes
        self._refused: _Refused | None = None
        self._memory = Memory()
        self._recent: dict[str, Built] = {}  # by digest: what is in force, and what was before or waits
        self.retired = Retired()

    def take(self, brought: Brought, progress: Progress, stopped: Callable[[], bool], kept: Kept | None) -> Outcome:
        """Activate it if it may be. `kept` is what the disk says of a bundle that comes from there."""
        content = fingerprint(brought)
        if kept is None and (refused := self._refused_before(content)) is not None:
            return Outcome(None, refused.verified)
        # Compiled bundles hold no cycles (tests/unit/sources), so nothing that is read here is for the collector, which
        # would hold up every decision for 0.3 s to walk 10,000 policies. What was garbage before goes first.
        _collect()
        if brought.package is not None:
            self.retired.hold([brought.package.files], least=1)
        with collector_paused():
            outcome = self._take(brought, progress, stopped, kept)
            activation = outcome.activation
            gc.freeze()  # what was not activated is remembered all the same, to be compared or used again
        if kept is None:
            self._refused = None
            if activation is not None and activation.result == "rejected" and not outcome.again:
                waiting = brought if progress.failed == "verify" else None
                self._refused = _Refused(content, self._permitted(), outcome.verified, waiting)
        return outcome

    def _build(self, vouched: Vouched, progress: Progress, *, with_tests: bool) -> Built:
        built = build(vouched, progress, self._memory, self._max_data_bytes, with_tests=with_tests)
        self.retired.hold(parts_of(built))
        return built

    def _refused_before(self, content: str) -> _Refused | None:
        refused = self._refused
        if refused is None or (refused.content, refused.permitted) != (content, self._permitted()):
            return None
        return refused

    def permitted_meanwhile(self) -> Brought | None:
        """The bundle that was rejected last, when leave was given for something since."""
        refused = self._refused
        if refused is None or refused.brought is None or refused.permitted == self._permitted():
            return None
        return refused.brought

    def _take(self, brought: Brought, progress: Progress, stopped: Callable[[], bool], kept: Kept | None) -> Outcome:
        about = Activation(result="activated", where=brought.where)
        verified = False
        try:
            vouched = open_package(brought, self._rules, self._clock(), progress, self._files_kept)
            verified = True
            about = self.about(about, vouched)
            if self._is_in_force(vouched):
                self._keep(vouched, None, brought, kept)
                return Outcome(replace(about, result="unchanged"), verified)
            built = self._build(vouched, progress, with_tests=self._run_tests and not self._is_held(kept))
            if stopped():
                return Outcome(None, verified)
            with progress.step("activate"):
                if not self._keep(vouched, built, brought, kept):
                    self._remember(built)
                    return Outcome(replace(about, result="held", findings=tuple(built.warnings)), verified)
                self.put_in_force(built, brought)
        except OtherBaseError as error:
            _log.info("%s", error.findings[0])
            return Outcome(None, verified, again=True)  # the whole is asked for next
        except BundleError as error:
            return Outcome(replace(about, result="rejected", findings=tuple(error.findings)), verified)
        except StoreError as error:
            finding = Finding(file=brought.where, message=str(error))
            return Outcome(replace(about, result="rejected", findings=(finding,)), verified, again=True)
        except Exception as error:  # noqa: BLE001 - a bug met in one bundle must not end the watch for the next
            _log.exception("a bundle could not be read because of a bug")
            finding = Finding(file=brought.where, message=f"internal error {type(error).__name__}: please report it")
            return Outcome(replace(about, result="rejected", findings=(finding,)), verified)
        return Outcome(replace(about, findings=tuple(built.warnings)), verified)

    def recall(
        self, kept: Kept, archive: bytes, where: str, progress: Progress, known: Built | None = None
    ) -> tuple[Activation, Built]:
        """A kept revision, verified anew; compiled unless `known`; not in force yet. Raises BundleError, StoreError.

        Its tests passed when it came, and are not asked again: who goes back wants that revision as it was.
        """
        rules = self._rules()
        rules = replace(rules, permitted={*rules.permitted, kept.digest})
        vouched = open_package(Brought(where, archive=archive), lambda: rules, self._clock(), progress)
        if vouched.digest != kept.digest:
            message = f"its files are not those that were in force as `{kept.revision}`: their digest is another"
            raise refusal(where, message, "verify")
        about = self.about(Activation(result="activated", where=where), vouched)
        known = known or self._recent.get(kept.digest)
        if known is not None and (known.snapshot.digest, known.snapshot.revision) == (kept.digest, kept.revision):
            return about, known
        _collect()  # as in `take`
        with collector_paused():
            built = self._build(vouched, progress, with_tests=False)
            gc.freeze()
        return replace(about, findings=tuple(built.warnings)), built

    def admit(self, offered: Offered, progress: Progress) -> tuple[Activation, Kept, bytes]:
        """A candidate, verified by the rules for what may be in force. Raises BundleError."""
        brought, built = offered.brought, offered.built
        vouched = open_package(brought, self._rules, self._clock(), progress)
        if vouched.digest != built.snapshot.digest:
            raise refusal(brought.where, "its files are not those that were compared", "verify")
        about = self.about(Activation(result="activated", where=brought.where), vouched)
        kept, archive = self._kept(vouched, built.name, built.snapshot.revision, brought)
        return about, identified(kept, archive), archive

    def put_in_force(self, built: Built, brought: Brought | None = None) -> None:
        """One assignment; what was in force until now stays at hand for a rollback."""
        self._remember(built)
        if self._retain and brought is not None:
            self.offered = Offered(brought, built)
        self._live.activate(built.snapshot, built.issuers)

    def _remember(self, built: Built) -> None:
        """What waits, or is about to come into force, and what is in force: two in all."""
        if self._store is None:
            return  # there is no way back
        current = self._live.latest
        recent = {digest: known for digest, known in self._recent.items() if current and digest == current.digest}
        self._recent = {**recent, built.snapshot.digest: replace(built, tests=())}

    def _is_held(self, kept: Kept | None) -> bool:
        """By an order, which outweighs its tests after a restart as well."""
        hold = self._state().hold
        return kept is not None and hold is not None and hold.id == kept.id

    def _files_kept(self) -> Mapping[str, bytes]:
        """Of the bundle that came into force last, from the disk. Raises StoreError."""
        active = self._state().active
        if self._store is None or not active:
            return {}
        kept, archive = self._store.load(active)
        return unpack(archive, kept.revision).files

    def _rules(self) -> Rules:
        state = self._state()
        return Rules(self.trust, state.marks, state.permitted)

    def about(self, about: Activation, vouched: Vouched) -> Activation:
        """With what its manifest says, and by whose leave it goes back."""
        manifest = vouched.manifest
        if manifest is None:
            return about
        state = self._state()
        mark = state.marks.get(manifest.name)
        older = mark is not None and manifest.sequence < mark.sequence
        return replace(
            about,
            name=manifest.name,
            sequence=manifest.sequence,
            key=vouched.key.id if vouched.key else "",
            key_expires=vouched.key.not_after if vouched.key else None,
            permit=state.permits.get(vouched.digest) if older else None,
        )

    def _is_in_force(self, vouched: Vouched) -> bool:
        """The same files under the same name; a token cache that is warm stays so."""
        current = self._live.latest
        if current is None or current.digest != vouched.digest:
            return False
        return vouched.manifest is None or vouched.manifest.revision == current.revision

    def _keep(self, vouched: Vouched, built: Built | None, brought: Brought, kept: Kept | None) -> bool:
        """Note what is in force from now on; False when it has to wait. Raises StoreError, BundleError."""
        snapshot = built.snapshot if built is not None else self._live.latest
        if self._store is None or kept is not None or snapshot is None:
            return True
        if built is None and vouched.manifest is None:
            if self._state().waiting:
                self._store.update(lambda state: caught_up(state, vouched.digest))
            return True  # a directory that says what it said before
        about, archive = self._kept(vouched, built.name if built is not None else "", snapshot.revision, brought)
        return self._store.activate(about, archive) is not None

    def _kept(self, vouched: Vouched, name: str, revision: str, brought: Brought) -> tuple[Kept, bytes]:
        """What the disk is to know of it, and the archive. Raises BundleError."""
        manifest, archive = to_keep(vouched, name, revision)
        about = Kept(
            name=manifest.name,
            revision=revision,
            sequence=manifest.sequence,
            digest=vouched.digest,
            key=vouched.key.id if vouched.key else "",
            source=brought.where,
            tag=brought.tag,
            activated=self._clock(),
        )
        return about, archive

    def _state(self) -> State:
        return self._store.state() if self._store is not None else State()

    def _permitted(self) -> frozenset[str]:
        try:
            return self._state().permitted
        except StoreError:
            return frozenset()


def _collect() -> None:
    """Free what is garbage, the oldest only where there is any.

    A collection of the oldest frees what Python keeps for tuples to come, too: 1 ms in one go after 10,000 policies
    were read. Since the last bundle was set aside (`gc.freeze`) hardly anything became that old.
    """
    gc.collect(2 if gc.get_objects(generation=2) else 1)
