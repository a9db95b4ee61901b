"""What became of the questions of one phase, by outcome; latencies count from when a question was due."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from loadtest.figures import latency_ms
from loadtest.http2 import FAILED, LATE, Answer
from loadtest.questions import explain

_NAMES = {FAILED: "failed", LATE: "late"}
_READ = 20  # answers of each length that are read; the others of that length are taken to be like them


class Tally:
    """Answers to CheckRequests. Answers of one length are one outcome: a sample of each is read."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self.timeline: list[tuple[float, float, str]] = []  # due, latency, outcome
        self.mixed: set[int] = set()  # lengths that stand for more than one outcome
        self._known: dict[int, str] = {}
        self._read: Counter[int] = Counter()

    def add(self, answers: Iterable[Answer]) -> None:
        """Count them."""
        for answer in answers:
            self.count(answer.due, answer.ended - answer.due, self.outcome(answer))

    def count(self, due: float, latency: float, outcome: str) -> None:
        """Count one, all in seconds."""
        self.outcomes[outcome] += 1
        self.seconds.setdefault(outcome, []).append(latency)
        self.timeline.append((due, latency, outcome))

    def take(self, phase: Iterator[list[Answer]]) -> "Tally":
        """Count all of a phase."""
        for answers in phase:
            self.add(answers)
        return self

    def outcome(self, answer: Answer) -> str:
        """`failed`, `late`, or the status and the reason of the CheckResponse."""
        kind = answer.kind
        if kind < 0:
            return _NAMES[kind]
        if self._read[kind] < _READ:
            self._read[kind] += 1
            found = explain(answer.body)
            if self._known.setdefault(kind, found) != found:
                self.mixed.add(kind)
        return explain(answer.body) if kind in self.mixed else self._known[kind]

    def latency_ms(self, outcome: str) -> dict[str, float]:
        """Percentiles of one outcome."""
        return latency_ms(self.seconds.get(outcome, []))

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        return {name: {"count": count, **self.latency_ms(name)} for name, count in self.outcomes.most_common()}
