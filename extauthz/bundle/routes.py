"""The routes of profiles, and which of them a policy's hosts and paths can come under. For lint alone."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import MANY, ONE, PathPattern, parse_pattern
from extauthz.model.problems import Location
from extauthz.policy import AccessPolicySpec
from extauthz.policy.reach.patterns import hosts_meet, hosts_within, path_within, paths_meet
from extauthz.snapshot import Profile


class Route(Struct, frozen=True):
    """One host of a profile with one of its paths."""

    host: HostPattern
    path: PathPattern
    profile: str
    location: tuple[Location, Location]  # of the host and of the path in the profile's document


def routes_of(profiles: Iterable[Profile]) -> list[Route]:
    """Every route of every profile, as written."""
    at: Location = ("spec", "match")
    return [
        Route(host, path, profile.name, ((*at, "hosts", h), (*at, "paths", p)))
        for profile in profiles
        for h, host in enumerate(profile.hosts)
        for p, path in enumerate(profile.paths)
    ]


def policy_paths(spec: AccessPolicySpec) -> Iterator[tuple[Location, str]]:
    """Every path pattern of a policy, and where it stands."""
    for index, path in enumerate(spec.match.paths or ()):
        yield ("spec", "match", "paths", index), path
    for number, rule in enumerate(spec.rules):
        for position, operation in enumerate(rule.to or ()):
            for index, path in enumerate(operation.paths or ()):
                yield ("spec", "rules", number, "to", position, "paths", index), path


class Cover:
    """Answers which profiles a policy's pattern meets; each question is worked out once."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._met: dict[tuple[tuple[str, ...], str], bool] = {}
        self._profiles: dict[tuple[tuple[str, ...], str], tuple[str, ...]] = {}
        self._anywhere: list[Route] = []
        self._by_first: dict[str, list[Route]] = {}  # by a literal first segment
        for route in routes_of(profiles):
            tokens = route.path.tokens
            if tokens and tokens[0] not in {ONE, MANY}:
                self._by_first.setdefault(tokens[0], []).append(route)
            else:
                self._anywhere.append(route)

    def meets(self, hosts: tuple[str, ...], path: str) -> bool:
        """Whether a request that the pattern covers can come under a profile; a malformed one counts as covered."""
        key = (hosts, path)
        if key not in self._met:
            pattern = parse_pattern(path)
            self._met[key] = isinstance(pattern, str) or any(
                isinstance(host, str) or any(self._routes(host, pattern)) for host in map(parse_host_pattern, hosts)
            )
        return self._met[key]

    def profiles(self, hosts: tuple[str, ...], path: str) -> tuple[str, ...]:
        """The profiles under which such a request can come, by name; none for malformed patterns."""
        key = (hosts, path)
        if key not in self._profiles:
            self._profiles[key] = tuple(sorted({route.profile for route in self.routes(hosts, path)}))
        return self._profiles[key]

    def routes(self, hosts: tuple[str, ...], path: str) -> Iterator[Route]:
        """The routes under which such a request can come; none for malformed patterns."""
        pattern = parse_pattern(path)
        for host in map(parse_host_pattern, hosts):
            if isinstance(host, HostPattern) and isinstance(pattern, PathPattern):
                yield from self._in_order(host, pattern)

    def _in_order(self, host: HostPattern, pattern: PathPattern) -> Iterator[Route]:
        """As requests find them: what stands behind a route that covers all of them is never reached."""
        routes = self._routes(host, pattern)
        for route in sorted(routes, key=lambda route: (route.host.specificity, route.path.specificity)):
            yield route
            if hosts_within(host, route.host) and path_within(pattern, route.path):
                return

    def _routes(self, host: HostPattern, pattern: PathPattern) -> Iterator[Route]:
        first = pattern.tokens[0] if pattern.tokens else ONE
        near = self._by_first.values() if first in {ONE, MANY} else [self._by_first.get(first, [])]
        for routes in (self._anywhere, *near):
            for route in routes:
                if hosts_meet(host, route.host) and paths_meet(pattern, route.path):
                    yield route
