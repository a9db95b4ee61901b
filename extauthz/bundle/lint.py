"""What is allowed but probably not meant, seen across documents; single documents are checked by their rooms.

Rule: cost grows with the number of documents, not with its square; 10,000 policies are a normal bundle.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec.structs import replace

from extauthz.bundle.compile import Compiled
from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.emergency_lint import lint_emergencies
from extauthz.bundle.finding import Finding
from extauthz.bundle.guard_lint import lint_guards
from extauthz.bundle.routes import Cover, Route, policy_paths, routes_of
from extauthz.model.problems import Location
from extauthz.policy import AccessPolicySpec
from extauthz.policy.reach.patterns import hosts_meet, path_within
from extauthz.snapshot import Profile


def lint(documents: Documents, compiled: Compiled) -> list[Finding]:
    """Warnings about documents that have no errors of their own, and what is wrong between them."""
    return [
        *_hidden_routes(documents, compiled.profiles),
        *_uncovered_policies(documents, compiled.profiles),
        *_unused_issuers(documents),
        *_missing_registry(documents),
        *lint_guards(documents, compiled),
        *lint_emergencies(documents, compiled.profiles),
    ]


def same_routes(documents: Documents, profiles: Iterable[Profile]) -> list[Finding]:
    """Errors: a route that two profiles claim; which of them applied would be chance."""
    trees = {document.name: document for document in documents.by_kind["SecurityProfile"]}
    findings = []
    first: dict[tuple[str, str, tuple[str, ...]], Route] = {}
    for route in routes_of(profiles):
        # Two spellings of one route: `{name}` covers what `*` covers.
        key = ("below" if route.host.kind == "capture" else route.host.kind, route.host.suffix, route.path.tokens)
        other = first.setdefault(key, route)
        if other is route:
            continue
        whose = "this profile" if other.profile == route.profile else f"profile `{other.profile}`"
        message = f"path `{route.path.text}` on host `{route.host.text}` is already a route of {whose}: remove one"
        findings.append(trees[route.profile].tree.error(route.location[1], message, "duplicate-route"))
    return findings


def _hidden_routes(documents: Documents, profiles: Iterable[Profile]) -> Iterator[Finding]:
    """Routes that no request reaches on some host, for another profile with a more specific host comes first."""
    trees = {document.name: document.tree for document in documents.by_kind["SecurityProfile"]}
    routes = sorted(routes_of(profiles), key=lambda route: route.host.specificity)
    by_host = [list(group) for _, group in groupby(routes, key=lambda route: route.host)]
    told: set[tuple[str, str]] = set()
    for index, wide in enumerate(by_host):
        if wide[0].host.kind == "exact":
            continue
        for narrow in by_host[:index]:
            if narrow[0].host.specificity >= wide[0].host.specificity or not hosts_meet(narrow[0].host, wide[0].host):
                continue
            for hidden, winner in _hidden(wide, narrow):
                if (hidden.profile, winner.profile) not in told:
                    told.add((hidden.profile, winner.profile))
                    yield trees[hidden.profile].warning(
                        hidden.location[1], _hidden_message(hidden, winner), "hidden-route"
                    )


def _hidden_message(hidden: Route, winner: Route) -> str:
    host = winner.host.text
    return (
        f"on host `{host}` profile `{winner.profile}` comes first with `{winner.path.text}`, so `{hidden.path.text}` "
        f"of this profile does not apply there: add `{host}` to its hosts if it should"
    )


def _hidden(wide: list[Route], narrow: list[Route]) -> Iterator[tuple[Route, Route]]:
    for hidden in wide:
        for winner in narrow:
            if (
                winner.profile != hidden.profile
                and hidden.path.specificity < winner.path.specificity
                and path_within(hidden.path, winner.path)
            ):
                yield hidden, winner


def _uncovered_policies(documents: Documents, profiles: tuple[Profile, ...]) -> Iterator[Finding]:
    """Paths and hosts of policies under no profile: without one a request is refused before any policy."""
    if not profiles:
        return
    cover = Cover(profiles)
    # What a deny rule covers in any case may come under a profile that is written in another.
    any_case = Cover(replace(each, paths=tuple(path.folded() for path in each.paths)) for each in profiles)
    for document in documents.by_kind["AccessPolicy"]:
        spec: AccessPolicySpec = document.spec
        hosts = spec.match.hosts or ("*",)
        for index, host in enumerate(hosts):
            if not cover.meets((host,), "/**"):
                message = f"no SecurityProfile covers `{host}`, so every such request is refused before this policy"
                yield document.tree.warning(("spec", "match", "hosts", index), message, "uncovered-path")
        if not cover.meets(hosts, "/**"):
            continue
        for location, path in policy_paths(spec):
            met = cover.meets(hosts, path) or (spec.effect == "deny" and any_case.meets(hosts, path.casefold()))
            if not met:
                message = (
                    f"no SecurityProfile covers `{path}`{_on(hosts)}, so every such request is refused before this rule"
                )
                yield document.tree.warning(location, message, "uncovered-path")


def _on(hosts: tuple[str, ...]) -> str:
    return "" if hosts == ("*",) else " on " + ", ".join(f"`{host}`" for host in hosts)


def _unused_issuers(documents: Documents) -> Iterator[Finding]:
    used = {name for document in documents.by_kind["SecurityProfile"] for name in document.spec.authentication.issuers}
    for document in documents.by_kind["Issuer"]:
        if document.name not in used:
            message = f"no SecurityProfile accepts tokens of `{document.name}`: name it in `authentication.issuers`"
            yield document.tree.warning(("metadata", "name"), message, "unused-issuer")


def _missing_registry(documents: Documents) -> Iterator[Finding]:
    """Policies that name tenants although nobody says which tenants exist; told once."""
    if documents.one("Tenancy") is not None:
        return
    named = [(document, place) for document in documents.by_kind["AccessPolicy"] if (place := _names_tenant(document))]
    if named:
        document, location = named[0]
        others = f", and in {len(named) - 1} other policies" if len(named) > 1 else ""
        message = f"a tenant is named here{others}, but no `kind: Tenancy` says who the tenants are"
        yield document.tree.warning(location, message, "missing-registry")


def _names_tenant(document: Document) -> Location:
    spec: AccessPolicySpec = document.spec
    if spec.tenant:
        return ("spec", "tenant")
    for number, rule in enumerate(spec.rules):
        for index, source in enumerate(rule.from_ or ()):
            for field, value in (("tenants", source.tenants), ("notTenants", source.not_tenants)):
                if value:
                    return ("spec", "rules", number, "from", index, field)
    return ()
