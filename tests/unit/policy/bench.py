"""How the tests of policies write them down: YAML as users write it, compiled without a bundle."""

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from extauthz.model.subject import ANONYMOUS, Subject
from extauthz.policy import AccessPolicySpec, NamedPolicy, Names, PolicySet, Verdict, compile_policies

NOW = 1_700_000_000
ALICE = Subject(
    issuer="https://idp.test",
    id="alice",
    issuer_name="keycloak",
    client="teller-app",
    tenant="acme",
    roles=("officer", "auditor"),
    scopes=("accounts:read", "openid"),
    actors=("portal-web", "gateway"),
    session="s-1",
    claims=b'{"sub":"alice","limit":500,"scope":"accounts:read openid","groups":["a","b"],"address":{"country":"DE"},'
    b'"aud":["bank","shop"],"vip":true}',
)


def policies(text: str) -> list[NamedPolicy]:
    """Documents of `name` and the fields of a spec."""
    documents = list(yaml.safe_load_all(text))
    return [
        NamedPolicy(document.pop("name", f"policy-{number}"), msgspec.convert(document, AccessPolicySpec))
        for number, document in enumerate(documents)
    ]


def compiled(
    text: str, *, names: Names | None = None, data: Mapping[str, Any] | None = None
) -> tuple[PolicySet, list[Problem]]:
    """The compiled set and every problem."""
    found = policies(text)
    problems: list[list[Problem]] = [[] for _ in found]
    made = compile_policies(found, names or Names(), data or {}, problems)
    return made, [problem for each in problems for problem in each]


def policy_set(text: str, *, data: Mapping[str, Any] | None = None) -> PolicySet:
    """The compiled set; it has no errors."""
    made, problems = compiled(text, data=data)
    assert [] == [problem for problem in problems if problem.severity == "error"]
    return made


def rule(effect: str, body: str, *, data: Mapping[str, Any] | None = None) -> PolicySet:
    """One policy with one rule. For a deny there is also a policy that allows everything."""
    text = f"name: tried\neffect: {effect}\nrules: [{body}]"
    return policy_set(text if effect == "allow" else f"{text}\n---\nname: all\neffect: allow\nrules: [{{}}]", data=data)


def verdict(made: PolicySet, request: Any, subject: Subject = ALICE, *, tenant: str = "", now: int = NOW) -> Verdict:
    return made.evaluate(request, subject, tenant, now)


def allows(made: PolicySet, request: Any, subject: Subject = ALICE, *, tenant: str = "") -> bool:
    return verdict(made, request, subject, tenant=tenant).reason is Reason.POLICY_ALLOWED


def messages(problems: list[Problem], severity: str = "error") -> list[str]:
    """`place: message`, as lint prints it without file and line."""
    return [
        f"{'.'.join(map(str, problem.location))}: {problem.message}"
        for problem in problems
        if problem.severity == severity
    ]


__all__ = ["ALICE", "ANONYMOUS", "NOW", "allows", "compiled", "messages", "policies", "policy_set", "rule", "verdict"]
