"""Which rules can match at all: by tenant, host, path, method and caller, without touching those that cannot.

Rule 1: an index may name a rule too many, never one too few; `Rule.test` decides.
Rule 2: literals of paths are compared case-folded here, because deny rules match in any case (T-11).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from extauthz.model.letting_go import let_go
from extauthz.model.paths import MANY, ONE, PathPattern
from extauthz.policy.gates import Entrance, Look, Place, everybody, find_entrances
from extauthz.policy.operations import Operation
from extauthz.policy.rule import Rule

ANY = ""
_EVERY_METHOD: Final = (ANY,)
# A rule with more combinations of hosts and paths than this is found by its hosts alone.
MAX_ENTRIES = 64

# Methods and the rules for them, for a few groups of methods: most places have one, and a dictionary takes 232 bytes.
_ByMethod = tuple[tuple[tuple[str, ...], Place], ...]
_NOWHERE: "Final[dict[str, _Node]]" = {}  # never changed


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("children", "here", "one", "rest")

    def __init__(self) -> None:
        self.children = _NOWHERE
        self.one: _Node | None = None  # `*` and `{name}`
        self.here: _ByMethod = ()  # patterns that end here
        self.rest: _ByMethod = ()  # patterns with `**` here

    def add(
        self, pattern: PathPattern | None, methods: tuple[str, ...], rule: int, entrances: Sequence[Entrance]
    ) -> None:
        node = self
        for token in pattern.tokens if pattern else (MANY,):
            if token == MANY:
                node.rest = _add(node.rest, methods, rule, entrances)
                return
            if token == ONE:
                node.one = node.one or _Node()
                node = node.one
            else:
                folded = token.casefold()
                if node.children is _NOWHERE:
                    node.children = {}
                child = node.children.get(folded)
                if child is None:
                    child = node.children[folded] = _Node()
                node = child
        node.here = _add(node.here, methods, rule, entrances)

    def parts(self) -> "Iterator[_Node]":
        """All of the tree, what is above before what is below."""
        waiting = [self]
        for node in waiting:
            yield node
            waiting.extend(node.children.values())
            if node.one is not None:
                waiting.append(node.one)

    def collect(self, folded: Sequence[str], method: str, look: Look, found: set[int]) -> None:
        frontier = [self]
        for segment in folded:
            following = []
            for node in frontier:
                if node.rest:
                    _take(node.rest, method, look, found)
                child = node.children.get(segment)
                if child is not None:
                    following.append(child)
                if node.one is not None:
                    following.append(node.one)
            if not following:
                return
            frontier = following
        for node in frontier:
            _take(node.here, method, look, found)
            _take(node.rest, method, look, found)


def _add(rules: _ByMethod, methods: tuple[str, ...], rule: int, entrances: Sequence[Entrance]) -> _ByMethod:
    """The same with one rule more."""
    for group, place in rules:
        if group == methods:
            place.add(rule, entrances)
            return rules
    place = Place()
    place.add(rule, entrances)
    return (*rules, (methods, place))


def _take(rules: _ByMethod, method: str, look: Look, found: set[int]) -> None:
    for methods, place in rules:
        if method in methods or methods is _EVERY_METHOD:
            place.collect(look, found)


class _Hosts:
    """The trees of one tenant, by host."""

    __slots__ = ("any", "exact", "suffixes")

    def __init__(self) -> None:
        self.exact: dict[str, _Node] = {}
        self.suffixes: dict[str, _Node] = {}  # by `.suffix`
        self.any: _Node | None = None

    def node(self, host: str) -> _Node:
        if host == ANY:
            self.any = self.any or _Node()
            return self.any
        return (self.suffixes if host[0] == "." else self.exact).setdefault(host, _Node())

    def parts(self) -> Iterator[_Node]:
        """The nodes of every tree."""
        for node in (*self.exact.values(), *self.suffixes.values(), *((self.any,) if self.any is not None else ())):
            yield from node.parts()

    def collect(self, host: str, folded: Sequence[str], method: str, look: Look, found: set[int]) -> None:
        if self.any is not None:
            self.any.collect(folded, method, look, found)
        if host in self.exact:
            self.exact[host].collect(folded, method, look, found)
        if not self.suffixes:
            return
        dot = host.find(".")
        while dot >= 0:
            node = self.suffixes.get(host[dot:])
            if node is not None:
                node.collect(folded, method, look, found)
            dot = host.find(".", dot + 1)


class RouteIndex:
    """Positions of rules by route."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Enter every rule under its position."""
        self._tenants: dict[str, _Hosts] = {}
        entrances = find_entrances(rules)
        for position, rule in enumerate(rules):
            hosts = self._tenants.setdefault(rule.tenant, _Hosts())
            for operation in rule.operations if rule.operations is not None else (None,):
                _enter(hosts, rule, operation, position, entrances)
        let_go(entrances)

    def parts(self) -> Iterator[object]:
        """As `Large`."""
        yield self._tenants
        for hosts in self._tenants.values():
            yield hosts
            yield from hosts.parts()

    def candidates(
        self, tenant: str, host: str, folded: Sequence[str], method: str, look: Look = everybody
    ) -> list[int]:
        """Positions of the rules that may match, ascending. `folded` are case-folded segments.

        `look` says for which callers; by default for all.
        """
        found: set[int] = set()
        for bound in (ANY, tenant) if tenant else (ANY,):
            if bound in self._tenants:
                self._tenants[bound].collect(host, folded, method, look, found)
        return sorted(found)


def _enter(
    hosts: _Hosts, rule: Rule, operation: Operation | None, position: int, entrances: Sequence[Entrance]
) -> None:
    names = _host_keys(rule, operation)
    own = operation.patterns if operation is not None else None
    patterns: Sequence[PathPattern | None] = own or rule.scope.patterns or (None,)
    if len(names) * len(patterns) > MAX_ENTRIES:
        patterns = (None,)
    methods = (operation.methods if operation is not None else None) or _EVERY_METHOD
    keys = _EVERY_METHOD if any("*" in method for method in methods) else methods
    for name in names:
        node = hosts.node(name)
        for pattern in patterns:
            node.add(pattern, keys, position, entrances)


def _host_keys(rule: Rule, operation: Operation | None) -> Sequence[str]:
    """Exact hosts, `.suffix` for what lies below, ANY for every other pattern."""
    if operation is not None and operation.hosts is not None and all("*" not in host for host in operation.hosts):
        return operation.hosts
    if rule.scope.hosts is None:
        return (ANY,)
    return [ANY if host.kind == "any" else host.suffix for host in rule.scope.hosts]


class PortIndex:
    """Positions of the rules for connections, by destination port."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Enter every rule under its position."""
        self._ports: dict[str, Place] = {}
        entrances = find_entrances(rules)
        for position, rule in enumerate(rules):
            operations = rule.operations or ()
            ports = {port for operation in operations for port in operation.ports or (ANY,)} or {ANY}
            for port in sorted(ports):
                if port not in self._ports:
                    self._ports[port] = Place()
                self._ports[port].add(position, entrances)
        let_go(entrances)

    def candidates(self, port: int, look: Look) -> list[int]:
        """Positions of the rules that may match, ascending."""
        found: set[int] = set()
        for key in (str(port), ANY):
            if key in self._ports:
                self._ports[key].collect(look, found)
        return sorted(found)
