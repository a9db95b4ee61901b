"""A candidate as it decides beside one live snapshot: with the same keys, orders and nonces, and nothing to write to.

Rule 1: whoever the live bundle has verified is taken for verified where both have the same Issuer document and keys;
no signature of a token is verified again.
Rule 2: what changes a later decision (tokens kept, proofs used up) is not in reach.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from extauthz.model.decision import IntrospectToken, Question
from extauthz.model.subject import ANONYMOUS, Subject
from extauthz.snapshot import Snapshot

_INTROSPECTED: Final = b"introspected"  # begins the keys of what an issuer said, see `identity.introspected`


class LiveSubject:
    """In the place of a token cache: the one caller that the live bundle has verified in this very Check."""

    def __init__(self) -> None:
        self._subject: Subject = ANONYMOUS
        self._place = b""

    def show(self, subject: Subject, place: bytes) -> None:
        """From now on. `place` is how its keys begin: by its issuer's document and keys; b"" shows nobody."""
        self._subject, self._place = subject, place

    def get(self, key: bytes) -> Subject | None:
        """The caller, where whoever asks has the same document and keys."""
        place = self._place
        return self._subject if place and key.removeprefix(_INTROSPECTED).startswith(place) else None

    def put(self, key: bytes, subject: Subject) -> None:
        """Nothing is kept."""


class UseNothingUp:
    """In the place of a replay store: whether a proof was used before is known from the live decision alone."""

    def first_use(self, key: bytes, expires: int) -> bool | None:  # noqa: ARG002 - as ReplayStore says
        """Must be asked."""
        return None


class Pair(Struct, frozen=True):
    """A live snapshot and a candidate that can be compared with it."""

    live: Snapshot
    source: Snapshot  # the candidate as it was compiled
    candidate: Snapshot  # as it decides here
    same: dict[str, bytes]  # by name of the issuers that both have alike: how keys of their tokens begin

    def may_know(self, question: Question) -> bool:
        """Whether an answer to the live bundle answers the candidate too."""
        return not isinstance(question, IntrospectToken) or question.issuer in self.same


def make_pair(live: Snapshot, candidate: Snapshot, subject: LiveSubject) -> Pair:
    """The candidate with the ports that it has beside `live`; `subject` is shown who calls before each decision."""
    before, after = _issuers(live), _issuers(candidate)
    same: dict[str, bytes] = {}
    keys = dict(candidate.keys)
    for name, digest in after.items():
        known, own = live.keys.get(name), candidate.keys.get(name)
        if before.get(name) != digest or (own is not None and (known is None or own.version != known.version)):
            continue
        same[name] = known.version if known is not None and known.keys else digest
        if known is not None:
            keys[name] = known
    decides = replace(
        candidate, keys=keys, tokens=subject, replay=UseNothingUp(), nonces=live.nonces, orders=live.orders
    )
    return Pair(live, candidate, decides, same)


def _issuers(world: Snapshot) -> dict[str, bytes]:
    """Digests of the Issuer documents that any profile accepts, by name."""
    return {
        issuer.name: issuer.digest for profile in world.profiles.profiles for issuer in profile.authentication.issuers
    }
