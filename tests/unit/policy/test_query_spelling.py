"""T-38: a query parameter that a rule sets or removes reaches the upstream in no spelling that the client chose.

Envoy replaces and removes parameters by their undecoded name, so any other spelling of it would stay beside ours.
"""

import pytest

from extauthz.model.reasons import Reason
from tests.fakes import a_request
from tests.unit.policy.bench import rule, verdict

PATHS = [
    "/x?%74enant=evil",
    "/x?tenan%74=evil",
    "/x?%54ENANT=evil",
    "/x?Tenant=evil",
    "/x?a=1&%74enant",
    "/x?tenant=a&%74enant=evil",
    "/x?+tenant=evil",
    "/x?tenant+=evil",
    "/x?tenant%00=evil",
    "/x?tenant%5B%5D=evil",
    "/x?tenant[0]=evil",
    "/x?a=1;tenant=evil",
    "/x?a=%zz&tenant=1",
    "/x?%ff=1",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("obligations", ["{setQuery: {tenant: subject.tenant}}", "{removeQuery: [tenant]}"])
def test_t38_another_spelling_of_the_parameter_makes_the_rule_not_match(path: str, obligations: str) -> None:
    found = verdict(rule("allow", f"{{name: r, obligations: {obligations}}}"), a_request(path=path))
    assert (Reason.NO_POLICY_MATCHED, ("tried/r",)) == (found.reason, found.condition_errors)


@pytest.mark.parametrize(
    "path",
    ["/x", "/x?", "/x?tenant=evil", "/x?tenant=1&tenant=2", "/x?tenant", "/x?tenants=1&a%20b=2", "/x?a=%74enant"],
)
def test_the_spelling_that_envoy_replaces_may_come_as_often_as_it_likes(path: str) -> None:
    found = verdict(rule("allow", "{obligations: {setQuery: {tenant: subject.tenant}}}"), a_request(path=path))
    assert (Reason.POLICY_ALLOWED, (("tenant", "acme"),)) == (found.reason, found.obligations.set_query)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/x?filter%5Bowner%5D=evil", Reason.POLICY_ALLOWED),  # as the answer spells it
        ("/x?filter[owner]=evil", Reason.NO_POLICY_MATCHED),
        ("/x?filter%5bowner%5d=evil", Reason.NO_POLICY_MATCHED),
        ("/x?filter[name]=x", Reason.POLICY_ALLOWED),
    ],
)
def test_brackets_have_one_spelling_too(path: str, reason: Reason) -> None:
    made = rule("allow", "{obligations: {setQuery: {'filter[owner]': subject.id}}}")
    assert reason is verdict(made, a_request(path=path)).reason


def test_both_cases_of_a_name_can_be_named() -> None:
    made = rule("allow", "{obligations: {setQuery: {tenant: subject.tenant}, removeQuery: [Tenant]}}")
    assert Reason.POLICY_ALLOWED is verdict(made, a_request(path="/x?Tenant=evil")).reason
    assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(path="/x?TENANT=evil")).reason


@pytest.mark.parametrize("name", ["t%C4%B1er", "t%C4%B0er", "T%49ER"])
def test_an_i_without_its_dot_is_an_i_to_upstreams_that_ignore_case(name: str) -> None:
    made = rule("allow", "{obligations: {setQuery: {tier: \"'gold'\"}}}")
    assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(path=f"/x?{name}=evil")).reason


def test_rules_that_change_no_parameter_are_not_concerned() -> None:
    made = rule("allow", "{obligations: {metadata: {a: \"'b'\"}}}")
    assert Reason.POLICY_ALLOWED is verdict(made, a_request(path="/x?a=1;%74enant=2")).reason
