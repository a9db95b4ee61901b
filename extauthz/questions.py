"""What decisions ask of the outside, asked without taking the threads that decide.

Rule 1: an answer that is in memory costs no waiting; whoever must wait steps aside first, and only so many may.
Rule 2: total: what cannot be answered in time, or at all, is None, and the decision says what then.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from extauthz.model.decision import IntrospectToken, Question

log = logging.getLogger("extauthz.questions")

Answer = bytes | bool | None
Result = Literal["memory", "answered", "unanswered", "crowded"]
# Envoy must get the answer before its own time is up: this part of it is left for the way back.
_MARGIN, _MARGIN_SECONDS_AT_LEAST = 0.1, 0.005
# For callers that set no deadline: as long as Envoy's default for a whole HTTP request.
_PATIENCE_SECONDS = 15.0


class Outside(Protocol):
    """How a Check asks. Both methods are total."""

    def recall(self, question: Question) -> Answer:
        """The answer if it is in memory, at once; else None."""
        ...

    def ask(self, question: Question, deadline: float | None) -> Answer:
        """The answer, or None when there is none in time. `deadline` is in seconds since the epoch."""
        ...


class Oracle(Protocol):
    """Who can answer. Both methods are safe to call from many threads."""

    def recall(self, question: Question) -> Answer:
        """The answer if it is in memory, at once; else None."""
        ...

    def ask(self, question: Question, deadline: float) -> Answer:
        """The answer, waiting for it until `deadline`, in seconds since the epoch; None when there is none by then."""
        ...


class Nobody:
    """The outside of a server that has none."""

    def recall(self, question: Question) -> Answer:  # noqa: ARG002 - as Outside says
        """Nothing is known."""
        return None

    def ask(self, question: Question, deadline: float | None) -> Answer:  # noqa: ARG002
        """Nobody can say."""
        return None


class Questions:
    """Asks an oracle on behalf of Checks. Threads share it."""

    def __init__(
        self,
        oracle: Oracle,
        aside: Callable[[], AbstractContextManager[bool]],
        clock: Callable[[], float],
        count: Callable[[str, Result], None],
    ) -> None:
        """`aside` is the transport's; `count` is told the kind of every question and what became of it."""
        self._oracle, self._aside, self._clock, self._count = oracle, aside, clock, count

    def recall(self, question: Question) -> Answer:
        """As Outside says."""
        try:
            answer = self._oracle.recall(question)
        except Exception as error:  # noqa: BLE001 - as below
            self._log(error)
            return None
        if answer is not None:
            self._count(_kind(question), "memory")
        return answer

    def ask(self, question: Question, deadline: float | None) -> Answer:
        """As Outside says."""
        try:
            answer, result = self._answer(question, deadline)
        except Exception as error:  # noqa: BLE001 - the decision says what an unanswered question means
            self._log(error)
            answer, result = None, "unanswered"
        self._count(_kind(question), result)
        return answer

    def _log(self, error: Exception) -> None:
        log.error("a question could not be asked: %s", type(error).__name__)  # texts may quote it

    def _answer(self, question: Question, deadline: float | None) -> tuple[Answer, Result]:
        known = self._oracle.recall(question)
        if known is not None:
            return known, "memory"
        now = self._clock()
        until = now + _PATIENCE_SECONDS
        if deadline is not None:
            until = min(until, deadline - max(_MARGIN_SECONDS_AT_LEAST, _MARGIN * (deadline - now)))
        with self._aside() as may_wait:
            if not may_wait:
                return None, "crowded"
            answer = self._oracle.ask(question, until)
        return answer, "unanswered" if answer is None else "answered"


def _kind(question: Question) -> str:
    return "introspection" if isinstance(question, IntrospectToken) else "first_use"
