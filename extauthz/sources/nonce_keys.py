"""The keys of DPoP nonces, from a file that all replicas have (RFC 9449 section 8).

Rule 1: the file is read again when it changes; one that cannot be used leaves the keys in force, logged once.
"""

import logging
from collections.abc import Callable
from os import urandom
from pathlib import Path
from threading import Event, Thread

from msgspec import Struct

from extauthz.identity import NonceKeys
from extauthz.sources.replay_store import ReplayOptions

log = logging.getLogger("extauthz.sources.nonces")

# 32 random bytes have 43 characters in base64.
MIN_CHARACTERS = 32
_MAX_KEYS = 4
_POLL_SECONDS = 1.0
_Stamp = tuple[int, int, int] | None


class DpopOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What servers share about DPoP; how proofs are checked is in the bundle."""

    # A line a key, e.g. of `openssl rand -base64 32`: the first makes nonces, the others are still accepted.
    nonce_key_file: str = ""  # "": a random key, which no other replica knows and which ends with the process
    replay: ReplayOptions = ReplayOptions()


class NonceKeyError(Exception):
    """The file cannot be used; the message says why, without its content."""


def load_nonce_keys(options: DpopOptions, made: bytes = b"") -> NonceKeys:
    """Read the file, or take the key that was made, or make one. Raises NonceKeyError."""
    if not options.nonce_key_file:
        return NonceKeys((made or urandom(32),))
    try:
        lines = Path(options.nonce_key_file).read_bytes().split()
    except OSError as error:
        message = f"`dpop.nonceKeyFile`: the file cannot be read: {(error.strerror or str(error)).lower()}"
        raise NonceKeyError(message) from error
    if not lines or len(lines) > _MAX_KEYS or any(len(line) < MIN_CHARACTERS for line in lines):
        message = f"`dpop.nonceKeyFile`: it must hold 1 to {_MAX_KEYS} lines of {MIN_CHARACTERS} characters or more"
        raise NonceKeyError(message)
    return NonceKeys(tuple(lines))


class NonceKeySource:
    """Looks at the file beside the path, and tells of new keys from its own thread."""

    def __init__(
        self,
        options: DpopOptions,
        on_change: Callable[[NonceKeys], None],
        poll_seconds: float = _POLL_SECONDS,
        made: bytes = b"",
    ) -> None:
        """Reads the file: `first` is what it holds now; `made` is the key where there is none. Raises NonceKeyError."""
        self._options, self._on_change, self._poll = options, on_change, poll_seconds
        self._stamp = _stamp(options.nonce_key_file)
        self.first = load_nonce_keys(options, made)
        self._keys = self.first
        self._problem = ""
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="nonce-keys", daemon=True)

    def start(self) -> None:
        """Watch the file, if there is one."""
        if self._options.nonce_key_file:
            self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def refresh(self) -> None:
        """Look at the file now, in this thread and not beside `start`."""
        stamp = _stamp(self._options.nonce_key_file)
        if stamp == self._stamp and not self._problem:
            return
        try:
            keys = load_nonce_keys(self._options)
        except NonceKeyError as error:
            self._complain(str(error))
            return
        if stamp != _stamp(self._options.nonce_key_file):
            return  # it is being written: the next look reads it whole
        self._stamp, self._problem = stamp, ""
        if keys != self._keys:
            self._keys = keys
            self._on_change(keys)
            log.info("the keys of DPoP nonces were replaced", extra={"keys": len(keys.keys)})

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.error("the new keys of DPoP nonces are not used, the old stay in force: %s", problem)
        self._problem = problem

    def _run(self) -> None:
        while not self._stopping.wait(self._poll):
            self.refresh()


def _stamp(name: str) -> _Stamp:
    """Changes with the content, and with the target of a symlink that Kubernetes swaps; None when there is no file."""
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
