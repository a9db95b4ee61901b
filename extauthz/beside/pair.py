"""A candidate as it decides beside one live snapshot: with the same keys, orders and nonces, and nothing to write to.

Rule 1: whoever the live bundle has verified is taken for verified where both have the same Issuer document and keys;
where they have not, a token is verified once, with keys that are here already.
Rule 2: what changes a later decision (tokens kept, proofs used up) is not in reach.
"""

from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from extauthz.beside.alike import guard_alike
from extauthz.beside.known import Knowledge
from extauthz.beside.same_rules import SameRules
from extauthz.identity import Issuer, KeySet
from extauthz.model.decision import IntrospectToken, Question
from extauthz.model.request import Request
from extauthz.model.subject import ANONYMOUS, Subject
from extauthz.snapshot import Profile, Snapshot
from extauthz.sources import GenerationalTokenCache

_INTROSPECTED: Final = b"introspected"  # begins the keys of what an issuer said, see `identity.introspected`
_MAX_TOKENS, _MAX_BYTES = 5_000, 16 << 20
# What decides which keys of a published set are an issuer's, and where that set is.
_OF_KEYS: Final = ("issuer", "jwks_uri", "jwks_file", "discovery", "metadata_uri", "algorithms", "min_rsa_bits")


class Callers:
    """In the place of a token cache: the one caller that the live bundle has verified in this very Check.

    Beside that, a few of those that the candidate had to verify by itself.
    """

    def __init__(self) -> None:
        self._subject: Subject = ANONYMOUS
        self._place = b""
        self._own = GenerationalTokenCache(_MAX_TOKENS, _MAX_BYTES)

    def show(self, subject: Subject, place: bytes) -> None:
        """From now on. `place` is how its keys begin: by its issuer's document and keys; b"" shows nobody."""
        self._subject, self._place = subject, place

    def get(self, key: bytes) -> Subject | None:
        """The caller, where whoever asks has the same document and keys."""
        place = self._place
        if place and key.removeprefix(_INTROSPECTED).startswith(place):
            return self._subject
        return self._own.get(key)

    def put(self, key: bytes, subject: Subject) -> None:
        """Keep what the candidate has verified, for itself alone."""
        self._own.put(key, subject)


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
    rebound: frozenset[str]  # issuers that are others, with the same keys
    knowledge: Knowledge
    alike: dict[tuple[int, int], bool]  # by ids of two profiles, which the snapshots hold: see `guard_alike`
    rules: SameRules

    @property
    def ground(self) -> tuple[object, ...]:
        """All that `knowledge` depends on; keys may change without it."""
        return (self.live.precedents, self.source.precedents, self.lists_nothing, frozenset(self.same))

    @property
    def lists_nothing(self) -> bool:
        """Whether neither bundle freezes, revokes or opens anything."""
        return self.live.emergencies.is_empty and self.source.emergencies.is_empty

    def guards_alike(self, request: Request) -> Profile | None:
        """The candidate's profile of a request, if it asks the same as the live one."""
        live, candidate = self.live.precedents.route(request).profile, self.candidate.precedents.route(request).profile
        if not isinstance(live, Profile) or not isinstance(candidate, Profile):
            return None
        place = (id(live), id(candidate))
        found = self.alike.get(place)
        if found is None:
            found = self.alike[place] = guard_alike(live, candidate, self.same)
        return candidate if found else None

    def may_know(self, question: Question) -> bool:
        """Whether an answer to the live bundle answers the candidate too."""
        return not isinstance(question, IntrospectToken) or question.issuer in self.same

    def can_verify(self, profile: str) -> bool:
        """Whether tokens of a profile of the candidate may be of an issuer that is not the same, and has keys."""
        return any(name not in self.same and name in self.candidate.keys for name in self.issuers(profile))

    def issuers(self, profile: str) -> list[str]:
        """Whose tokens a profile of the candidate accepts."""
        found = (each for each in self.candidate.profiles.profiles if each.name == profile)
        return [issuer.name for each in found for issuer in each.authentication.issuers]


def make_pair(live: Snapshot, candidate: Snapshot, callers: Callers, before: Pair | None = None) -> Pair:
    """The candidate with the ports that it has beside `live`; `callers` is shown who calls before each decision.

    What was known `before` is still known as long as all that it depends on is the same.
    """
    theirs, ours = _issuers(live), _issuers(candidate)
    same: dict[str, bytes] = {}
    rebound: set[str] = set()
    keys = dict(candidate.keys)
    for name, issuer in ours.items():
        known, own = live.keys.get(name), candidate.keys.get(name)
        former = theirs.get(name)
        if former is None or (own is not None and known is None):
            continue
        if former.digest == issuer.digest and (own is None or known is None or own.version == known.version):
            same[name] = known.version if known is not None and known.keys else issuer.digest
            if known is not None:
                keys[name] = known
        elif known is not None and own is None and _has_keys_of(issuer, former):
            keys[name] = _bind(known, issuer)
            rebound.add(name)
    decides = replace(
        candidate, keys=keys, tokens=callers, replay=UseNothingUp(), nonces=live.nonces, orders=live.orders
    )
    rules = SameRules(live.policies, candidate.policies)
    made = Pair(live, candidate, decides, same, frozenset(rebound), Knowledge(live, candidate), {}, rules)
    return made if before is None or made.ground != before.ground else replace(made, knowledge=before.knowledge)


def _issuers(world: Snapshot) -> dict[str, Issuer]:
    """All that any profile accepts, by name."""
    return {issuer.name: issuer for profile in world.profiles.profiles for issuer in profile.authentication.issuers}


def _has_keys_of(issuer: Issuer, former: Issuer) -> bool:
    """Whether the keys that were fetched for `former` are exactly those that would be fetched for `issuer`."""
    return (
        issuer.introspection is None
        and former.introspection is None
        and all(getattr(issuer, name) == getattr(former, name) for name in _OF_KEYS)
    )


def _bind(keys: KeySet, issuer: Issuer) -> KeySet:
    """The same keys for another document, so that no token that was verified by the one counts for the other."""
    version = sha256(b"rebound" + keys.version + issuer.digest).digest()
    return replace(keys, issuer_digest=issuer.digest, version=version)
