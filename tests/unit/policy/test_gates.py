"""Rules that name their callers exactly are visited only for callers who have one of those names."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer
from extauthz.model.subject import ANONYMOUS, Subject
from extauthz.policy import AccessPolicySpec, NamedPolicy, Names, PolicySet, compile_policies, gates
from extauthz.policy.asked import Asked, asked_of_connection
from extauthz.policy.evaluate import _decide, _try
from extauthz.policy.gates import MAX_KEYS, caller, everybody
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW, policy_set, verdict
from tests.unit.policy.test_equivalence import REQUESTS, SPECS, SUBJECTS, TENANTS

BOB = replace(ALICE, id="bob", client="other-app", tenant="globex", roles=("clerk",))
FRONT = Peer(principal="spiffe://td/ns/a/sa/front")


@pytest.fixture(scope="module", autouse=True)
def _gates_everywhere() -> Iterator[None]:
    """Also where there are few rules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "FEW", 0)
        yield


def visited(body: str, subject: Subject = ALICE, peer: Peer = FRONT, *, effect: str = "allow") -> int:
    """How many of three rules with the same route are tried, two of which name nobody."""
    made = policy_set(f"{{effect: {effect}, rules: [{body}, {{name: b}}, {{name: c, from: [{{roles: ['*']}}]}}]}}")
    request = a_request(source=peer)
    return len(made._routes.candidates("", request.host, (), "GET", caller(Asked(request, subject, "", NOW))))


@pytest.mark.parametrize("effect", ["allow", "deny"])
@pytest.mark.parametrize(
    "sources",
    [
        "[{roles: [officer, nobody]}]",
        "[{tenants: [acme]}]",
        "[{clients: [teller-app]}]",
        "[{principals: [td/ns/a/sa/front]}]",
        "[{namespaces: [a]}]",
        "[{serviceAccounts: [a/front]}]",
        "[{requestPrincipals: ['https://idp.test/alice']}]",
        "[{issuers: [keycloak], roles: [officer]}]",
        "[{roles: [nobody]}, {tenants: [acme]}]",
        "[{roles: [officer], scopes: [payments]}]",
    ],
)
def test_a_rule_is_visited_for_the_callers_it_names_alone(sources: str, effect: str) -> None:
    body = f"{{name: a, from: {sources}}}"
    assert 3 == visited(body, effect=effect)
    assert 2 == visited(body, replace(BOB, issuer_name="okta"), Peer(), effect=effect)
    assert 2 == visited(body, ANONYMOUS, Peer(), effect=effect)


@pytest.mark.parametrize(
    "sources",
    [
        "[{roles: [officer, 'off*']}]",
        "[{roles: ['*']}]",
        "[{notRoles: [officer]}]",
        "[{scopes: [payments]}]",
        "[{ipBlocks: [10.0.0.0/8]}]",
        "[{roles: [officer]}, {ipBlocks: [10.0.0.0/8]}]",
        f"[{{roles: [{', '.join(f'r{number}' for number in range(MAX_KEYS + 1))}]}}]",
    ],
)
def test_a_rule_that_does_not_name_every_caller_exactly_is_always_visited(sources: str) -> None:
    assert 3 == visited(f"{{name: a, from: {sources}}}", BOB, Peer())


def test_of_several_names_the_rarest_leads_to_the_rule() -> None:
    rules = ", ".join(f"{{name: r{at}, from: [{{roles: [officer], clients: [app-{at}]}}]}}" for at in range(50))
    made = policy_set(f"{{effect: allow, rules: [{rules}]}}")
    request = a_request()
    asked = Asked(request, replace(ALICE, client="app-7"), "", NOW)
    assert [7] == made._routes.candidates("", request.host, (), "GET", caller(asked))


@pytest.mark.parametrize("others", [1, 20])
def test_a_few_rules_are_tried_and_many_looked_up(monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    monkeypatch.setattr(gates, "FEW", 4)
    rules = ", ".join(f"{{name: r{at}, from: [{{roles: [role-{at}]}}]}}" for at in range(others))
    made = policy_set(f"{{effect: allow, rules: [{rules}, {{name: all, to: [{{methods: ['*']}}]}}]}}")
    found = made._routes.candidates("", "any.test", (), "GET", caller(Asked(a_request(), ALICE, "", NOW)))
    assert ([0, 1] if others == 1 else [others]) == found


def test_explain_shows_rules_whose_callers_are_others() -> None:
    made = policy_set("{effect: allow, rules: [{from: [{roles: [nobody]}]}]}")
    (trace,) = made.explain(a_request(), ALICE, "", NOW)
    assert [("from[0].roles", "officer, auditor")] == [(part.field, part.seen) for part in trace.failed]


def test_a_scope_that_is_missing_is_still_told() -> None:
    made = policy_set("{effect: allow, rules: [{from: [{roles: [officer], scopes: [payments]}]}]}")
    found = verdict(made, a_request())
    assert (Reason.SCOPE_INSUFFICIENT, ("payments",)) == (found.reason, found.scopes)
    assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(), BOB).reason


def test_connections_lead_to_the_rules_that_name_the_peer() -> None:
    rules = ", ".join(f"{{from: [{{principals: [td/ns/a/sa/s{at}]}}], to: [{{ports: [443]}}]}}" for at in range(50))
    made = policy_set(f"{{effect: allow, rules: [{rules}]}}")
    connection = Connection(
        facts=Facts(), source=Peer(principal="spiffe://td/ns/a/sa/s9"), destination=Peer(port=443), sni=""
    )
    assert [9] == made._ports.candidates(443, caller(asked_of_connection(connection)))
    assert "rule-9" == made.evaluate_connection(connection).rule


def without_gates(made: PolicySet, request: Any, subject: Subject, tenant: str) -> Any:
    """The verdict with every rule of the route tried anew."""
    asked = Asked(request, subject, tenant, NOW)
    return _decide(_try(made._candidates(asked, lambda _: everybody), asked), asked, made._bare)


@st.composite
def documents_with_conditions(draw: Any) -> dict[str, Any]:
    document = draw(SPECS)
    for rule in document["rules"]:
        rule["condition"] = draw(st.sampled_from(["", "true", "false", "subject.claims.nothing == 1"]))
    return document  # type: ignore[no-any-return]


@settings(deadline=None, max_examples=100)
@given(
    documents=st.lists(documents_with_conditions(), min_size=1, max_size=8),
    questions=st.lists(st.tuples(REQUESTS, SUBJECTS, st.sampled_from(["", *TENANTS])), min_size=1, max_size=6),
)
def test_gates_change_nothing_of_a_verdict(documents: list[Any], questions: list[Any]) -> None:
    """Obligations, shadow matches, condition errors and missing scopes included."""
    policies = [NamedPolicy(f"p{at}", msgspec.convert(found, AccessPolicySpec)) for at, found in enumerate(documents)]
    made = compile_policies(policies, Names(), {}, [[] for _ in policies])
    for request, subject, tenant in questions:
        assert without_gates(made, request, subject, tenant) == made.evaluate(request, subject, tenant, NOW)
