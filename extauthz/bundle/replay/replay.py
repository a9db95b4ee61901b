"""A past decision, decided again by another bundle through the function that serves.

Rule 1: `check.decide` decides, asked with what the record has; what it asks the world for is answered from the record.
Rule 2: what nothing in a record can bring about again (a signature, a proof, what an issuer said) stays as it was, as
long as whatever led to it is the same in the other bundle; else nobody can tell.
Rule 3: the answer is that of the other bundle at that time, or "cannot tell" and why; never a guess.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct, json

from extauthz.bundle.read import Opened
from extauthz.bundle.replay.asked_again import question
from extauthz.bundle.replay.decided import Decided, Known, Naming
from extauthz.bundle.replay.guards import PROOFS, AsRecordedError, Stage, with_records
from extauthz.bundle.replay.past import PastRequest
from extauthz.bundle.replay.phases import ORDERED, TROUBLE
from extauthz.bundle.replay.texts import bundle_texts
from extauthz.check import decide
from extauthz.model.decision import Allow, Decision
from extauthz.model.endings import FIRST_USE
from extauthz.model.kept import KeptProfile
from extauthz.model.reasons import Reason
from extauthz.policy.recorded import STAND_IN, NotKeptError

NOT_KEPT: Final = "a record that was kept for replay"
_TROUBLE: Final = "an answer of the bundle: the server was in trouble"
_ORDERED: Final = "what operators had ordered on the running server"
_UNEXPLAINED: Final = "more than the record: from it the bundle that decided gives another answer"
_TABLES: Final = 16  # of pseudonyms, by tenant and month: records of one are near each other


class Same(Struct, frozen=True):
    """The other bundle would have answered the same, for the same reason and by the same rule."""


class Changed(Struct, frozen=True):
    """The other bundle would have answered so."""

    decision: Decision


class Unknown(Struct, frozen=True):
    """Nobody can tell."""

    needs: str


Replayed = Same | Changed | Unknown
SAME: Final = Same()


class World:
    """A bundle that past decisions are held against. One thread at a time."""

    def __init__(self, opened: Opened, naming: Callable[[str, str], Naming | None]) -> None:
        """`naming` makes the pseudonyms of a tenant and a month (`2026-11`); None where nobody has the key."""
        self.digest: Final = opened.built.snapshot.digest
        self._texts: Final = bundle_texts(opened)
        self._naming = naming
        snapshot = opened.built.snapshot
        terms = {name: json.decode(text, type=KeptProfile) for name, text in snapshot.keeping.profiles.items()}
        self._stage = Stage(terms, snapshot.keeping.issuers)
        self._snapshot = with_records(snapshot, self._stage)
        self._needs_port = "destination.port" in snapshot.keeping.others
        self._known: dict[tuple[str, str], Known | None] = {}

    @property
    def flaw(self) -> str:
        """Why this bundle cannot be asked about the past, "" when it can."""
        if any(STAND_IN in text for text in self._texts):
            return "a text of the bundle has the character U+E000, which is for private use and stands for others here"
        return ""

    def replay(self, decided: Decided, *, explained: bool = False) -> Replayed:
        """What this bundle would have answered.

        `explained`: a bundle gives the recorded answer without what operators may have ordered besides.
        """
        kept = decided.kept
        if Reason[decided.reason.upper()] in TROUBLE:
            return Unknown(_TROUBLE)
        if kept is None or kept.kind == "other":
            return Unknown(NOT_KEPT)
        if kept.kind == "refused":
            return SAME  # before any bundle was asked
        past = PastRequest(decided, kept, self._names(decided.tenant, decided.time[:7]))
        try:
            return self._again(past, explained=explained)
        except AsRecordedError:
            return SAME
        except NotKeptError as error:
            return Unknown(error.needs)

    def _again(self, past: PastRequest, *, explained: bool) -> Replayed:
        decided, stage = past.decided, self._stage
        stage.lay(past)
        found = decide(question(past, stage.headers, needs_port=self._needs_port), self._snapshot, decided.now)
        if isinstance(found, Allow) and past.reason in FIRST_USE:
            return SAME if stage.has_same_proofs() else Unknown(PROOFS)
        if past.reason in ORDERED and found.reason is not past.reason and not explained:
            return Unknown(_ORDERED)
        evidence = found.evidence
        if found.reason is past.reason and (evidence.policy, evidence.rule) == (decided.policy, decided.rule):
            return SAME
        return Changed(found)

    def _names(self, tenant: str, month: str) -> Known | None:
        """The bundle's texts by their pseudonyms in records of a tenant and a month."""
        key = (tenant, month)
        if key not in self._known:
            naming = self._naming(tenant, month)
            while len(self._known) >= _TABLES:
                del self._known[next(iter(self._known))]
            known = None if naming is None else Known(naming, {naming(text): text for text in self._texts})
            self._known[key] = known
        return self._known[key]


class Replay:
    """A bundle, and beside it the one that was in force, where it is at hand."""

    def __init__(self, new: World, live: World | None = None) -> None:
        """`live` is asked about its own decisions alone."""
        self._new, self._live = new, live

    def __call__(self, decided: Decided) -> Replayed:
        """What would become of a decision. What the bundle that decided does not give again, nobody can tell."""
        live = self._live
        if live is None or decided.digest != live.digest:
            return self._new.replay(decided)
        before = live.replay(decided)
        if isinstance(before, Changed):
            return Unknown(_UNEXPLAINED)
        return self._new.replay(decided, explained=before is SAME)
