"""The AccessPolicies of a bundle, compiled with what the rest of it says: who there is, and what guards read."""

from collections.abc import Iterable

from extauthz.bundle.documents import Documents
from extauthz.bundle.finding import Finding
from extauthz.guards import TenantRegistry
from extauthz.model.letting_go import let_go
from extauthz.model.problems import Problem
from extauthz.model.subject import SERVICE
from extauthz.policy import NamedPolicy, Names, PolicyMemory, PolicySet, compile_policies
from extauthz.snapshot import Profile


def compile_all(
    documents: Documents,
    tenants: TenantRegistry,
    profiles: Iterable[Profile],
    findings: list[Finding],
    memory: PolicyMemory,
) -> PolicySet:
    """Compile and lint every policy that is not known from the last time; what is wrong goes to `findings`."""
    policies = documents.by_kind["AccessPolicy"]
    named = [NamedPolicy(document.name, document.spec) for document in policies]
    problems: list[list[Problem]] = [[] for _ in named]
    names = known_names(documents, tenants)
    compiled = compile_policies(named, names, documents.data, problems, read_headers(profiles), memory)
    for document, found in zip(policies, problems, strict=True):
        findings += document.findings(found)
    let_go(named, problems)
    return compiled


def known_names(documents: Documents, tenants: TenantRegistry) -> Names:
    """The names that policies may refer to."""
    issuers = frozenset() if documents.unread else frozenset(documents.names["Issuer"])
    if issuers and any(
        profile.spec.authentication.service.mode == "instead" for profile in documents.by_kind["SecurityProfile"]
    ):
        issuers |= {SERVICE}
    return Names(tenants=frozenset(tenants), issuers=issuers)


def read_headers(profiles: Iterable[Profile]) -> frozenset[str]:
    """The headers by which guards decide."""
    guards = [guard for profile in profiles for guard in (profile.fapi, profile.tenancy) if guard is not None]
    return frozenset[str]().union(*(guard.read_headers for guard in guards))
