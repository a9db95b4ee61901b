"""Proofs that were used, in the memory of this process (RFC 9449 section 11.1).

Rule 1: of two threads with the same proof exactly one is the first, without a lock: `dict.setdefault` is one step under
the interpreter's lock, and what it returns tells who came first.
Rule 2: nothing that could still be used is ever forgotten; when there is no room, nothing more is let in (DP-18).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from extauthz.model.decision import Question

# Entries that end in the same stretch are dropped together, at most this long after they could be used: with proofs
# of 60 s there are three stretches at a time, with the longest nonces 31.
_STRETCH = 60  # seconds
# Dropping 50,000 entries at once takes 8 ms (measured); a few at a time, as fast as entries come, nobody notices.
_DROPPED_AT_ONCE = 4


class RedisOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A Redis that all replicas share. Its `maxmemory-policy` must be `noeviction`."""

    # `redis://`, `rediss://` or `unix:///path`, without a password.
    url: Annotated[str, Meta(pattern=r"^((redis|rediss)://[^@\s]+|unix:///[^@\s]+)$")] = "redis://127.0.0.1:6379/0"
    username: str = ""  # "" for the default user
    password_file: str = ""  # read for every new connection; never in the URL
    ca_file: str = ""  # PEM, for rediss; "" for the public authorities
    prefix: Annotated[str, Meta(max_length=64)] = "extauthz:proof:"  # of keys
    timeout_seconds: Annotated[float, Meta(gt=0, le=5)] = 0.015  # to connect, and to answer; Envoy waits 25 ms in all
    connections: Annotated[int, Meta(ge=1, le=256)] = 16  # at once


class ReplayOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where used DPoP proofs are remembered. In memory is enough for one server, with all its workers."""

    store: Literal["memory", "redis"] = "memory"  # memory: of this server and its workers; redis: of all that share it
    capacity: Annotated[int, Meta(ge=1000, le=50_000_000)] = 500_000  # entries, 120 bytes each
    redis: RedisOptions = RedisOptions()


class ReplayStatus(Struct, frozen=True):
    """For metrics and status."""

    store: str  # memory or redis
    entries: int  # in the memory of this process
    replayed: int  # proofs that were used before
    refused_full: int  # first uses that were not let in because there was no room
    failures: int  # questions that the shared store did not answer
    available: bool


class SharedStore(ABC):
    """A store that others share, so that its answers come from outside; see `model.ports.ReplayStore`."""

    @abstractmethod
    def first_use(self, key: bytes, expires: int) -> bool | None:
        """False for what went through this process, else None: it must be asked."""

    @abstractmethod
    def recall(self, question: Question) -> bool | None:
        """The same, of a question."""

    @abstractmethod
    def ask(self, question: Question, deadline: float) -> bool | None:
        """Whether it is a first use; None when nobody says. `deadline` is in seconds since the epoch."""

    @abstractmethod
    def probe(self) -> str:
        """What is wrong with the store, for a line in the log; "" when it is fit."""

    @abstractmethod
    def status(self) -> ReplayStatus:
        """What became of the questions since the start."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open."""


class MemoryReplayStore:
    """Implements `model.ports.ReplayStore`. Threads share it."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        """At most `capacity` entries; `clock` is in seconds since the epoch."""
        self._capacity, self._clock = capacity, clock
        self._stretches: dict[int, dict[bytes, object]] = {}  # by when their entries end
        self._ended: list[dict[bytes, object]] = []
        self._replayed = self._refused = 0

    def __len__(self) -> int:
        """How many entries are kept."""
        return sum(len(stretch) for stretch in (*self._stretches.values(), *self._ended))

    def first_use(self, key: bytes, expires: int) -> bool | None:
        """Whether `key` was never seen; it is then remembered until `expires`. None: there is no room for it.

        What ended while its Check waited may have been used and forgotten, so it counts as used.
        """
        self._drop_ended()
        if self.was_used(key) or self._clock() >= expires:
            self._replayed += 1
            return False
        if len(self) >= self._capacity:
            self._refused += 1
            return None
        mine = object()
        # A copy of a proof ends when the proof does, so that both meet in one stretch.
        if self._stretches.setdefault(expires // _STRETCH, {}).setdefault(key, mine) is mine:
            return True
        self._replayed += 1
        return False

    def was_used(self, key: bytes) -> bool:
        """Whether `key` is remembered."""
        return any(key in stretch for stretch in tuple(self._stretches.values()))

    def status(self) -> ReplayStatus:
        """What is kept, and what was refused since the start."""
        return ReplayStatus("memory", len(self), self._replayed, self._refused, 0, available=True)

    def close(self) -> None:
        """Nothing is open; what was remembered ends with the process."""

    def _drop_ended(self) -> None:
        current = int(self._clock()) // _STRETCH
        for stretch in [stretch for stretch in tuple(self._stretches) if stretch < current]:
            ended = self._stretches.pop(stretch, None)
            if ended:
                self._ended.append(ended)
        for _ in range(_DROPPED_AT_ONCE):
            try:
                self._ended[0].popitem()
            except KeyError:
                self._forget_empty()
            except IndexError:
                return

    def _forget_empty(self) -> None:
        """Take the first off the list if it is still the empty one; another thread may have been here."""
        first = self._ended[:1]
        if first and not first[0]:
            try:
                self._ended.remove(first[0])
            except ValueError:
                return
