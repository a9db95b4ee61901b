"""What is allowed: AccessPolicy documents compiled to rules, indexed by route, decided without waiting."""

from extauthz.policy.closer import BranchTrace, Closer
from extauthz.policy.compile import PolicyMemory, compile_policies
from extauthz.policy.condition import Program
from extauthz.policy.document import AccessPolicySpec, NamedPolicy, Names
from extauthz.policy.evaluate import PolicySet, PolicySummary, Shortlist, Verdict
from extauthz.policy.explain import PartTrace, RuleTrace
from extauthz.policy.rule import Candidate, Rule

__all__ = [
    "AccessPolicySpec",
    "BranchTrace",
    "Candidate",
    "Closer",
    "NamedPolicy",
    "Names",
    "PartTrace",
    "PolicyMemory",
    "PolicySet",
    "PolicySummary",
    "Program",
    "Rule",
    "RuleTrace",
    "Shortlist",
    "Verdict",
    "compile_policies",
]
