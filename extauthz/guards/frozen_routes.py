"""Frozen routes, found by host and path without a look at the others.

Rule 1: what denies covers every case of a path (T-11), so literals are compared case-folded.
Rule 2: the cost of a lookup grows with the path's depth, not with the number of routes.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from extauthz.guards.entries import Entry, Queue, Route, first_in_force, queue
from extauthz.guards.names import require_methods
from extauthz.model.hosts import parse_host_pattern
from extauthz.model.moment import Moment
from extauthz.model.paths import MANY, ONE, parse_pattern
from extauthz.model.problems import Location, Problem
from extauthz.model.subject import ANONYMOUS

_ALL: Final = ""  # every method, and every host
_EVERYWHERE = ("*", "/**")


class RouteSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The requests that are frozen: those to a host, below a path, with a method. At least one is named."""

    host: str = "*"  # `api.example.com`, `*.example.com` or `*`
    path: str = "/**"  # path pattern: `*` one segment, `**` at the end any number; compared in any case
    methods: tuple[str, ...] = ()  # all when absent

    @property
    def text(self) -> str:
        """As people write it: `GET,POST api.example.com/accounts/**`."""
        methods = ",".join(self.methods)
        return f"{methods} {self.host}{self.path}" if methods else f"{self.host}{self.path}"


def compile_route(spec: RouteSpec, problems: list[Problem], location: Location) -> Route | None:
    """Check and compile; None when there were errors."""
    before = len(problems)
    host, path = parse_host_pattern(spec.host), parse_pattern(spec.path)
    if isinstance(host, str):
        problems.append(Problem((*location, "host"), host))
    elif host.kind == "capture":
        message = f"`{spec.host}`: nothing is captured here, write `*{host.suffix}`"
        problems.append(Problem((*location, "host"), message))
    if isinstance(path, str):
        problems.append(Problem((*location, "path"), path))
    elif MANY in path.tokens[:-1]:
        problems.append(Problem((*location, "path"), f"`{spec.path}`: `**` stands at the end of a frozen path"))
    require_methods(spec.methods, problems, (*location, "methods"))
    if (spec.host, spec.path) == _EVERYWHERE and not spec.methods:
        problems.append(Problem(location, "this is every request: write `everything: true`"))
    if len(problems) > before or isinstance(host, str) or isinstance(path, str):
        return None
    return Route(host, path.folded(), tuple(dict.fromkeys(spec.methods)))


class FrozenRoutes:
    """Entries that name routes. Immutable."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Enter every route under its host."""
        self._hosts: Final[dict[str, _Node]] = {}  # exact hosts, `.suffix` for what lies below, "" for all
        leaves: dict[int, tuple[dict[str, Queue], dict[str, list[Entry]]]] = {}
        for entry in entries:
            if entry.route is None:
                continue
            leaf = self._leaf(entry.route)
            _, found = leaves.setdefault(id(leaf), (leaf, {}))
            for method in entry.route.methods or (_ALL,):
                found.setdefault(method, []).append(entry)
        for leaf, found in leaves.values():
            leaf.update({method: queue(listed) for method, listed in found.items()})
        self._has_suffixes: Final = any(name.startswith(".") for name in self._hosts)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._hosts)

    def find(self, host: str, folded: Sequence[str], method: str, moment: Moment) -> Entry | None:
        """The entry that freezes the request; `folded` are the case-folded segments of its path."""
        for node in self._nodes(host):
            for leaf in node.leaves(folded):
                for key in (method, _ALL):
                    if key in leaf and (found := first_in_force(leaf[key], moment, ANONYMOUS)):
                        return found
        return None

    def _leaf(self, route: Route) -> dict[str, Queue]:
        node = _child(self._hosts, _ALL if route.host.kind == "any" else route.host.suffix)
        for token in route.path.tokens:
            if token == MANY:
                return node.rest
            node = _child(node.children, token)
        return node.here

    def _nodes(self, host: str) -> list["_Node"]:
        hosts = self._hosts
        found = [hosts[name] for name in (_ALL, host) if name in hosts]
        dot = host.find(".") if self._has_suffixes else -1
        while dot >= 0:
            if host[dot:] in hosts:
                found.append(hosts[host[dot:]])
            dot = host.find(".", dot + 1)
        return found


def _child(nodes: dict[str, "_Node"], name: str) -> "_Node":
    found = nodes.get(name)
    if found is None:
        found = nodes[name] = _Node()
    return found


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}  # by literal, or ONE
        self.here: dict[str, Queue] = {}  # patterns that end here, by method
        self.rest: dict[str, Queue] = {}  # patterns with `**` here

    def leaves(self, folded: Sequence[str]) -> list[dict[str, Queue]]:
        """The leaves that cover the path, of those that are not empty."""
        found: list[dict[str, Queue]] = []
        frontier = [self]
        for segment in folded:
            following = []
            for node in frontier:
                if node.rest:
                    found.append(node.rest)
                children = node.children
                if segment in children:
                    following.append(children[segment])
                if ONE in children:
                    following.append(children[ONE])
            if not following:
                return found
            frontier = following
        for node in frontier:
            found += [leaf for leaf in (node.here, node.rest) if leaf]
        return found
