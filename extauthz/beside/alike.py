"""Whether the same guards a request in both bundles, so that whoever passed the one passes the other.

Rule: what is not the same by value counts as another; then the candidate is asked from the beginning. Nothing is
compared that grows with a bundle's data: of a registry, only the tenant that the request is about.
"""

from collections.abc import Container
from typing import Final

from extauthz.guards import TenancyGuard
from extauthz.identity import NOTHING_SIGNED, Authentication
from extauthz.model.decision import Evidence
from extauthz.model.reasons import Reason
from extauthz.snapshot import Profile, Snapshot

# Decided by policies: all guards had let the request through. No guard refuses with one of these.
BY_POLICIES: Final = frozenset(
    {
        Reason.POLICY_ALLOWED,
        Reason.POLICY_DENIED,
        Reason.CONDITION_ERROR,
        Reason.SCOPE_INSUFFICIENT,
        Reason.NO_POLICY_MATCHED,
    }
)


def guard_alike(live: Profile, candidate: Profile, same: Container[str]) -> bool:
    """Whether two profiles ask the same of a request; `same` are the issuers that both bundles have alike, keys too.

    What they are called and which routes they cover makes no difference, and neither does which tenants there are.
    """
    return (
        live.fapi == candidate.fapi
        and live.step_up == candidate.step_up
        and live.sender == candidate.sender
        and live.possession == candidate.possession
        and live.signing is NOTHING_SIGNED
        and candidate.signing is NOTHING_SIGNED
        and _authenticate_alike(live.authentication, candidate.authentication, same)
        and _tell_tenants_alike(live.tenancy, candidate.tenancy)
    )


def know_tenant_alike(live: Snapshot, candidate: Snapshot, profile: Profile, evidence: Evidence) -> bool:
    """Whether what the live bundle found out about the resource's tenant holds for the candidate; `profile` is its."""
    tenant = evidence.tenant
    if live.tenants.get(tenant) != candidate.tenants.get(tenant):
        return False
    return profile.tenancy is not None or candidate.tenants.own(evidence.subject.tenant) == tenant


def _authenticate_alike(live: Authentication, candidate: Authentication, same: Container[str]) -> bool:
    if live.introspecting is not None or candidate.introspecting is not None:
        return False  # what an issuer said is as old as it is
    names = [issuer.name for issuer in live.issuers]
    return (
        names == [issuer.name for issuer in candidate.issuers]
        and all(name in same for name in names)
        and live.mode == candidate.mode
        and live.refuse_form_body == candidate.refuse_form_body
        and live.service == candidate.service
    )


def _tell_tenants_alike(live: TenancyGuard | None, candidate: TenancyGuard | None) -> bool:
    if live is None or candidate is None:
        return live is candidate
    return (
        live.paths == candidate.paths
        and live.hosts == candidate.hosts
        and live.headers == candidate.headers
        and live.deny_when_absent == candidate.deny_when_absent
        and live.grants == candidate.grants
    )
