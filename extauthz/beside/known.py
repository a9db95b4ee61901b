"""What comparing one Check has said about all that are like it.

Rule 1: Checks are alike by the `Precedent` of the live decision: it has all that the live bundle tells apart in a
request, and `Sight` what only the candidate does. What a rule reads beside is still asked, each time.
Rule 2: it says something about guards that are alike and lists that are empty on both sides, and holds no longer than
either bundle, the candidate's issuers and whatever else is in `Ground` do.
Rule 3: bounded, and of objects that the garbage collector does not track.
"""

from collections.abc import Hashable
from typing import Final

from msgspec import Struct

from extauthz.bundle.compare import Difference
from extauthz.model.decision import Precedent
from extauthz.model.memo import Memo
from extauthz.model.request import Request
from extauthz.model.shapes import Shape, Shapes
from extauthz.policy import Shortlist, Verdict
from extauthz.snapshot import Snapshot

_MAX_KNOWN, _MAX_BYTES, _ENTRY_BYTES = 16_384, 16 << 20, 300
_MAX_REFUSALS: Final = 4096
_CANDIDATE_BYTES: Final = 250  # of a shortlist, which policies may have let go


class Agreed(Struct, frozen=True, gc=False):
    """Both decide alike, whatever else the request has."""


AGREED: Final = Agreed()


class Disagreed(Struct, frozen=True, gc=False):
    """They do not, and not alike in the same way."""

    difference: Difference
    finding: bytes  # of the journal's event, see `CandidateRecord`


class Open(Struct, frozen=True, gc=False):
    """Guards let it pass in both; the candidate's policies are to be asked, and which of them."""

    shortlist: Shortlist


Known = Agreed | Disagreed | Open


class _Place(Struct, frozen=True, gc=False):
    precedent: Precedent
    shape: Shape
    port: int
    principal: str


class _Refusal(Struct, frozen=True, gc=False):
    precedent: Precedent
    verdict: Verdict


class Sight:
    """What the candidate tells apart in requests that are one to the live bundle."""

    def __init__(self, live: Snapshot, candidate: Snapshot) -> None:
        """Most candidates tell nothing more apart."""
        more = _literals(candidate) - _literals(live)
        before, after = live.policies.kinds, candidate.policies.kinds
        self._shapes = Shapes(more) if more else None
        self._by_port = after.by_port and not before.by_port
        self._by_peer = after.by_peer and not before.by_peer
        self.is_none: Final = not (more or self._by_port or self._by_peer)

    def place(self, precedent: Precedent, request: Request) -> Hashable:
        """What all requests share that neither bundle tells apart."""
        if self.is_none:
            return precedent
        return _Place(
            precedent,
            self._shapes.of(request.segments, request.folded) if self._shapes is not None else (),
            request.destination.port if self._by_port else 0,
            request.source.principal if self._by_peer else "",
        )


class Knowledge:
    """What is known of a candidate beside a live bundle."""

    def __init__(self, live: Snapshot, candidate: Snapshot) -> None:
        self.sight = Sight(live, candidate)
        self._memo: Memo[Hashable, Known] = Memo(_MAX_KNOWN, _MAX_BYTES, _weigh)
        self._refusals: Memo[_Refusal, Disagreed] = Memo(_MAX_REFUSALS, _MAX_BYTES, _weigh)

    def __len__(self) -> int:
        """How many kinds of Checks are known."""
        return len(self._memo)

    def recall(self, precedent: Precedent, request: Request) -> Known | None:
        """What is known about a request that was decided by `precedent`."""
        return self._memo.get(precedent if self.sight.is_none else self.sight.place(precedent, request))

    def keep(self, precedent: Precedent, request: Request, known: Known) -> None:
        """From now on."""
        self._memo.put(self.sight.place(precedent, request), known)

    def refusal(self, precedent: Precedent, verdict: Verdict) -> Disagreed | None:
        """What is to be said where the candidate's policies refuse in that way what was decided by `precedent`."""
        return self._refusals.get(_Refusal(precedent, verdict))

    def keep_refusal(self, precedent: Precedent, verdict: Verdict, known: Disagreed) -> None:
        """From now on. A refusal holds nothing that clients choose."""
        self._refusals.put(_Refusal(precedent, verdict), known)


def _literals(world: Snapshot) -> frozenset[str]:
    """Every text that a pattern compares with a segment; see `Precedents`."""
    return world.policies.kinds.literals | world.profiles.literals


def _weigh(place: Hashable, known: Known) -> int:
    own = 8 * len(place.shape) + len(place.principal) if isinstance(place, _Place) else 0
    if isinstance(known, Disagreed):
        own += len(known.finding)
    elif isinstance(known, Open):
        own += _CANDIDATE_BYTES * len(known.shortlist.candidates)
    return _ENTRY_BYTES + own
