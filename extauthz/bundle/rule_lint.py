"""Rules that never decide, and rules that let too many in, seen together with the profiles above them.

Rule 1: warnings alone, and only what holds for every request: silence says nothing.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from extauthz.bundle.above import Above, vouching
from extauthz.bundle.compile import Compiled
from extauthz.bundle.documents import Documents
from extauthz.bundle.finding import Finding
from extauthz.model.problems import Problem
from extauthz.policy import NamedPolicy
from extauthz.policy.reach.boxes import Box, Span
from extauthz.policy.reach.examine import Examined
from extauthz.policy.reach.formula import Condition
from extauthz.snapshot import Profile

# What a condition reads that keeps a caller to the own tenant or to the own things.
_OWN: Final = frozenset({"subject.tenant", "resource.tenant", "subject.id"})


def lint_rules(documents: Documents, compiled: Compiled, examined: Examined) -> Iterator[Finding]:
    """Warnings about rules; the documents have no errors."""
    policies = documents.by_kind["AccessPolicy"]
    above = Above(compiled.profiles)
    for index, problem in examined.problems(partial(outside, above)):
        yield policies[index].tree.finding(problem)
    if len(compiled.tenants):
        grants = {
            role for document in documents.by_kind["Tenancy"] for g in document.spec.cross_tenant for role in g.roles
        }
        for span in examined.spans:
            broad = _too_broad(span, above, examined.conditions.get(span.condition), grants)
            if broad is not None:
                yield policies[span.document].tree.finding(broad)


def examine(documents: Documents) -> Examined:
    """The rules of all policies, taken apart."""
    policies = [NamedPolicy(document.name, document.spec) for document in documents.by_kind["AccessPolicy"]]
    return Examined(policies, documents.data)


def outside(above: Above, span: Span, box: Box) -> str:
    """Why the profiles let nobody through whom the box names; "" when they may."""
    if span.decides_connections or span.effect == "deny":
        return ""  # deny rules cover paths in any case, so that other profiles may be above
    profiles = above.of_box(box)
    if not profiles:
        return ""  # told where the paths are written
    known = [profile for profile in profiles if profile.authentication.mode != "none"]
    names = _listed(profile.name for profile in profiles)
    if not known and box.needs_caller:
        return f"it asks who calls, but {names} identifies nobody (`mode: none`)"
    if not known and box.tenant:
        return f"it is about tenant `{box.tenant}`, but under {names} no request has a tenant (`mode: none`)"
    for texts in box.texts:
        if texts.attribute == "issuers" and texts.exact and texts.patterns.isdisjoint(vouching(known)):
            wanted = _quoted(texts.patterns)
            return f"{names} accepts no token of {wanted}"
    return ""


def _too_broad(span: Span, above: Above, condition: Condition | None, grants: set[str]) -> Problem | None:
    """An allow that nothing keeps to one tenant, under a profile that does not either."""
    if span.effect != "allow" or span.mode != "enforce" or (condition is not None and condition.names & _OWN):
        return None
    for box in span.boxes:
        if _names_tenant(box, grants):
            continue
        for profile in above.of_box(box):
            if profile.tenancy is None and _states_tenants(profile):
                message = (
                    f"allows callers of every tenant alike: profile `{profile.name}` has no `tenancy`, add it there, "
                    "or name `tenants` or the roles of a `crossTenant` grant in `from`"
                )
                return Problem(("spec", "rules", span.position), message, "warning", "broader-than-tenant")
    return None


def _names_tenant(box: Box, grants: set[str]) -> bool:
    if box.tenant:
        return True
    return any(
        not texts.negative
        and (
            (texts.attribute == "tenants" and "*" not in texts.patterns)
            or (texts.attribute == "roles" and texts.patterns <= grants)
        )
        for texts in box.texts
    )


def _states_tenants(profile: Profile) -> bool:
    """Whether callers under the profile can belong to a tenant."""
    authentication = profile.authentication
    service = authentication.service
    return any(issuer.claims.tenant for issuer in authentication.issuers) or (
        service is not None and bool(service.tenants)
    )


def _listed(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    return f"profile {_quoted(unique)}" if len(unique) == 1 else f"each of the profiles {_quoted(unique)}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
