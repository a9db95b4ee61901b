"""Asks issuers about tokens (RFC 7662), in the thread of the Check that wants to know.

Rule 1: an answer is kept no longer than its document says and the token lives (INT-05), and never under its token.
Rule 2: however many ask about one token at once, the issuer is asked once.
Rule 3: an issuer that does not answer is left alone for a while: nobody waits for it, everybody gets None.
"""

import ssl
from collections.abc import Callable, Sequence
from hashlib import sha256
from threading import Event, Lock
from typing import Annotated, Literal

import httpcore
from msgspec import Meta, Struct

from extauthz.identity import Glance, Introspection, Issuer
from extauthz.model.decision import IntrospectToken, Question
from extauthz.sources.answer_cache import AnswerCache
from extauthz.sources.breaker import Breaker, BreakerOptions
from extauthz.sources.deadlines import DeadlineBackend
from extauthz.sources.introspection_fetch import AskError, Said, fetch_answer, open_pool
from extauthz.sources.issuer_clients import Client, ClientOptions, CredentialError

_TOO_LATE = 0.002  # seconds: with less than this nothing comes back
# A timeout says something about the issuer only when it had a fair chance.
_FAIR_SECONDS = 0.1

Result = Literal["active", "inactive", "unavailable", "refused", "garbled", "downgraded", "left_alone", "unconfigured"]


class IntrospectionOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How issuers are asked about tokens. Which are asked, and how long answers count, is in the bundle."""

    clients: dict[str, ClientOptions] = {}  # by the name of the Issuer document
    cache_entries: Annotated[int, Meta(ge=100, le=1_000_000)] = 20_000  # answers about active tokens, about 1 KiB each
    breaker: BreakerOptions = BreakerOptions()
    ca_file: str = ""  # PEM; "" for the public authorities
    allow_http_loopback: bool = False  # for demos and tests


class Introspected(Struct, frozen=True):
    """What became of one question, for log and metrics."""

    issuer: str  # metadata.name
    result: Result
    seconds: float
    detail: str = ""  # of a failure, once until something else happens


class IntrospectionStatus(Struct, frozen=True):
    """One issuer that is asked, for the status page."""

    issuer: str
    left_alone: bool  # the breaker is open
    error: str  # of the last question, "" when it was answered


class _Flight:
    """One question under way and who waits for it."""

    __slots__ = ("answer", "landed")

    def __init__(self) -> None:
        self.landed = Event()
        self.answer: bytes | None = None


class _Asked(Struct):
    """An issuer and how it fares."""

    issuer: Issuer
    settings: Introspection
    breaker: Breaker
    error: str = ""


class IntrospectionSource:
    """Implements `questions.Oracle` for IntrospectToken. Threads share it."""

    def __init__(
        self,
        options: IntrospectionOptions,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        observer: Callable[[Introspected], None] = lambda _: None,
    ) -> None:
        """`clock` is in seconds since the epoch; `ticks` counts seconds and must not jump."""
        self._options, self._clock, self._ticks, self._observer = options, clock, ticks, observer
        self._clients = {name: Client(client) for name, client in options.clients.items()}
        self._active = AnswerCache(options.cache_entries, clock)
        self._inactive = AnswerCache(
            max(100, options.cache_entries // 4), clock
        )  # forged tokens displace none of those
        self._asked: dict[str, _Asked] = {}
        self._flights: dict[bytes, _Flight] = {}
        self._lock = Lock()
        self._pool: httpcore.ConnectionPool | None = None

    def start(self) -> None:
        """Read what shows who we are. Raises OSError for the CA file, CredentialError for a client's file."""
        ca_file = self._options.ca_file
        tls = ssl.create_default_context(cafile=ca_file) if ca_file else httpcore.default_ssl_context()
        for name, client in self._clients.items():
            try:
                client.load()
            except CredentialError as error:
                message = f"`introspection.clients.{name}`: the file {error}"
                raise CredentialError(message) from error
        self._wires = DeadlineBackend()
        self._pool = open_pool(tls, self._wires)

    def stop(self) -> None:
        """End: questions under way fail, later ones are not asked."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._wires.cut()
            pool.close()

    def set_issuers(self, issuers: Sequence[Issuer]) -> tuple[str, ...]:
        """Ask these from now on. Returns the names of those to which the settings give no client."""
        before = self._asked
        self._asked = {
            issuer.name: before[issuer.name]
            if issuer.name in before and before[issuer.name].issuer == issuer
            else _Asked(issuer, issuer.introspection, Breaker(self._options.breaker, self._ticks))
            for issuer in issuers
            if issuer.introspection is not None
        }
        return tuple(name for name in self._asked if name not in self._clients)

    def recall(self, question: Question) -> bytes | None:
        """The answer if it is in memory."""
        asked = self._find(question)
        if asked is None or not isinstance(question, IntrospectToken):
            return None
        key = _key(asked.issuer, question.token)
        return self._active.get(key) or self._inactive.get(key)

    def ask(self, question: Question, deadline: float) -> bytes | None:
        """The issuer's answer; None when there is none by `deadline`, in seconds since the epoch."""
        asked = self._find(question)
        if asked is None or not isinstance(question, IntrospectToken):
            return None
        key = _key(asked.issuer, question.token)
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if not mine:
            flight.landed.wait(max(0.0, deadline - self._clock()))
            return flight.answer
        try:
            # who was asked about a moment ago is in memory by now
            flight.answer = self.recall(question) or self._ask(asked, key, question.token, deadline)
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
        return flight.answer

    def status(self) -> tuple[IntrospectionStatus, ...]:
        """Every issuer that is asked."""
        return tuple(IntrospectionStatus(name, a.breaker.is_open, a.error) for name, a in self._asked.items())

    def _find(self, question: Question) -> _Asked | None:
        return self._asked.get(question.issuer) if isinstance(question, IntrospectToken) else None

    def _ask(self, asked: _Asked, key: bytes, token: str, deadline: float) -> bytes | None:
        name, client = asked.issuer.name, self._clients.get(asked.issuer.name)
        left = deadline - self._clock()
        if self._pool is None or left < _TOO_LATE:
            return None
        if client is None:
            self._failed(asked, "unconfigured", 0.0, f"the settings have no `introspection.clients.{name}`")
            return None
        if asked.settings.endpoint.startswith("http://") and not self._options.allow_http_loopback:
            self._failed(asked, "unconfigured", 0.0, "its endpoint is not https, and `allowHttpLoopback` is off")
            return None
        if not asked.breaker.admits():
            self._observer(Introspected(name, "left_alone", 0.0))
            return None
        seconds, began = min(left, asked.settings.timeout_seconds), self._ticks()
        try:
            said = fetch_answer(self._pool, asked.issuer, token, client, seconds)
        except AskError as error:
            opened = False
            if not error.dead:
                asked.breaker.succeeded()
            elif error.fault != "unavailable" or seconds >= min(_FAIR_SECONDS, asked.settings.timeout_seconds):
                opened = asked.breaker.failed()
            detail = f"{error}; it is left alone for now" if opened else str(error)
            self._failed(asked, error.fault, self._ticks() - began, detail)
            return None
        asked.breaker.succeeded()
        asked.error = ""
        self._keep(asked.settings, key, said)
        result: Result = "active" if said.seen.active else "inactive"
        self._observer(Introspected(name, result, self._ticks() - began))
        return said.answer

    def _keep(self, settings: Introspection, key: bytes, said: Said) -> None:
        """INT-05: never past the token's end; what is refused only for a moment."""
        now = self._clock()
        cache, until = _lifetime(settings, said.seen, now)
        if until > now:
            (self._active if cache else self._inactive).put(key, said.answer, until)

    def _failed(self, asked: _Asked, result: Result, seconds: float, detail: str) -> None:
        """Tell a failure once, and then only that it goes on."""
        told, asked.error = asked.error == detail, detail
        self._observer(Introspected(asked.issuer.name, result, seconds, "" if told else detail))


def _lifetime(settings: Introspection, seen: Glance, now: float) -> tuple[bool, float]:
    if not seen.active:
        return False, now + settings.negative_seconds
    return True, min(now + settings.cache_seconds, seen.expires_at)


def _key(issuer: Issuer, token: str) -> bytes:
    return sha256(issuer.digest + token.encode()).digest()
