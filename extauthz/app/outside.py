"""Who is asked what: every kind of question has one place that can answer it."""

from collections.abc import Mapping

from extauthz.model.decision import Question
from extauthz.questions import Answer, Oracle


class Directory:
    """An `Oracle` that hands each question to the one who knows; a kind that nobody knows stays unanswered."""

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
