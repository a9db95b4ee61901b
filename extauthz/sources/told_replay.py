"""Proofs that were used, remembered by the process that several workers have above them.

Rule: what only one process may say is asked of that one; without its answer a proof is not let in.
"""

from collections.abc import Callable

from extauthz.model.decision import FirstUse, Question
from extauthz.sources.replay_store import MemoryReplayStore, ReplayStatus, SharedStore

# Whether a key was never seen: True, False, or None when there is no room for it. Raises OSError without an answer.
AskAbove = Callable[[bytes, int, float], bool | None]


class ToldReplayStore(SharedStore):
    """Implements `model.ports.ReplayStore`, which always says "ask outside", and answers what is then asked."""

    def __init__(self, ask: AskAbove, capacity: int, clock: Callable[[], float]) -> None:
        """`ask` is given key, expiry and seconds to wait; `clock` is in seconds since the epoch."""
        self._ask, self._clock = ask, clock
        self._seen = MemoryReplayStore(capacity, clock)  # what went through this process
        self._replayed = self._refused = self._failures = 0
        self._answers = True

    def first_use(self, key: bytes, expires: int) -> bool | None:  # noqa: ARG002
        """None: only the process above can say, unless the proof was used here."""
        return self._known_here(key)

    def recall(self, question: Question) -> bool | None:
        """False for a proof that went through this process; nobody else needs to be asked then."""
        return self._known_here(question.key) if isinstance(question, FirstUse) else None

    def ask(self, question: Question, deadline: float) -> bool | None:
        """Whether it is a first use; None when nobody says. `deadline` is in seconds since the epoch."""
        left = deadline - self._clock()
        if not isinstance(question, FirstUse) or left <= 0:
            return None
        try:
            first = self._ask(question.key, question.expires, left)
        except OSError:
            self._failures += 1
            self._answers = False
            return None
        self._answers = True
        self._seen.first_use(question.key, question.expires)
        self._replayed += first is False
        self._refused += first is None
        return first

    def probe(self) -> str:
        """The process above is there, or this one ends."""
        return ""

    def status(self) -> ReplayStatus:
        """What became of the questions since the start."""
        entries = self._seen.status().entries
        return ReplayStatus("workers", entries, self._replayed, self._refused, self._failures, self._answers)

    def close(self) -> None:
        """Nothing is open."""

    def _known_here(self, key: bytes) -> bool | None:
        if not self._seen.was_used(key):
            return None
        self._replayed += 1
        return False
