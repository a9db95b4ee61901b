"""Everything a decision may read, compiled and immutable. A reload replaces the whole by one assignment."""

from collections.abc import Mapping
from operator import is_
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from extauthz.guards import (
    NOTHING_LISTED,
    AsListed,
    FapiHeaders,
    Listed,
    Orders,
    SenderConstraint,
    Spots,
    StepUp,
    TenancyGuard,
    TenantRegistry,
)
from extauthz.identity import (
    NO_NONCE_KEYS,
    NOTHING_SIGNED,
    Authentication,
    KeySet,
    NonceKeys,
    PossessionRules,
    SigningRules,
    default_rules,
)
from extauthz.model.hosts import HostPattern
from extauthz.model.keeping import NOTHING_KEPT, Keeping
from extauthz.model.memo import Memo
from extauthz.model.paths import PathPattern
from extauthz.model.ports import RefuseEveryProof, ReplayStore, TokenCache
from extauthz.model.request import Request
from extauthz.model.shapes import Shape, Shapes
from extauthz.policy import PolicySet
from extauthz.precedents import Precedents


class Profile(Struct, frozen=True):
    """A compiled SecurityProfile: the guards that every request to its routes must satisfy."""

    name: str
    hosts: tuple[HostPattern, ...]
    paths: tuple[PathPattern, ...]
    authentication: Authentication
    fapi: FapiHeaders | None = None
    tenancy: TenancyGuard | None = None
    step_up: StepUp | None = None
    sender: SenderConstraint = SenderConstraint()
    possession: PossessionRules = default_rules(("*",))
    signing: SigningRules = NOTHING_SIGNED
    proceed_without_journal: bool = False  # `audit.whenUnavailable: proceed`
    # Of a caller with a bearer token nothing more is asked than who that is.
    is_plain: bool = False

    def __post_init__(self) -> None:
        """Work out once what is asked of every request."""
        plain = not self.sender.required and self.step_up is None and self.signing is NOTHING_SIGNED
        force_setattr(self, "is_plain", plain)


class AmbiguousProfile(Struct, frozen=True):
    """A case-insensitive upstream would put this path under another profile (threat 11)."""


Covered = Profile | AmbiguousProfile | None


def spots_under(found: Covered, request: Request) -> Spots | None:
    """Where `request`, and those like it, name tenants under the profile that was found."""
    return found.tenancy.spots(request) if isinstance(found, Profile) and found.tenancy is not None else None


class _Place(Struct, frozen=True, gc=False):
    """What profiles see of a host and a path."""

    host: str
    shape: Shape


_NONE, _AMBIGUOUS = -1, -2
_AMBIGUOUS_PROFILE = AmbiguousProfile()
# Places that were seen before. A host is at most 253 characters long, and a segment of a shape a literal of the bundle.
_MAX_PLACES, _MAX_BYTES = 8192, 8 << 20
_PLACE_BYTES = 450


class ProfileIndex:
    """Finds the most specific profile of a host and path; exact hosts first, then wildcards."""

    def __init__(self, profiles: tuple[Profile, ...]) -> None:
        """Sort the routes once; lookups walk them in order of specificity, by host."""
        self.profiles = profiles
        routes = [
            (host, path, path.folded(), position)
            for position, profile in enumerate(profiles)
            for host in profile.hosts
            for path in profile.paths
        ]
        routes.sort(key=lambda route: (route[0].specificity, route[1].specificity))
        self._routes = tuple(routes)
        literals = frozenset(token for _, path, _, _ in routes for token in path.tokens)  # in paths
        self._shapes = Shapes(literals)
        guards = [profile.tenancy for profile in profiles if profile.tenancy is not None]
        self.literals = literals.union(*(guard.literals for guard in guards))  # that `find` or `spots_under` compares
        self._known: Memo[_Place, int] = Memo(_MAX_PLACES, _MAX_BYTES, _weigh)

    def parts(self) -> tuple[object, ...]:
        """What of it may be large (see `letting_go`)."""
        return self._routes, self._known

    def find(self, request: Request) -> Covered:
        """The profile that covers the route; None when there is none."""
        host, segments, folded = request.host, request.segments, request.folded
        place = _Place(host, self._shapes.of(segments, folded))
        position = self._known.get(place)
        if position is None:
            position = self._search(host, segments, folded)
            self._known.put(place, position)
        if position >= 0:
            return self.profiles[position]
        return None if position == _NONE else _AMBIGUOUS_PROFILE

    def _search(self, host: str, segments: tuple[str, ...], folded: tuple[str, ...]) -> int:
        for pattern, path, folded_path, position in self._routes:
            if pattern.match(host) is None:
                continue
            if path.match(segments) is not None:
                return position
            if folded_path.match(folded) is not None:
                return _AMBIGUOUS
        return _NONE


def _weigh(place: _Place, _: int) -> int:
    return _PLACE_BYTES + len(place.host) + 8 * len(place.shape)


_NOT_MADE: Any = None


class Snapshot(Struct, frozen=True):
    """One revision of a bundle in memory, with the keys known so far."""

    revision: str  # human name from bundle.yaml
    digest: str  # SHA-256 over the documents, hex
    profiles: ProfileIndex
    keys: Mapping[str, KeySet]  # by issuer name; replaced with the snapshot when a JWKS changes
    tenants: TenantRegistry
    policies: PolicySet
    tokens: TokenCache
    documents: Mapping[str, int]  # how many of each kind, for status
    replay: ReplayStore = RefuseEveryProof()
    nonces: NonceKeys = NO_NONCE_KEYS
    emergencies: Listed = NOTHING_LISTED  # what the bundle revokes, freezes and opens
    orders: Orders = AsListed()  # the same at run time
    keeping: Keeping = NOTHING_KEPT  # what of a Check the journal keeps for replay
    approvers: Mapping[str, str] = {}  # of break glass at run time, as the bundle names them: base64 of their keys
    precedents: Precedents[Covered] = _NOT_MADE  # it makes them itself

    def __post_init__(self) -> None:
        """Go on with what was found out before only if nothing changed that it depends on: keys and orders may."""
        of = (self.profiles, self.policies, self.revision, self.digest)
        before = self.precedents
        if before is _NOT_MADE or not all(map(is_, before.of, of)):
            found = Precedents(of, self.profiles.find, self.profiles.literals, self.policies, spots_under)
            force_setattr(self, "precedents", found)

    def parts(self) -> tuple[object, ...]:
        """What of it may be large (see `letting_go`)."""
        return (*self.policies.parts(), *self.profiles.parts(), *self.precedents.parts())
