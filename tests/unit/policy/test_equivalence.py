"""The index changes no verdict: `evaluate` equals an evaluator that reads the documents, tries all and knows no index.

The naive evaluator is written from the rules of the policy guide, not from the compiled form.
"""

from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model.paths import parse_pattern
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.model.subject import Subject
from extauthz.policy import AccessPolicySpec, NamedPolicy, Names, compile_policies, gates
from extauthz.policy.document import OperationSpec, RuleSpec, SourceSpec, rule_name
from tests.unit.policy.bench import NOW
from tests.unit.policy.generated import REQUESTS, SPECS, SUBJECTS, TENANTS

# --- the naive evaluator


def text_matches(pattern: str, value: str) -> bool:
    return bool(value) and fnmatchcase(value, pattern.replace("[", "[[]").replace("?", "[?]"))


def listed(patterns: Any, values: list[str]) -> bool:
    return any(text_matches(pattern, value) for pattern in patterns for value in values)


def path_matches(pattern: str, request: Request, *, any_case: bool) -> bool:
    parsed = parse_pattern(pattern)
    assert not isinstance(parsed, str)
    if any_case:
        return parsed.folded().match(tuple(segment.casefold() for segment in request.segments)) is not None
    return parsed.match(request.segments) is not None


def host_matches(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    head, _, rest = pattern.partition(".")
    if head == "*":
        return host.endswith("." + rest)
    if head.startswith("{"):
        return host.partition(".")[2] == rest
    return host == pattern


def in_blocks(blocks: Any, address: str) -> bool:
    return any(ip_address(address) in ip_network(block) for block in blocks)


def source_matches(source: SourceSpec, request: Request, subject: Subject) -> str:
    """yes, no, or scopes when only those are missing."""
    identity = [f"{subject.issuer}/{subject.id}"] if subject.issuer else []
    principal = request.source.principal
    attributes = {
        "roles": list(subject.roles),
        "tenants": [subject.tenant],
        "clients": [subject.client],
        "issuers": [subject.issuer_name],
        "request_principals": identity,
        "principals": [principal.removeprefix("spiffe://")],
    }
    for field, values in attributes.items():
        wanted, unwanted = getattr(source, field), getattr(source, f"not_{field}")
        if (wanted is not None and not listed(wanted, values)) or (unwanted is not None and listed(unwanted, values)):
            return "no"
    address = request.source.address
    if not ip_address_is(source, address):
        return "no"
    if source.not_scopes is not None and listed(source.not_scopes, list(subject.scopes)):
        return "no"
    if source.scopes is not None and not listed(source.scopes, list(subject.scopes)):
        return "scopes" if subject.issuer else "no"
    return "yes"


def ip_address_is(source: SourceSpec, address: str) -> bool:
    inside = source.ip_blocks is None or in_blocks(source.ip_blocks, address)
    return inside and not (source.not_ip_blocks is not None and in_blocks(source.not_ip_blocks, address))


def operation_matches(operation: OperationSpec, request: Request, *, deny: bool) -> bool:
    checks = [
        (operation.hosts, lambda p: text_matches(p.lower(), request.host), operation.not_hosts),
        (operation.methods, lambda p: text_matches(p, request.method), operation.not_methods),
    ]
    for wanted, matches, unwanted in checks:
        if (wanted is not None and not any(map(matches, wanted))) or (
            unwanted is not None and any(map(matches, unwanted))
        ):
            return False
    if operation.paths is not None and not any(path_matches(p, request, any_case=deny) for p in operation.paths):
        return False
    return operation.not_paths is None or not any(
        path_matches(p, request, any_case=not deny) for p in operation.not_paths
    )


def rule_matches(spec: AccessPolicySpec, rule: RuleSpec, request: Request, subject: Subject, tenant: str) -> str:
    deny = spec.effect == "deny"
    if spec.tenant and spec.tenant != tenant:
        return "no"
    if spec.match.hosts is not None and not any(host_matches(p, request.host) for p in spec.match.hosts):
        return "no"
    if spec.match.paths is not None and not any(path_matches(p, request, any_case=deny) for p in spec.match.paths):
        return "no"
    sources = [source_matches(s, request, subject) for s in rule.from_] if rule.from_ is not None else ["yes"]
    if rule.to is not None and not any(operation_matches(o, request, deny=deny) for o in rule.to):
        return "no"
    for when in rule.when or ():
        values = [subject.tenant]
        if (when.values and not listed(when.values, values)) or (when.not_values and listed(when.not_values, values)):
            return "no"
    return "yes" if "yes" in sources else "scopes" if "scopes" in sources and not deny else "no"


def naive(policies: list[NamedPolicy], request: Request, subject: Subject, tenant: str) -> tuple[Any, ...]:
    allowed, scopes, shadow = None, False, []
    denied = None
    for policy in sorted(policies, key=lambda policy: policy.name):
        results = [
            (rule_name(rule, at), rule_matches(policy.spec, rule, request, subject, tenant))
            for at, rule in enumerate(policy.spec.rules)
        ]
        matched = [name for name, result in results if result == "yes"]
        if policy.spec.mode == "shadow":
            shadow += [(policy.name, matched[0], policy.spec.effect)] if matched else []
        elif policy.spec.effect == "deny":
            denied = denied or ((policy.name, matched[0]) if matched else None)
        else:
            allowed = allowed or ((policy.name, matched[0]) if matched else None)
            scopes = scopes or any(result == "scopes" for _, result in results)
    if denied:
        return Reason.POLICY_DENIED, *denied, shadow
    if allowed:
        return Reason.POLICY_ALLOWED, *allowed, shadow
    return Reason.SCOPE_INSUFFICIENT if scopes else Reason.NO_POLICY_MATCHED, "", "", shadow


@settings(deadline=None, max_examples=100)
@given(
    documents=st.lists(SPECS, min_size=1, max_size=8),
    questions=st.lists(st.tuples(REQUESTS, SUBJECTS, st.sampled_from(["", *TENANTS])), min_size=1, max_size=6),
    few=st.sampled_from([0, 0, gates.FEW]),  # rules at one place above which callers are looked up
)
def test_evaluate_equals_a_naive_evaluator(documents: list[Any], questions: list[Any], few: int) -> None:
    policies = [
        NamedPolicy(f"p{9 - at}", msgspec.convert(found, AccessPolicySpec)) for at, found in enumerate(documents)
    ]
    problems: list[Any] = [[] for _ in policies]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "FEW", few)
        made = compile_policies(policies, Names(), {}, problems)
    assert [] == [problem for found in problems for problem in found if problem.severity == "error"]
    for request, subject, tenant in questions:
        found = made.evaluate(request, subject, tenant, NOW)
        shadow = [(match.policy, match.rule, match.effect) for match in found.shadow]
        assert naive(policies, request, subject, tenant) == (found.reason, found.policy, found.rule, shadow)


@settings(deadline=None, max_examples=20)
@given(documents=st.lists(SPECS, min_size=2, max_size=6), question=st.tuples(REQUESTS, SUBJECTS))
def test_the_order_of_documents_does_not_matter(documents: list[Any], question: Any) -> None:
    policies = [NamedPolicy(f"p{at}", msgspec.convert(found, AccessPolicySpec)) for at, found in enumerate(documents)]
    request, subject = question
    verdicts = [
        compile_policies(order, Names(), {}, [[] for _ in order]).evaluate(request, subject, "acme", NOW)
        for order in (policies, policies[::-1])
    ]
    assert verdicts[0] == verdicts[1]
