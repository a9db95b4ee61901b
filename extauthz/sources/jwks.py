"""Keys of issuers, kept fresh beside the path.

Rule 1: nobody waits for a fetch; what is known stays in force until it is too old to trust (KEY-03).
Rule 2: an unreadable answer changes nothing; a readable one counts, even when it takes keys away.
Rule 3: a token with an unknown key id is a hint, and however many come, one fetch follows (KEY-02).
"""

import ssl
from collections.abc import Callable, Sequence
from random import uniform
from threading import Event, Lock, Thread
from typing import Annotated, Literal

import httpx
from msgspec import Meta, Struct

from extauthz.identity import NO_KEYS, Issuer, KeySet
from extauthz.model.decision import Allow
from extauthz.model.reasons import Reason
from extauthz.model.record import DecisionRecord
from extauthz.sources.jwks_fetch import FetchError, FetchLimits, fetch_keys, open_client

_HINT_SECONDS_AT_LEAST = 30
_UNKNOWN_KEY = frozenset({Reason.TOKEN_KEY_UNKNOWN, Reason.KEYS_UNAVAILABLE})
_LONGEST_NAP = 1.0  # seconds between looks at the clock
_OVERDUE = 3  # timeouts apply to each read; a fetch that trickles for this many of them is cut off


class JwksOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How keys of issuers are fetched. Times are seconds."""

    refresh_seconds: Annotated[float, Meta(ge=30)] = 300.0  # between fetches, give or take a tenth
    unknown_kid_seconds: Annotated[float, Meta(ge=_HINT_SECONDS_AT_LEAST)] = 30.0  # between fetches for unknown keys
    stale_after_seconds: Annotated[float, Meta(ge=60)] = 24 * 3600.0  # since the last good answer
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0  # of one fetch
    retry_seconds: Annotated[float, Meta(gt=0)] = 1.0  # after the first failure; doubled after each
    retry_max_seconds: Annotated[float, Meta(gt=0)] = 60.0  # the longest pause after failures
    ca_file: str = ""  # PEM; "" for the public authorities
    allow_http_loopback: bool = False  # for demos and tests


class Refresh(Struct, frozen=True):
    """What became of one issuer's keys, for log and metrics."""

    issuer: str  # metadata.name
    result: Literal["changed", "unchanged", "failed", "withdrawn"]
    keys: int  # in force afterwards
    seconds: float  # the fetch took
    detail: str = ""  # of a failure, or about keys left out


class JwksStatus(Struct, frozen=True):
    """One issuer's keys, as the source sees them."""

    issuer: str
    keys: int
    age_seconds: float | None  # since the last good answer, None before the first
    error: str  # of the last attempt, "" when it went well


class _State:
    """What is known about one issuer; only the thread that fetches for it and the keeper write here."""

    def __init__(self, issuer: Issuer, now: float) -> None:
        self.issuer = issuer
        self.keys: KeySet = NO_KEYS
        self.due = now
        self.attempted = now
        self.succeeded: float | None = None
        self.failures = 0
        self.error = ""
        self.flight: httpx.Client | None = None  # of the fetch under way
        self.hinted = False


