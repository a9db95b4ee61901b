"""Kinds of requests: those that no rule can tell apart by route or caller, so that their candidates are the same.

Rule 1: a kind has everything that `to`, `match` and `Rule.callers_by_kind` read, as far as any rule names it. What only
one request has (a segment that no pattern names, an address, a header, the time) is never part of it.
Rule 2: kinds are small, for they are kept in memory: a request with too long names has none.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from extauthz.model.shapes import Shape, Shapes
from extauthz.policy.asked import Asked
from extauthz.policy.matchers import PathMatcher
from extauthz.policy.operations import Operation
from extauthz.policy.parts import Found, Part, TextPart
from extauthz.policy.rule import Rule
from extauthz.policy.sources import Source

_MAX_SIZE: Final = 2048  # where a pattern with `*` looks at values, they are the caller's own
_NOT: Final = "not"

Texts = tuple[str, ...]


class Kind(Struct, frozen=True, gc=False):
    """What rules see of a request. Equal kinds have the same candidates."""

    tenant: str | None
    host: str
    method: str | None
    port: int
    shape: Shape
    roles: Texts
    scopes: Texts
    has_token: bool
    others: tuple[Texts, ...]

    @property
    def size(self) -> int:
        """Bytes of its texts that nobody else holds, and of references."""
        own = (
            self.host,
            self.method or "",
            *self.roles,
            *self.scopes,
            *(text for texts in self.others for text in texts),
        )
        return sum(map(len, own)) + 8 * (len(own) + len(self.shape))


class _Seen:
    """Which values of one attribute rules tell apart."""

    def __init__(self, parts: Iterable[TextPart]) -> None:
        found = list(parts)
        self.wild = any(part.texts.wild for part in found)
        self.names = frozenset[str]().union(*(part.texts.exact for part in found))

    def of(self, values: Texts) -> Texts:
        """What is seen of `values`: nobody looks for the others."""
        return values if self.wild else tuple(filter(self.names.__contains__, values))


# The fields of `from` that belong to a kind. The others are of one caller, or of one connection.
_OF_SUBJECTS: Final = frozenset({"actors", "clients", "issuers", "roles", "scopes", "tenants"})  # as in `Likeness`
_OF_PEERS: Final = frozenset({"namespaces", "principals", "serviceAccounts"})  # of the principal who connected
_CALLERS: Final = _OF_SUBJECTS | _OF_PEERS
_OPERATIONS: Final = frozenset({"hosts", "methods", "ports"})


def field_of(part: Part) -> str:
    """The attribute that a part of `from` or `to` compares: `roles` also of `notRoles`."""
    name = part.field.removeprefix(_NOT)
    return name[0].lower() + name[1:]


def reads_kind(part: Part) -> bool:
    """Whether a part of `from` or `to` reads nothing but what belongs to the kind of a request."""
    return field_of(part) in _CALLERS | _OPERATIONS


def callers_by_kind(sources: Iterable[Source] | None) -> bool:
    """Whether all of `from` does."""
    return all(reads_kind(part) for source in sources or () for part in source.all_parts())


class Kinds:
    """What the rules of a set can tell apart."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Note every name that any rule looks for."""
        callers = [part for rule in rules for source in rule.sources or () for part in source.all_parts()]
        operations = [operation for rule in rules for operation in rule.operations or ()]
        by_field: dict[str, list[TextPart]] = {}
        for part in (*callers, *(part for operation in operations for part in operation.parts)):
            if isinstance(part, TextPart) and reads_kind(part):
                by_field.setdefault(field_of(part), []).append(part)
        seen = {name: _Seen(parts) for name, parts in by_field.items()}
        nothing = _Seen(())
        methods = seen.pop("methods", nothing)
        self._method = str if methods.wild else {name: name for name in methods.names}.get
        self.by_port = seen.pop("ports", None) is not None  # whether some rule reads the port that was connected to
        seen.pop("hosts", None)  # a kind has the whole host
        roles, scopes = seen.pop("roles", nothing), seen.pop("scopes", nothing)
        self._any_role, self._is_role = roles.wild, roles.names.__contains__
        self._any_scope, self._is_scope = scopes.wild, scopes.names.__contains__
        self._others = [(by_field[name][0].read, found) for name, found in sorted(seen.items())]
        self._by_token = any(rule.sources for rule in rules if scopes.names or scopes.wild)
        self._tenant = {rule.tenant: rule.tenant for rule in rules}.get
        self.literals = frozenset(_literals(rules, operations))  # every text that a pattern compares with a segment
        self._shapes = Shapes(self.literals)
        self._wider = (frozenset[str](), self._shapes)
        self.by_peer = not _OF_PEERS.isdisjoint(by_field)  # whether some rule reads who connected
        self._wild = methods.wild or any(found.wild for found in (roles, scopes, *seen.values()))

    def shapes(self, others: frozenset[str]) -> Shapes:
        """Shapes that tell `others` apart too. Made once: other data, and other keys, come with the same of both."""
        known, shapes = self._wider
        if known != others:
            shapes = Shapes(self.literals | others)
            self._wider = (others, shapes)
        return shapes

    def of(self, asked: Asked) -> Kind | None:
        """The kind of a request; None when it is too large to be kept."""
        request, subject = asked.request, asked.subject
        kind = Kind(
            self._tenant(asked.tenant),
            request.host,
            self._method(request.method),
            request.destination.port if self.by_port else 0,
            self._shapes.of(request.segments, asked.folded),
            subject.roles if self._any_role else tuple(filter(self._is_role, subject.roles)),
            subject.scopes if self._any_scope else tuple(filter(self._is_scope, subject.scopes)),
            self._by_token and subject.has_token,  # who has none lacks no scope of it
            tuple([found.of(_texts(read(asked))) for read, found in self._others]) if self._others else (),
        )
        return kind if not self._wild or kind.size <= _MAX_SIZE else None


def _literals(rules: Sequence[Rule], operations: Sequence[Operation]) -> set[str]:
    """Every text that a pattern compares with a segment."""
    found: set[str] = set()
    matchers: list[PathMatcher] = [path for rule in rules for path in rule.scope.paths or ()]
    for operation in operations:
        matchers += [*(operation.paths or ()), *operation.not_paths]
    for matcher in matchers:
        for _, literal in (*matcher.head, *matcher.tail):
            found.add(literal)
    return found


def _texts(found: Found) -> Texts:
    return found if isinstance(found, tuple) else (found,)
