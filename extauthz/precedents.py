"""What was found out for a route and callers alike, kept so that the next request of theirs need not ask again.

Rule 1: nothing is kept that depends on more than its key: a route has all that profiles and rules see of a request's
place, a `Likeness` all that rules see of a caller by name. What a rule reads beside is still asked, each time.
Rule 2: it belongs to one set of profiles and policies under one revision, see `Snapshot`; another one starts anew.
Rule 3: bounded, and of objects that the garbage collector does not track.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct, field

from extauthz.guards import Spots
from extauthz.model.decision import Precedent
from extauthz.model.memo import Memo
from extauthz.model.request import Request
from extauthz.model.shapes import Shape
from extauthz.model.subject import Likeness, Subject
from extauthz.policy import PolicySet, Shortlist, Verdict

Found = TypeVar("Found")

# Clients choose methods; these come back.
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
_MAX_ROUTES, _MAX_ROUTES_BYTES, _ROUTE_BYTES = 8192, 8 << 20, 800
_MAX_STANDINGS, _MAX_STANDINGS_BYTES, _STANDING_BYTES = 16_384, 16 << 20, 600
_MAX_PRECEDENTS: Final = 16  # of one standing: verdicts differ by obligations that are computed
_VERDICT_BYTES: Final = 500


def _no_spots(_profile: Any, _request: Request) -> Spots | None:  # noqa: ANN401 - whatever was found
    return None


class Route(Struct, Generic[Found], frozen=True, eq=False, gc=False):
    """A host, a method and a shape of paths, and the profile that was found for them."""

    profile: Found
    spots: Spots | None = None  # where its requests name tenants; None where that has to be looked for each time
    is_kept: bool = True  # there is one object for all requests of the route


class Standing(Struct, eq=False, gc=False):
    """How callers alike stand with the policies on a route."""

    shortlist: Shortlist
    precedents: dict[Verdict, Precedent] = field(default_factory=dict)

    def precedent(self, verdict: Verdict) -> Precedent | None:
        """That of the allows with this verdict; None when there are too many different ones."""
        found = self.precedents.get(verdict)
        if found is None and len(self.precedents) < _MAX_PRECEDENTS:
            found = self.precedents.setdefault(verdict, Precedent())
        return found


class _Place(Struct, frozen=True, gc=False):
    host: str
    method: str
    port: int
    shape: Shape


class _Seat(Struct, frozen=True, gc=False):
    route: Route[Any]
    likeness: Likeness
    tenant: str
    principal: str


class Precedents(Generic[Found]):
    """Routes, and who stands how on them."""

    def __init__(
        self,
        of: tuple[object, ...],
        find: Callable[[Request], Found],
        literals: frozenset[str],
        policies: PolicySet,
        spots: Callable[[Found, Request], Spots | None] = _no_spots,
    ) -> None:
        """`find` finds the profile of a request by its host and path, and `spots` where it names tenants under it.

        Both tell paths apart by `literals` alone. `of`: the objects on which everything here depends.
        """
        self.of = of
        self._find, self._spots, self._policies = find, spots, policies
        kinds = policies.kinds
        self._shapes = kinds.shapes(literals)
        self._by_port, self._by_peer = kinds.by_port, kinds.by_peer
        self._routes: Memo[_Place, Route[Found]] = Memo(_MAX_ROUTES, _MAX_ROUTES_BYTES, _weigh_route)
        self._standings: Memo[_Seat, Standing] = Memo(_MAX_STANDINGS, _MAX_STANDINGS_BYTES, _weigh_standing)

    def parts(self) -> tuple[object, ...]:
        """What of it may be large (see `letting_go`)."""
        return self._routes, self._standings

    def route(self, request: Request) -> Route[Found]:
        """Where a request goes."""
        method = request.method
        if method not in _METHODS:
            return Route(self._find(request), is_kept=False)
        port = request.destination.port if self._by_port else 0
        place = _Place(request.host, method, port, self._shapes.of(request.segments, request.folded))
        route = self._routes.young.get(place) or self._routes.get(place)
        if route is None:
            profile = self._find(request)
            route = Route(profile, self._spots(profile, request))
            self._routes.put(place, route)
        return route

    def standing(
        self, route: Route[Found], likeness: Likeness, request: Request, subject: Subject, tenant: str, now: int
    ) -> Standing:
        """How `subject`, who has that likeness, stands on a route that is kept, as to a resource of `tenant`."""
        seat = _Seat(route, likeness, tenant, request.source.principal if self._by_peer else "")
        standing = self._standings.young.get(seat) or self._standings.get(seat)
        if standing is None:
            standing = Standing(self._policies.shortlist(request, subject, tenant, now))
            self._standings.put(seat, standing)
        return standing


def _weigh_route(place: _Place, _: Route[Any]) -> int:
    return _ROUTE_BYTES + len(place.host) + 8 * len(place.shape)


def _weigh_standing(seat: _Seat, standing: Standing) -> int:
    own = len(seat.principal) + 8 * len(standing.shortlist.candidates)
    return _STANDING_BYTES + _VERDICT_BYTES + own
