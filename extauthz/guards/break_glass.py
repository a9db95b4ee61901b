"""Break glass: named callers may do named things for a while, although the policies say no.

Rule 1: it is asked after every guard and after the policies, so it lifts no guard and no freeze.
Rule 2: what cannot be told counts against it: another case of a path, a caller whom another acts for, a doubtful clock.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from extauthz.guards.names import require_methods
from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.moment import Moment
from extauthz.model.paths import MANY, ONE, PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem
from extauthz.model.request import Request
from extauthz.model.subject import Subject

# More is no emergency any more but a policy: write one.
MAX_SUBJECTS: Final = 64
MAX_ROUTES: Final = 64
MAX_TEXT: Final = 512  # characters of an id, a role or an issuer


class GlassSubjectSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who is let in: one subject by its id, or everybody with one of the roles."""

    issuer: str  # name of the Issuer document, or an `iss`; at run time always an `iss`
    id: str = ""  # the subject
    roles: tuple[str, ...] = ()  # any of them


class GlassRouteSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is opened."""

    host: str  # exact
    path: str  # path pattern that begins with a literal segment; compared in its case
    methods: tuple[str, ...]  # these, at least one


class BreakGlassSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who may do what, although the policies say no."""

    subjects: tuple[GlassSubjectSpec, ...]
    routes: tuple[GlassRouteSpec, ...]
    tenant: str = ""  # only resources of this tenant; required with `roles` where tenants are registered


class _Route(Struct, frozen=True):
    host: str
    path: PathPattern
    methods: frozenset[str]

    def covers(self, request: Request) -> bool:
        return (
            request.host == self.host
            and request.method in self.methods
            and self.path.match(request.segments) is not None
        )


class Glass(Struct, frozen=True, kw_only=True):
    """One break glass, approved. Times are seconds since the epoch."""

    id: str
    subjects: frozenset[tuple[str, str]]  # (exact `iss`, subject)
    roles: frozenset[tuple[str, str]]  # (exact `iss`, role)
    routes: tuple[_Route, ...]
    tenant: str = ""
    begin: int
    end: int
    drill: bool = False  # recorded as if it opened, and opens nothing
    approvers: tuple[str, ...] = ()  # who approved it, by the names that the list of approvers gives them
    approver_keys: tuple[str, ...] = ()  # the ids of their keys

    def is_in_force(self, moment: Moment) -> bool:
        """Whether it has begun and not ended, by every clock."""
        return self.begin <= moment.earliest and moment.latest < self.end

    def opens(self, request: Request, subject: Subject, tenant: str, moment: Moment) -> bool:
        """Whether the request may pass; `tenant` is the tenant of the resource."""
        return (
            self.is_in_force(moment)
            and self._names(subject)
            and (not self.tenant or self.tenant == tenant)
            and any(route.covers(request) for route in self.routes)
        )

    def pattern(self, request: Request) -> str:
        """The path pattern by which a request that it opens is known in the journal."""
        return next((route.path.text for route in self.routes if route.covers(request)), "")

    def _names(self, subject: Subject) -> bool:
        if not subject.issuer or subject.actors:  # who acts for somebody was not named
            return False
        return (subject.issuer, subject.id) in self.subjects or any(
            (subject.issuer, role) in self.roles for role in subject.roles
        )


def compile_routes(routes: tuple[GlassRouteSpec, ...], problems: list[Problem], at: Location) -> tuple[_Route, ...]:
    """Check and compile; what is wrong is noted and left out."""
    if not 0 < len(routes) <= MAX_ROUTES:
        problems.append(Problem(at, f"name 1 to {MAX_ROUTES} routes: what is open to everything is no break glass"))
    found = []
    for index, route in enumerate(routes):
        here: Location = (*at, index)
        host = _exact_host(route.host, problems, (*here, "host"))
        path = _narrow_path(route.path, problems, (*here, "path"))
        if not route.methods:
            problems.append(Problem((*here, "methods"), "name the methods, e.g. `[GET]`"))
        require_methods(route.methods, problems, (*here, "methods"))
        if host is not None and path is not None:
            found.append(_Route(host.suffix, path, frozenset(route.methods)))
    return tuple(found)


def check_subjects(subjects: Iterable[GlassSubjectSpec], problems: list[Problem], at: Location) -> None:
    """Note what is wrong with who is let in, apart from names that only a bundle knows."""
    listed = tuple(subjects)
    if not 0 < len(listed) <= MAX_SUBJECTS:
        problems.append(Problem(at, f"name 1 to {MAX_SUBJECTS} subjects"))
    for index, subject in enumerate(listed):
        if bool(subject.id) == bool(subject.roles):
            problems.append(Problem((*at, index), "a subject is named by exactly one of `id` and `roles`"))
        for text in (subject.issuer, *([subject.id] if subject.id else subject.roles)):
            if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
                problems.append(Problem((*at, index), f"texts must be 1 to {MAX_TEXT} printable characters"))
                break


def _exact_host(text: str, problems: list[Problem], at: Location) -> HostPattern | None:
    host = parse_host_pattern(text)
    if isinstance(host, str):
        problems.append(Problem(at, host))
        return None
    if host.kind != "exact":
        problems.append(Problem(at, f"`{text}` must be one host: each that is opened is named"))
        return None
    return host


def _narrow_path(text: str, problems: list[Problem], at: Location) -> PathPattern | None:
    path = parse_pattern(text)
    if isinstance(path, str):
        problems.append(Problem(at, path))
        return None
    if path.tokens and path.tokens[0] in {ONE, MANY}:
        problems.append(Problem(at, f"`{text}` must begin with a literal segment, as in `/api/loans/**`"))
        return None
    return path
