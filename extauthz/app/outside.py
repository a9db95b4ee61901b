"""All that decisions may ask beyond the bundle: issuers about tokens, and the store of used proofs.

Rule 1: every kind of question has one place that can answer it; a kind that nobody knows stays unanswered.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from extauthz.app.proofs import probe
from extauthz.identity import Issuer
from extauthz.model.decision import FirstUse, IntrospectToken, Question
from extauthz.questions import Answer, Oracle
from extauthz.settings import Settings
from extauthz.sources import Introspected, IntrospectionSource
from extauthz.sources.replay_store import MemoryReplayStore, SharedStore
from extauthz.telemetry import Metrics

log = logging.getLogger("extauthz.app")


class Directory:
    """An `Oracle` that hands each question to the one who knows."""

    def __init__(self, oracles: Mapping[type[Question], Oracle]) -> None:
        self._oracles = dict(oracles)

    def recall(self, question: Question) -> Answer:
        """The answer if it is in memory, at once; else None."""
        oracle = self._oracles.get(type(question))
        return oracle.recall(question) if oracle is not None else None

    def ask(self, question: Question, deadline: float) -> Answer:
        """The answer, waiting for it until `deadline`, in seconds since the epoch; None when there is none by then."""
        oracle = self._oracles.get(type(question))
        return oracle.ask(question, deadline) if oracle is not None else None


class Outside:
    """The oracles that the settings name, and their life."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        replay: MemoryReplayStore | SharedStore,
        clock: Callable[[], float],
        ticks: Callable[[], float],
    ) -> None:
        """Nothing is connected yet."""
        self._metrics = metrics
        self.replay = replay
        self.introspection = IntrospectionSource(settings.introspection, clock, ticks, self._on_introspected)
        oracles: dict[type[Question], Oracle] = {IntrospectToken: self.introspection}
        if isinstance(replay, SharedStore):
            oracles[FirstUse] = replay
        self.directory = Directory(oracles)
        metrics.set_replay(self.replay.status)

    def start(self, undo: ExitStack) -> None:
        """Connect. Raises OSError for the CA file, CredentialError for what shows who we are."""
        undo.callback(self.replay.close)
        probe(self.replay)
        undo.callback(self.introspection.stop)
        self.introspection.start()

    def give_up(self) -> None:
        """Whoever waits for an answer is told now that there is none; nobody is asked any more."""
        self.introspection.stop()
        self.replay.close()

    def set_issuers(self, issuers: Sequence[Issuer]) -> None:
        """Ask these from now on."""
        for name in self.introspection.set_issuers(issuers):
            message = "issuer `%s` cannot be asked about tokens: the settings have no `introspection.clients.%s`"
            log.error(message, name, name)

    def _on_introspected(self, found: Introspected) -> None:
        self._metrics.introspection(found.issuer, found.result)
        if found.detail:
            log.warning("introspection at `%s`: %s: %s", found.issuer, found.result, found.detail)
