"""Keeps tenants apart: the resource's tenant must be the subject's, whoever names it and however often.

Rule 1: every source that names a tenant must name the same one; none is more trusted than another.
Rule 2: names are compared exactly, with the registry and with the token; nothing is folded or trimmed.
Rule 3: only a `crossTenant` grant leads into another tenant, and never into one that is not registered.
Rule 4: to the client an unknown tenant and a wrong one look the same (T-70).
"""

from itertools import product
from typing import Literal

from msgspec import Struct

from extauthz.guards.names import require_field_name
from extauthz.guards.refusal import Refusal
from extauthz.guards.tenants import CrossTenantSpec, TenancySpec, TenantRegistry
from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem
from extauthz.model.reasons import Reason
from extauthz.model.request import Headers, Request
from extauthz.model.subject import Subject

CAPTURE = "tenant"


class TenantSourceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One place where a request may name the tenant of the resource. Exactly one of the three."""

    path: str = ""  # a path pattern with `{tenant}`
    host: str = ""  # a host pattern with `{tenant}`
    header: str = ""  # a header's name; its value is the tenant


class ProfileTenancySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where requests to a profile's routes name the resource's tenant. All that do must agree."""

    resource_tenant: tuple[TenantSourceSpec, ...] = ()
    when_absent: Literal["subject", "deny"] = "subject"  # subject: a request that names none means the caller's own


class Resolved(Struct, frozen=True, gc=False):
    """The tenant a request is about, and the grant by which a subject of another tenant may ask."""

    tenant: str  # always a registered one
    cross_tenant: str = ""  # name of the grant that was used; "" when the tenant is the subject's own


class Spots(Struct, frozen=True, gc=False):
    """Where all requests with one host, and paths of one shape, name tenants: headers are each request's own."""

    segments: tuple[int, ...]  # places in the path
    hosts: tuple[str, ...]  # what the host says


class TenancyGuard(Struct, frozen=True):
    """The compiled tenancy of one profile."""

    registry: TenantRegistry
    paths: tuple[tuple[PathPattern, PathPattern], ...]  # as written, and case-folded
    hosts: tuple[HostPattern, ...]
    headers: tuple[str, ...]
    deny_when_absent: bool
    grants: tuple[CrossTenantSpec, ...]

    @property
    def read_headers(self) -> frozenset[str]:
        """Headers that decide in one spelling only. Those that name tenants must agree in all of them."""
        return frozenset(grant.require_header for grant in self.grants if grant.require_header)

    @property
    def literals(self) -> frozenset[str]:
        """Every text that is compared with a segment: they tell shapes of paths apart."""
        return frozenset(token for pattern, _ in self.paths for token in pattern.tokens)

    def spots(self, request: Request) -> Spots | None:
        """Where a request and those like it name tenants; None where `resolve` refuses to read them."""
        places = []
        for pattern, folded in self.paths:
            if pattern.match(request.segments) is not None:
                places.append(dict(pattern.captures)[CAPTURE])
            elif folded.match(request.folded) is not None:
                return None
        found = [host.match(request.host) for host in self.hosts if request.host.endswith(host.suffix)]
        hosts = tuple(captured[CAPTURE] for captured in found if captured is not None)
        return Spots(tuple(places), hosts) if len(hosts) == len(found) else None

    def own(self, spots: Spots, request: Request, subject: Subject) -> str | None:
        """The subject's own tenant where the request names no other, as `resolve` finds it too; None: ask `resolve`."""
        tenant, segments = subject.tenant, request.segments
        for place in spots.segments:
            if segments[place] != tenant:
                return None
        for host in spots.hosts:
            if host != tenant:
                return None
        if self.deny_when_absent and not (spots.segments or spots.hosts):
            return None
        if self.headers and request.headers.among(self.headers):
            return None
        registered = self.registry.get(tenant) if tenant else None
        return None if registered is None else registered.id

    def resolve(self, request: Request, subject: Subject) -> Resolved | Refusal:
        """The tenant that `request` is about, if `subject` may ask about it."""
        named = self._named(request)
        if not isinstance(named, list):
            return named
        if named:
            tenant = named[0]
            if named.count(tenant) != len(named):
                return Refusal(Reason.TENANT_CONFLICT, "T-57", "the request names more than one tenant")
        elif self.deny_when_absent or not subject.tenant:
            return Refusal(Reason.TENANT_MISSING, "JWT-20", "neither the request nor the subject names a tenant")
        else:
            tenant = subject.tenant
        registered = self.registry.get(tenant)
        if registered is None:
            return Refusal(Reason.TENANT_UNKNOWN, "T-57", "the tenant is not registered")
        tenant = registered.id  # the registry's own text: what the request brought is kept by nobody
        if tenant == subject.tenant:
            return Resolved(tenant)
        for grant in self.grants:
            if _applies(grant, tenant, request, subject):
                return Resolved(tenant, grant.name)
        return Refusal(Reason.TENANT_MISMATCH, "JWT-20", "the resource belongs to another tenant")

    def _named(self, request: Request) -> list[str] | Refusal:
        """Every tenant that any source names, as often as it is named."""
        named = []
        for pattern, folded in self.paths:
            captured = pattern.match(request.segments)
            if captured is not None:
                named.append(captured[CAPTURE])
            elif folded.match(request.folded) is not None:
                # An upstream that ignores case would read a tenant here that we do not see (T-11).
                return Refusal(Reason.PATH_AMBIGUOUS, "T-11", "the path names a tenant in another case")
        for host in self.hosts:
            if not request.host.endswith(host.suffix):
                continue
            captured = host.match(request.host)
            if captured is None:
                # It names somebody, in a way that is not ours: not the same as naming nobody.
                return Refusal(Reason.TENANT_UNKNOWN, "T-57", "the host names a tenant that cannot be one")
            named.append(captured[CAPTURE])
        headers = request.headers
        for name in self.headers:
            value = headers.get(name)
            if value is None:
                continue
            if "," in value or headers.is_repeated(name):
                return Refusal(Reason.TENANT_CONFLICT, "T-57", "the tenant header was sent more than once")
            named.append(value)
        return named


