"""The bundle in a directory → the snapshot in force, at start and whenever the directory changes.

Rule 1: the last good bundle stays in force until a better one is complete: read, compiled, its tests passed.
Rule 2: everything happens in one background thread; what serves sees one assignment.
Rule 3: one report a state of the directory, however often it is looked at.
"""

import gc
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from watchfiles import Change, watch

from extauthz.bundle import Built, BundleError, Finding, bundle_digest, collector_paused, read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from extauthz.sources.directory import directories_of, find_root, list_files, load_directory
from extauthz.sources.live import Live

__all__ = ["Activation", "BundleOptions", "BundleSource"]

# Editors and copies write a file in several steps; a directory that rests this long is taken to be complete.
_SETTLE_SECONDS: Final = 0.1
_SETTLE_ATTEMPTS: Final = 20
# Looking at the directory may take at most this part of one core.
_LOOK_SHARE: Final = 0.05

_log = logging.getLogger(__name__)


class BundleOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where the bundle is and how it is watched."""

    directory: str = "bundle"  # a link to the directory, or the mount of a ConfigMap, is followed
    poll_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0  # how often to look when the kernel reports no change
    run_tests: bool = True  # false: activate without running the bundle's PolicyTests


class Activation(Struct, frozen=True, kw_only=True):
    """How one attempt to put a bundle in force went."""

    result: Literal["activated", "rejected", "unchanged"]
    revision: str = ""  # of the bundle in force afterwards; "" when there is none
    digest: str = ""  # likewise
    findings: tuple[Finding, ...] = ()  # why it was rejected, or the warnings of what was activated
    seconds: float = 0.0  # from the first look at the files


class BundleSource:
    """Watches one directory; every attempt is told to `on_change`, from the background thread."""

    def __init__(
        self,
        options: BundleOptions,
        live: Live,
        on_change: Callable[[Activation], None],
    ) -> None:
        self.last: Activation | None = None
        self._options = options
        self._directory = Path(options.directory).absolute()
        self._watched: set[Path] = set()
        self._pause = options.poll_seconds
        self._live = live
        self._on_change = on_change
        self._seen: bytes = b""  # state of the directory at the last attempt
        self._rejected = ""  # digest of the last bundle that was rejected
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="bundle-source", daemon=True)

    def start(self) -> None:
        """Load and watch in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch; a bundle that is being read is read to its end, but not activated."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def refresh(self) -> Activation | None:
        """Look at the directory now, in this thread and not beside `start`; None when there is nothing to tell."""
        state = self._settled()
        if state == self._seen:
            return None
        self._seen = state
        # Compiled bundles hold no cycles (tests/unit/sources), so nothing that is read here is for the collector, which
        # would hold up every decision for 0.3 s to walk 10,000 policies. What was garbage before goes first.
        gc.collect()
        with collector_paused():
            activation = self._attempt(time.monotonic())
            if activation is not None and activation.result == "activated":
                gc.freeze()
        if activation is not None:
            self.last = activation
            self._on_change(activation)
        return activation

    def _attempt(self, began: float) -> Activation | None:
        """Read and activate; None when this content was rejected before."""
        digest = ""
        try:
            files = load_directory(self._directory)
            digest = bundle_digest(files)
            current = self._live.current
            if current is not None and current.digest == digest:
                self._rejected = ""
                return self._report("unchanged", (), began)
            if digest == self._rejected:
                return None
            built = self._build(files)
        except BundleError as error:
            return self._reject(digest, error.findings, began)
        except Exception as error:  # noqa: BLE001 - a bug met in one bundle must not end the watch for the next
            _log.exception("a bundle could not be read because of a bug")
            what = f"internal error {type(error).__name__}: please report it"
            return self._reject(digest, [Finding(file=self._options.directory, message=what)], began)
        if self._stopping.is_set():
            return None
        self._rejected = ""
        self._live.activate(built.snapshot, built.issuers)
        return self._report("activated", tuple(built.warnings), began)

    def _build(self, files: Mapping[str, bytes]) -> Built:
        built = read_bundle(files, NoTokenCache())
        if self._options.run_tests:
            failures = [
                Finding(
                    file=result.file,
                    line=result.line,
                    message=f"case `{result.case}` of `{result.test}` fails: {', '.join(result.differences)}",
                    code="failed-test",
                )
                for result in run_tests(built)
                if not result.passed
            ]
            if failures:
                raise BundleError(failures)
        return built

    def _reject(self, digest: str, findings: list[Finding], began: float) -> Activation | None:
        if not digest:
            self._seen = b""  # it could not be read, which may pass without a change in the directory
        last = self.last
        repeated = last is not None and last.result == "rejected" and last.findings == tuple(findings)
        self._rejected = digest
        return None if repeated else self._report("rejected", tuple(findings), began)

    def _report(
        self, result: Literal["activated", "rejected", "unchanged"], findings: tuple[Finding, ...], began: float
    ) -> Activation:
        current = self._live.current
        return Activation(
            result=result,
            revision=current.revision if current else "",
            digest=current.digest if current else "",
            findings=findings,
            seconds=time.monotonic() - began,
        )

    def _settled(self) -> bytes:
        """The state of the directory once it rests; the last one seen if it does not come to rest."""
        state = self._look()
        if state == self._seen or not self._seen:
            return state
        for _ in range(_SETTLE_ATTEMPTS):
            self._stopping.wait(_SETTLE_SECONDS)
            before, state = state, self._look()
            if state == before:
                break
        return state

    def _look(self) -> bytes:
        """A digest of what is in the directory, without reading the files; of the complaint when it cannot be seen.

        Notes by the way what to watch: the directories, and where the name of the first lies, for git-sync replaces
        the link and not what it names.
        """
        began = time.monotonic()
        self._watched = {self._directory.parent}
        try:
            root = find_root(self._directory)
            files = list_files(root)
            self._watched |= {self._directory, *directories_of(root, files)}
            described = repr((str(root), files))
        except (BundleError, OSError) as error:
            described = f"{type(error).__name__} {error}"
        self._pause = max(self._options.poll_seconds, (time.monotonic() - began) / _LOOK_SHARE)
        return hashlib.sha256(described.encode("utf-8", "surrogateescape")).digest()

    def _run(self) -> None:
        watched: set[Path] = set()
        changes: Iterator[object] = iter(())
        while not self._stopping.is_set():
            try:
                self.refresh()
            except Exception:  # noqa: BLE001 - likewise a listener that fails, e.g. for want of disk
                _log.exception("what a new bundle led to failed; the directory stays watched")
            try:
                if self._watched != watched:
                    watched = set(self._watched)
                    changes = self._watch(watched)
                next(changes)
            except (OSError, RuntimeError, StopIteration):
                # Gone meanwhile, or the kernel has no watch left: look by time alone, and try again.
                watched = set()
                self._stopping.wait(self._pause)

    def _watch(self, directories: set[Path]) -> Iterator[object]:
        """Yields when the kernel reports a change, and after every pause: network file systems report none."""
        return watch(
            *sorted(path for path in directories if path.is_dir()),
            watch_filter=self._concerns_us,
            recursive=False,
            debounce=200,
            step=100,
            rust_timeout=int(self._pause * 1000),
            yield_on_timeout=True,
            stop_event=self._stopping,
            raise_interrupt=False,
        )

    def _concerns_us(self, _change: Change, path: str) -> bool:
        """Of the place where the directory's name lies only that name matters; it may be `/tmp`."""
        return path == str(self._directory) or Path(path).parent != self._directory.parent
