"""A directory as a source of bundles: read when it rests, looked at when the kernel or the clock says so."""

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Final

from watchfiles import Change, watch

from extauthz.bundle import BundleError
from extauthz.sources.bundles.origin import Brought
from extauthz.sources.directory import directories_of, find_root, list_files, load_package

# Editors and copies write a file in several steps; a directory that rests this long is taken to be complete.
_SETTLE_SECONDS: Final = 0.1
_SETTLE_ATTEMPTS: Final = 20
# Looking at the directory may take at most this part of one core.
_LOOK_SHARE: Final = 0.05

_log = logging.getLogger(__name__)


class WatchedDirectory:
    """Implements `Origin`."""

    def __init__(self, directory: str, poll_seconds: float) -> None:
        self.where = directory
        self._directory = Path(directory).absolute()
        self._poll_seconds = self._pause = poll_seconds
        self._seen: bytes = b""  # state of the directory when it was last brought
        self._wanted: set[Path] = set()  # what is worth watching
        self._watched: set[Path] = set()
        self._changes: Iterator[object] = iter(())
        self._stopping = Event()

    def check(self) -> None:
        """There are none: a directory may come later."""

    def fetch(self, patience: float) -> Brought | None:  # noqa: ARG002 - a directory answers at once
        """The files once they rest. Raises BundleError."""
        state = self._settled()
        if state == self._seen:
            return None
        self._seen = state
        try:
            return Brought(self.where, load_package(self._directory))
        except BundleError:
            self._seen = b""  # which may pass without a change in the directory
            raise

    def knows(self, tag: str) -> None:
        """Nothing to know: a directory has no name for its state that outlives the process."""

    def forget(self) -> None:
        """Read it again at the next look."""
        self._seen = b""

    def wait(self, seconds: float) -> None:
        """Until the kernel reports a change, or for a pause: network file systems report none."""
        try:
            if self._wanted != self._watched:
                self._watched = set(self._wanted)
                self._changes = self._watch(self._watched)
            next(self._changes)
        except (OSError, RuntimeError, StopIteration):
            # Gone meanwhile, or the kernel has no watch left: look by time alone, and try again.
            self._watched = set()
            self._stopping.wait(min(self._pause, seconds))

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()

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
        self._wanted = {self._directory.parent}
        try:
            root = find_root(self._directory)
            files = list_files(root)
            self._wanted |= {self._directory, *directories_of(root, files)}
            described = repr((str(root), files))
        except (BundleError, OSError) as error:
            described = f"{type(error).__name__} {error}"
        self._pause = max(self._poll_seconds, (time.monotonic() - began) / _LOOK_SHARE)
        return hashlib.sha256(described.encode("utf-8", "surrogateescape")).digest()

    def _watch(self, directories: set[Path]) -> Iterator[object]:
        """Yields when the kernel reports a change, and after every pause."""
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
