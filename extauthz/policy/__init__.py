"""What is allowed: AccessPolicy documents compiled to rules, indexed by route, decided without waiting."""

from extauthz.policy.closer import BranchTrace, Closer
from extauthz.policy.compile import PolicyMemory, compile_policies
from extauthz.policy.document import AccessPolicySpec, NamedPolicy, Names
from extauthz.policy.evaluate import PolicySet, PolicySummary, Shortlist, Verdict
from extauthz.policy.explain import PartTrace, RuleTrace

__all__ = [
    "AccessPolicySpec",
    "BranchTrace",
    "Closer",
    "NamedPolicy",
    "Names",
    "PartTrace",
    "PolicyMemory",
    "PolicySet",
    "PolicySummary",
    "RuleTrace",
    "Shortlist",
    "Verdict",
    "compile_policies",
]