def _applies(grant: CrossTenantSpec, tenant: str, request: Request, subject: Subject) -> bool:
    """Whether every part of the grant holds."""
    return (
        request.method in grant.methods
        and not set(grant.roles).isdisjoint(subject.roles)
        and (not grant.tenants or tenant in grant.tenants)
        and (not grant.issuers or subject.issuer_name in grant.issuers)
        and set(grant.scopes).issubset(subject.scopes)
        and (not grant.require_header or _is_sent_once(request.headers, grant.require_header))
    )


def _is_sent_once(headers: Headers, name: str) -> bool:
    value = headers.get(name)
    return bool(value) and "," not in (value or "") and not headers.is_repeated(name)


def compile_tenancy(
    profile: ProfileTenancySpec,
    tenancy: TenancySpec | None,
    registry: TenantRegistry,
    problems: list[Problem],
    location: Location,
) -> TenancyGuard | None:
    """Check and compile a profile's tenancy; None when there were errors. Grants were checked with the registry."""
    before = len([problem for problem in problems if problem.severity == "error"])
    if tenancy is None:
        problems.append(Problem(location, "the bundle has no `kind: Tenancy`, which says who the tenants are"))
    paths: list[tuple[PathPattern, PathPattern]] = []
    hosts: list[HostPattern] = []
    headers: list[str] = []
    for index, source in enumerate(profile.resource_tenant):
        here = (*location, "resourceTenant", index)
        if [source.path, source.host, source.header].count("") != 2:  # noqa: PLR2004 - one of three is given
            problems.append(Problem(here, "a source is exactly one of `path`, `host` and `header`"))
        elif source.path:
            paths += _compile_path(source.path, problems, (*here, "path"))
        elif source.host:
            hosts += _compile_host(source.host, registry, problems, (*here, "host"))
        else:
            require_field_name(source.header, problems, (*here, "header"))
            headers += spellings(source.header)
    if profile.when_absent == "deny" and not profile.resource_tenant:
        message = "`whenAbsent: deny` without any `resourceTenant` refuses every request"
        problems.append(Problem((*location, "whenAbsent"), message))
    if len([problem for problem in problems if problem.severity == "error"]) > before or tenancy is None:
        return None
    deny_when_absent = profile.when_absent == "deny"
    return TenancyGuard(registry, tuple(paths), tuple(hosts), tuple(headers), deny_when_absent, tenancy.cross_tenant)


def _compile_path(text: str, problems: list[Problem], location: Location) -> list[tuple[PathPattern, PathPattern]]:
    pattern = parse_pattern(text)
    if isinstance(pattern, str):
        problems.append(Problem(location, pattern))
    elif CAPTURE not in pattern.names:
        message = f"path pattern `{text}` must capture `{{tenant}}`, e.g. `/open-banking/{{tenant}}/**`"
        problems.append(Problem(location, message))
    else:
        return [(pattern, pattern.folded())]
    return []


def _compile_host(
    text: str, registry: TenantRegistry, problems: list[Problem], location: Location
) -> list[HostPattern]:
    pattern = parse_host_pattern(text)
    if isinstance(pattern, str):
        problems.append(Problem(location, pattern))
        return []
    if pattern.capture != CAPTURE:
        message = f"host pattern `{text}` must capture `{{tenant}}`, e.g. `{{tenant}}.api.example.com`"
        problems.append(Problem(location, message))
        return []
    if never := [tenant for tenant in registry if tenant != tenant.lower() or "_" in tenant]:
        message = f"tenant `{never[0]}` can never be named by a host: host names are lower case, without `_`"
        problems.append(Problem(location, message, "warning", "unnameable-tenant"))
    return [pattern]


# Beyond this many hyphens only the all-underscore spelling is looked up: 2 to the power of the hyphens is too many.
_MAX_HYPHENS = 5


def spellings(header: str) -> list[str]:
    """The header and its underscore twins, which many upstreams cannot tell apart (T-28): all must agree."""
    parts = header.split("-")
    if len(parts) - 1 > _MAX_HYPHENS:
        return [header, header.replace("-", "_")]
    joints = product("-_", repeat=len(parts) - 1)
    return ["".join(f"{part}{joint}" for part, joint in zip(parts, (*row, ""), strict=True)) for row in joints]