class JwksSource:
    """Fetches keys in the background and publishes them; one keeper thread, one short-lived thread a fetch."""

    def __init__(
        self,
        options: JwksOptions,
        publish: Callable[[str, KeySet], None],
        clock: Callable[[], float],
        observer: Callable[[Refresh], None] = lambda _: None,
    ) -> None:
        """`clock` counts seconds and must not jump, such as time.monotonic."""
        self._options, self._publish, self._clock, self._observer = options, publish, clock, observer
        self._limits = FetchLimits(options.timeout_seconds, allow_http_loopback=options.allow_http_loopback)
        self._states: dict[str, _State] = {}
        self._lock = Lock()
        self._wake = Event()
        self._stopping = False
        self._keeper: Thread | None = None
        self._tls: ssl.SSLContext | None = None

    def start(self) -> None:
        """Begin to fetch. Raises OSError or ssl.SSLError when the CA file cannot be used."""
        ca_file = self._options.ca_file
        self._tls = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
        self._keeper = Thread(target=self._keep, name="jwks", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """End; a fetch under way is cut off, and its result is not published."""
        self._stopping = True
        with self._lock:
            states, self._states = self._states, {}
        for state in states.values():
            _cut_off(state)
        self._wake.set()
        if self._keeper is not None:
            self._keeper.join(self._options.timeout_seconds)

    def set_issuers(self, issuers: Sequence[Issuer]) -> None:
        """Fetch for these from now on; what is known of unchanged ones stays. Issuers with a file are not ours."""
        now = self._clock()
        with self._lock:
            self._states = {
                issuer.name: state
                if (state := self._states.get(issuer.name)) is not None and state.issuer == issuer
                else _State(issuer, now)
                for issuer in issuers
                if issuer.has_remote_keys
            }
            known = tuple(state for state in self._states.values() if state.keys)
        for state in known:  # the bundle in force may have forgotten them on its way here
            self._put_in_force(state)
        self._wake.set()

    def unknown_kid(self, issuer_name: str) -> None:
        """A token named a key we do not know; cheap, callable for every such token, from any thread."""
        state = self._states.get(issuer_name)
        if state is None or state.hinted or self._clock() - state.attempted < self._options.unknown_kid_seconds:
            return
        state.hinted = True
        self._wake.set()

    def watch(self, record: DecisionRecord) -> None:
        """Observer of decisions: takes the hint of each token or signed answer whose key is unknown."""
        decision = record.decision
        if not isinstance(decision, Allow) and decision.reason in _UNKNOWN_KEY:
            self.unknown_kid(decision.issuer)

    def status(self) -> tuple[JwksStatus, ...]:
        """Every issuer that is fetched for."""
        now = self._clock()
        return tuple(
            JwksStatus(name, len(state.keys), None if state.succeeded is None else now - state.succeeded, state.error)
            for name, state in self._states.items()
        )

    def _keep(self) -> None:
        """Look at every issuer whenever something may be due."""
        while not self._stopping:
            self._wake.clear()
            now = self._clock()
            for state in tuple(self._states.values()):
                try:
                    self._look_at(state, now)
                except Exception as error:  # noqa: BLE001 - the keeper must outlive an observer's bug
                    state.error = f"the keeper failed with {type(error).__name__}"
            dues = [state.due - self._clock() for state in self._states.values() if state.flight is None]
            self._wake.wait(min([_LONGEST_NAP, *(max(0.01, due) for due in dues)]))

    def _look_at(self, state: _State, now: float) -> None:
        self._withdraw_if_stale(state, now)
        if state.flight is not None:
            if now - state.attempted > _OVERDUE * self._options.timeout_seconds:
                _cut_off(state)
        elif self._tls is not None and (state.hinted or now >= state.due):
            state.hinted, state.attempted = False, now
            state.flight = open_client(self._tls, self._limits)
            Thread(
                target=self._fetch, args=(state, state.flight), name=f"jwks-{state.issuer.name}", daemon=True
            ).start()

    def _withdraw_if_stale(self, state: _State, now: float) -> None:
        """KEY-03: keys that nobody confirmed for so long may have been replaced for a reason."""
        with self._lock:
            if state.succeeded is None or not state.keys or now - state.succeeded <= self._options.stale_after_seconds:
                return
            state.keys = NO_KEYS
        self._put_in_force(state)
        self._observer(Refresh(state.issuer.name, "withdrawn", 0, 0.0, "no good answer for too long"))

    def _fetch(self, state: _State, client: httpx.Client) -> None:
        """One flight; what it brings is dropped when the issuer's document was replaced meanwhile."""
        try:
            found: tuple[KeySet, list[str]] | str = fetch_keys(state.issuer, client, self._limits, self._clock)
        except FetchError as error:
            found = str(error)
        except Exception as error:  # noqa: BLE001 - a client cut off in mid-flight may raise anything
            found = f"the fetch failed with {type(error).__name__}"
        try:
            if self._states.get(state.issuer.name) is not state:
                return
            if isinstance(found, str):
                self._failed(state, found, self._clock())
            else:
                self._succeeded(state, *found, self._clock())
        finally:
            state.flight = None
            self._wake.set()

    def _failed(self, state: _State, error: str, now: float) -> None:
        """Try again soon, then ever more seldom, never in step with other servers."""
        options = self._options
        pause = min(options.retry_max_seconds, options.retry_seconds * 2 ** min(state.failures, 16))
        state.failures += 1
        state.error = error
        state.due = now + pause * uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        self._observer(Refresh(state.issuer.name, "failed", len(state.keys), now - state.attempted, error))

    def _succeeded(self, state: _State, keys: KeySet, left_out: list[str], now: float) -> None:
        with self._lock:
            changed = keys.version != state.keys.version
            state.keys, state.succeeded, state.failures = keys, now, 0
        state.error = "" if keys else "the issuer publishes no usable key"
        if changed:
            self._put_in_force(state)
        state.due = now + self._options.refresh_seconds * uniform(0.9, 1.1)  # noqa: S311 - as above
        result: Literal["changed", "unchanged"] = "changed" if changed else "unchanged"
        self._observer(Refresh(state.issuer.name, result, len(keys), now - state.attempted, "; ".join(left_out)))

    def _put_in_force(self, state: _State) -> None:
        """Publish; what changed in between, the keys or the issuer's document, is published last."""
        while True:
            keys = state.keys
            self._publish(state.issuer.name, keys)
            current = self._states.get(state.issuer.name)
            if current is None or (current is state and state.keys is keys):
                return
            state = current


def _cut_off(state: _State) -> None:
    """Close the connection under a fetch; its next read fails, and its thread ends."""
    if (client := state.flight) is not None:
        client.close()
