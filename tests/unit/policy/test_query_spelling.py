"""T-38: a query parameter that a rule sets or removes reaches the upstream in no spelling that the client chose.

Envoy replaces and removes parameters by their undecoded name, so any other spelling of it would stay beside ours.
"""

import pytest

from extauthz.model.reasons import Reason
from extauthz.policy.query import read_query
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


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ()),
        ("amount=5", ("5",)),
        ("amount", ("",)),
        ("%61mount=5&x=1&X=2", ("5",)),
        ("amounts=5", ()),
        ("the.amount=5", ()),
        ("AMOUNT=5", None),
        ("amount=5&amount=5", None),
        ("amount[]=5", None),
        ("amount%5Bx%5D=5", None),
        ("amount+[x]=5", None),
        ("+amount=5", None),
        ("amount%E3%80%80=5", None),
        ("amount=5&%01=1", None),
        ("amount=5&a%E2%80%A8=1", None),
        ("amount=%01", ("\x01",)),
    ],
)
def test_t07_a_parameter_is_read_in_its_own_spelling_or_not_at_all(query: str, found: tuple[str, ...] | None) -> None:
    read = read_query(query)
    assert found == (read.find("amount") if read else None)


@pytest.mark.parametrize(
    ("name", "query", "found"),
    [
        ("filter[owner]", "filter[owner]=a&filter[size]=5", ("a",)),
        ("filter[owner]", "filter[size]=5", ()),
        ("filter[owner]", "filter[Owner]=a", None),
        ("filter[owner]", "filter[owner]=a&filter[owner][]=b", None),
        ("filter", "filter[owner]=a", None),
        ("user_id", "user.id=5", None),
        ("user_id", "user+id=5", None),
        ("tier", "t%C4%B1er=1", None),
        ("Tenant", "Tenant=a", ("a",)),
        ("Tenant", "tenant=a", None),
    ],
)
def test_t07_names_with_brackets_dots_and_capitals(name: str, query: str, found: tuple[str, ...] | None) -> None:
    read = read_query(query)
    assert read is not None
    assert found == read.find(name)


@pytest.mark.parametrize("path", ["/x?tenant%01=evil", "/x?a%7f=1", "/x?ten%0aant=1"])
def test_t38_control_characters_in_names_leave_nothing_that_a_rule_could_govern(path: str) -> None:
    made = rule("allow", "{obligations: {setQuery: {tenant: subject.tenant}}}")
    assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(path=path)).reason


def test_t07_a_query_as_a_whole_is_read_only_if_no_two_names_may_be_one() -> None:
    made = rule("allow", "{condition: 'request.query.size() < 9'}")
    assert Reason.POLICY_ALLOWED is verdict(made, a_request(path="/x?a=1&B=2&c[x]=1")).reason
    assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(path="/x?a=1&A=2")).reason
    assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(path="/x?c=1&c[x]=1")).reason
