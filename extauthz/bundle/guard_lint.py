"""What guards cannot do as they are written: places that never name a tenant, ids that nobody has registered.

Rule: an error is what can never be meant, for a guard that looks as if it worked is worse than none.
"""

from collections.abc import Iterator

from extauthz.bundle.compile import Compiled
from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.finding import Finding
from extauthz.bundle.kinds import SecurityProfileSpec
from extauthz.bundle.routes import Cover, policy_paths
from extauthz.guards import TenancyGuard, TenantRegistry
from extauthz.guards.tenancy import CAPTURE
from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import MANY, PathPattern, parse_pattern
from extauthz.model.problems import Location
from extauthz.policy import AccessPolicySpec
from extauthz.policy.guard import MAX_READ_HEADERS
from extauthz.policy.header_names import has_twins, spelling_flaw
from extauthz.policy.reach.patterns import hosts_meet, paths_meet
from extauthz.snapshot import Profile


def lint_guards(documents: Documents, compiled: Compiled) -> Iterator[Finding]:
    """Errors and warnings about the guards of profiles that have no errors of their own."""
    by_name = {profile.name: profile for profile in compiled.profiles}
    read: set[str] = set()
    for document in documents.by_kind["SecurityProfile"]:
        profile = by_name.get(document.name)
        if profile is not None:
            yield from _places(document, profile)
            yield from _financial_id(document, profile, compiled.tenants)
            yield from _spellings(document, profile)
            yield from _too_many_headers(document, profile, read)
    yield from _captured_tenants(documents, compiled.profiles)


def _places(document: Document, profile: Profile) -> Iterator[Finding]:
    """Sources of the tenant that no request to the profile's routes has."""
    if profile.tenancy is None:
        return
    for index, source in enumerate(document.spec.tenancy.resource_tenant):
        at: Location = ("spec", "tenancy", "resourceTenant", index)
        path, host = parse_pattern(source.path), parse_host_pattern(source.host)
        if isinstance(path, PathPattern) and not any(paths_meet(path, route) for route in profile.paths):
            routes = _listed(route.text for route in profile.paths)
            message = (
                f"no path of this profile can be `{path.text}`, so it never names a tenant: its paths are {routes}"
            )
            yield document.tree.error((*at, "path"), message)
        if isinstance(host, HostPattern) and not any(hosts_meet(host, route) for route in profile.hosts):
            routes = _listed(route.text for route in profile.hosts)
            message = (
                f"no host of this profile can be `{host.text}`, so it never names a tenant: its hosts are {routes}"
            )
            yield document.tree.error((*at, "host"), message)


def _financial_id(document: Document, profile: Profile, registry: TenantRegistry) -> Iterator[Finding]:
    """Financial ids that are compared with nothing, or with nothing that the profile has settled."""
    if profile.fapi is None or profile.fapi.financial_id is None:
        return
    at: Location = ("spec", "fapi", "ecosystem" if document.spec.fapi.financial_id is None else "financialId")
    without = [name for name in registry if not _has_financial_id(registry, name)]
    if len(without) == len(registry):
        whom = "no registered tenant has a `financialId`" if registry else "the bundle has no `kind: Tenancy`"
        message = f"{whom}, so every request with `{profile.fapi.financial_id.header}` is refused: register it"
        yield document.tree.error(at, message)
        return
    if without:
        others = f" and {len(without) - 1} more have" if len(without) > 1 else " has"
        message = f"`{without[0]}`{others} no `financialId`, so this profile refuses every request about them"
        yield document.tree.warning(at, message, "missing-financial-id")
    if profile.tenancy is None:
        message = (
            "without `tenancy` the id is compared with that of the caller's own tenant, whatever the request names"
        )
        yield document.tree.warning(at, message, "financial-id-without-tenancy")


def _has_financial_id(registry: TenantRegistry, name: str) -> bool:
    tenant = registry.get(name)
    return tenant is not None and bool(tenant.financial_id)


def _spellings(document: Document, profile: Profile) -> Iterator[Finding]:
    """Headers of which other spellings reach upstreams (T-28)."""
    for name in sorted(profile.fapi.read_headers if profile.fapi else ()):
        if flaw := spelling_flaw(name):
            yield document.tree.warning(("spec", "fapi"), flaw, "header-spelling")


def _too_many_headers(document: Document, profile: Profile, read: set[str]) -> Iterator[Finding]:
    """The first profile whose headers no longer fit; `read` are those of the profiles before."""
    before = len(read)
    read.update(filter(has_twins, profile.fapi.read_headers if profile.fapi else ()))
    if before <= MAX_READ_HEADERS < len(read):
        message = f"profiles read more than {MAX_READ_HEADERS} different headers with `-` or `_`"
        yield document.tree.error(("spec", "fapi"), message)


def _captured_tenants(documents: Documents, profiles: tuple[Profile, ...]) -> Iterator[Finding]:
    """Policies that take a segment for the tenant which no guard compares with anybody's."""
    if documents.one("Tenancy") is None:
        return
    cover = Cover(profiles)
    # Under mode `none` nobody is known, so there is nothing to compare.
    known = {document.name for document in documents.by_kind["SecurityProfile"] if _knows_callers(document)}
    by_name = {profile.name: profile for profile in profiles if profile.name in known}
    for document in documents.by_kind["AccessPolicy"]:
        spec: AccessPolicySpec = document.spec
        for location, text in policy_paths(spec):
            if f"{{{CAPTURE}}}" not in text:
                continue
            pattern = parse_pattern(text)
            for name in cover.profiles(spec.match.hosts or ("*",), text):
                if name in by_name and isinstance(pattern, PathPattern) and not _reads(by_name[name].tenancy, pattern):
                    message = (
                        f"`{{{CAPTURE}}}` is compared with nobody's tenant: profile `{name}` does not read it there, "
                        f"add `path: {text}` to its `tenancy.resourceTenant`"
                    )
                    yield document.tree.warning(location, message, "unchecked-tenant")


def _knows_callers(document: Document) -> bool:
    spec: SecurityProfileSpec = document.spec
    return spec.authentication.mode != "none"


def _reads(tenancy: TenancyGuard | None, pattern: PathPattern) -> bool:
    """Whether the guard takes the tenant from the segment that `pattern` captures."""
    places = _places_of_tenant(pattern)
    sources = () if tenancy is None else tenancy.paths
    return any(paths_meet(pattern, path) and not places.isdisjoint(_places_of_tenant(path)) for path, _ in sources)


def _places_of_tenant(pattern: PathPattern) -> set[int]:
    """Which segment is captured, from the front (0, 1 …) and from the end (-1, -2 …), where that can be told."""
    at = pattern.names.index(CAPTURE)
    many = pattern.tokens.index(MANY) if MANY in pattern.tokens else -1
    return ({at} if many < 0 or at < many else set()) | ({at - len(pattern.tokens)} if at > many else set())


def _listed(texts: Iterator[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)
