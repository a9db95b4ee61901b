"""What every request must satisfy before a policy is asked, and what no policy can lift."""

from extauthz.guards.ecosystems import HeaderRuleSpec
from extauthz.guards.fapi import FapiHeaders, FapiSpec, compile_fapi
from extauthz.guards.financial_id import FinancialIdSpec
from extauthz.guards.refusal import Refusal
from extauthz.guards.revocation import (
    NEVER,
    NO_REVOCATIONS,
    SELECTORS,
    Entry,
    RevocationList,
    Selector,
    refuse_revoked,
    wrong_with,
)
from extauthz.guards.sender import Constraint, SenderConstraint, compile_sender
from extauthz.guards.step_up import StepUp, StepUpRuleSpec, StepUpSpec, compile_step_up
from extauthz.guards.tenancy import (
    ProfileTenancySpec,
    Resolved,
    TenancyGuard,
    TenantSourceSpec,
    compile_tenancy,
)
from extauthz.guards.tenants import CrossTenantSpec, TenancySpec, Tenant, TenantRegistry, compile_registry

__all__ = [
    "NEVER",
    "NO_REVOCATIONS",
    "SELECTORS",
    "Constraint",
    "CrossTenantSpec",
    "Entry",
    "FapiHeaders",
    "FapiSpec",
    "FinancialIdSpec",
    "HeaderRuleSpec",
    "ProfileTenancySpec",
    "Refusal",
    "Resolved",
    "RevocationList",
    "Selector",
    "SenderConstraint",
    "StepUp",
    "StepUpRuleSpec",
    "StepUpSpec",
    "TenancyGuard",
    "TenancySpec",
    "Tenant",
    "TenantRegistry",
    "TenantSourceSpec",
    "compile_fapi",
    "compile_registry",
    "compile_sender",
    "compile_step_up",
    "compile_tenancy",
    "refuse_revoked",
    "wrong_with",
]
