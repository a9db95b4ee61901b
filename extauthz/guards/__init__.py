"""What every request must satisfy before a policy is asked, and what no policy can lift."""

from extauthz.guards.break_glass import (
    BreakGlassSpec,
    Glass,
    GlassRouteSpec,
    GlassSubjectSpec,
    check_subjects,
    compile_routes,
)
from extauthz.guards.ecosystems import CHECKS, VERSIONS, HeaderRuleSpec
from extauthz.guards.emergency import (
    NOTHING_LISTED,
    AsListed,
    Emergencies,
    Listed,
    Orders,
    Summary,
    in_force,
    listed,
    opened_by,
)
from extauthz.guards.entries import NEVER, SELECTORS, Entry, Frozen, Selector, wrong_with
from extauthz.guards.fapi import FINANCIAL_ID_FORM_NAME, FapiHeaders, FapiSpec, HeaderRule, compile_fapi
from extauthz.guards.financial_id import FinancialIdSpec
from extauthz.guards.frozen_routes import RouteSpec, compile_route
from extauthz.guards.refusal import Refusal
from extauthz.guards.revocation import NO_REVOCATIONS, RevocationList
from extauthz.guards.sender import Constraint, SenderConstraint, compile_sender
from extauthz.guards.step_up import StepUp, StepUpRuleSpec, StepUpSpec, compile_step_up
from extauthz.guards.tenancy import (
    ProfileTenancySpec,
    Resolved,
    Spots,
    TenancyGuard,
    TenantSourceSpec,
    compile_tenancy,
)
from extauthz.guards.tenants import CrossTenantSpec, TenancySpec, Tenant, TenantRegistry, compile_registry

__all__ = [
    "CHECKS",
    "FINANCIAL_ID_FORM_NAME",
    "NEVER",
    "NOTHING_LISTED",
    "NO_REVOCATIONS",
    "SELECTORS",
    "VERSIONS",
    "AsListed",
    "BreakGlassSpec",
    "Constraint",
    "CrossTenantSpec",
    "Emergencies",
    "Entry",
    "FapiHeaders",
    "FapiSpec",
    "FinancialIdSpec",
    "Frozen",
    "Glass",
    "GlassRouteSpec",
    "GlassSubjectSpec",
    "HeaderRule",
    "HeaderRuleSpec",
    "Listed",
    "Orders",
    "ProfileTenancySpec",
    "Refusal",
    "Resolved",
    "RevocationList",
    "RouteSpec",
    "Selector",
    "SenderConstraint",
    "Spots",
    "StepUp",
    "StepUpRuleSpec",
    "StepUpSpec",
    "Summary",
    "TenancyGuard",
    "TenancySpec",
    "Tenant",
    "TenantRegistry",
    "TenantSourceSpec",
    "check_subjects",
    "compile_fapi",
    "compile_registry",
    "compile_route",
    "compile_routes",
    "compile_sender",
    "compile_step_up",
    "compile_tenancy",
    "in_force",
    "listed",
    "opened_by",
    "wrong_with",
]
