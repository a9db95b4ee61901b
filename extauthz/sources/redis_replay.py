"""Proofs that were used, in a Redis that all replicas share.

Rule 1: `SET key 1 NX EX` is the whole question: it is atomic, and whoever asks first is told so.
Rule 2: nothing is asked twice. Had the first try arrived, the second would call the good sender a thief.
Rule 3: not every Check waits for a store that does not answer: after some failures it is left alone for a moment.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.retry import Retry

from extauthz.model.decision import FirstUse, Question
from extauthz.sources.replay_store import MemoryReplayStore, RedisOptions, ReplayOptions, ReplayStatus, SharedStore

log = logging.getLogger("extauthz.sources.replay")

_FAILURES_IN_A_ROW = 3
_PAUSE_SECONDS = 0.25
_IDLE_SECONDS = 15  # a connection idle for longer is asked for a sign of life before it is used
_SAFE_POLICY = "noeviction"


class RedisReplayStore(SharedStore):
    """Implements `model.ports.ReplayStore`, which always says "ask outside", and answers what is then asked."""

    def __init__(self, options: ReplayOptions, clock: Callable[[], float]) -> None:
        """Opens nothing; `clock` is in seconds since the epoch."""
        self._prefix, self._clock = options.redis.prefix.encode(), clock
        self._pool = _pool(options.redis)
        self._client = redis.Redis(connection_pool=self._pool)
        self._seen = MemoryReplayStore(options.capacity, clock)  # what went through this process
        self._failures = self._in_a_row = self._replayed = 0
        self._paused_until = 0.0

    def first_use(self, key: bytes, expires: int) -> bool | None:  # noqa: ARG002
        """None: only the shared store can say, unless the proof was used here."""
        return self._known_here(key)

    def recall(self, question: Question) -> bool | None:
        """False for a proof that went through this process; nobody else needs to be asked then."""
        return self._known_here(question.key) if isinstance(question, FirstUse) else None

    def ask(self, question: Question, deadline: float) -> bool | None:
        """Whether it is a first use; None when the store does not say. `deadline` is in seconds since the epoch."""
        now = self._clock()
        if not isinstance(question, FirstUse) or now >= deadline:
            return None
        if now >= question.expires:  # its Check waited so long that a use before may be forgotten
            self._replayed += 1
            return False
        first = None if now < self._paused_until else self._set(question, now)
        # Also without an answer: where reads pass unchecked, at least this process sees a proof only once.
        if self._seen.first_use(question.key, question.expires) is False and first is None:
            return False
        self._replayed += first is False
        return first

    def probe(self) -> str:
        """What is wrong with the store, for a line in the log; "" when it is fit."""
        try:
            policy = _text(self._client.info("memory"), "maxmemory_policy")
        except redis.RedisError as error:
            return f"the replay store does not answer: {type(error).__name__}"
        if policy != _SAFE_POLICY:
            return f"the replay store may forget: its maxmemory-policy is `{policy}`, it must be `{_SAFE_POLICY}`"
        return ""

    def status(self) -> ReplayStatus:
        """What became of the questions since the start."""
        here = self._seen.status()
        available = self._clock() >= self._paused_until and self._in_a_row == 0
        return ReplayStatus("redis", here.entries, self._replayed, 0, self._failures, available)

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()

    def _known_here(self, key: bytes) -> bool | None:
        if not self._seen.was_used(key):
            return None
        self._replayed += 1
        return False

    def _set(self, question: FirstUse, now: float) -> bool | None:
        seconds = max(1, question.expires - int(now))
        try:
            answer = self._client.set(self._prefix + question.key.hex().encode(), b"1", nx=True, ex=seconds)
        except redis.RedisError as error:
            self._failed(error, now)
            return None
        if self._in_a_row:
            log.warning("the replay store answers again")
        self._in_a_row = 0
        return answer is not None

    def _failed(self, error: redis.RedisError, now: float) -> None:
        self._failures += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            log.error("the replay store does not answer: %s", type(error).__name__)
        if self._in_a_row >= _FAILURES_IN_A_ROW:
            self._paused_until = now + _PAUSE_SECONDS


class _PasswordFile(CredentialProvider):
    """Reads the password for every connection, so that it can be replaced."""

    def __init__(self, options: RedisOptions) -> None:
        self._username, self._file = options.username, Path(options.password_file)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password; a file that is gone is a store that does not answer."""
        try:
            password = self._file.read_text().strip()
        except OSError as error:
            message = "the password file cannot be read"
            raise redis.AuthenticationError(message) from error
        return (self._username, password) if self._username else (password,)


def _pool(options: RedisOptions) -> redis.ConnectionPool:
    more: dict[str, Any] = {}
    if options.password_file:
        more["credential_provider"] = _PasswordFile(options)
    if options.url.startswith("rediss:") and options.ca_file:
        more["ssl_ca_certs"] = options.ca_file
    return redis.ConnectionPool.from_url(
        options.url,
        max_connections=options.connections,
        socket_timeout=options.timeout_seconds,
        socket_connect_timeout=options.timeout_seconds,
        health_check_interval=_IDLE_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # a connection then needs no handshake but the password
        driver_info=None,
        **more,
    )


def _text(info: object, name: str) -> str:
    value = info.get(name, "") if isinstance(info, dict) else ""
    return value.decode() if isinstance(value, bytes) else str(value)
