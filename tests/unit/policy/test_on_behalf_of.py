"""Policies require or forbid that somebody acts for the subject (RFC 8693 section 4.1)."""

import pytest
from msgspec.structs import replace

from extauthz.model.subject import Subject
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, ANONYMOUS, allows, rule, verdict

HERSELF = replace(ALICE, actors=())
BY_PORTAL = replace(ALICE, actors=("portal-web",))
BY_PORTAL_THROUGH_GATEWAY = replace(ALICE, actors=("portal-web", "gateway"))
BY_GATEWAY_THROUGH_PORTAL = replace(ALICE, actors=("gateway", "portal-web"))
EVERYBODY = [HERSELF, BY_PORTAL, BY_PORTAL_THROUGH_GATEWAY, BY_GATEWAY_THROUGH_PORTAL, ANONYMOUS]


@pytest.mark.parametrize(
    ("body", "matching"),
    [
        ("{from: [{actors: ['*']}]}", [BY_PORTAL, BY_PORTAL_THROUGH_GATEWAY, BY_GATEWAY_THROUGH_PORTAL]),
        ("{from: [{actors: [portal-*]}]}", [BY_PORTAL, BY_PORTAL_THROUGH_GATEWAY]),
        ("{from: [{actors: [gateway]}]}", [BY_GATEWAY_THROUGH_PORTAL]),
        ("{from: [{requestPrincipals: ['*'], notActors: ['*']}]}", [HERSELF]),
        ("{from: [{requestPrincipals: ['*'], notActors: [gateway]}]}", EVERYBODY[:3]),
        ("{when: [{key: subject.actors, values: [gateway]}]}", [BY_PORTAL_THROUGH_GATEWAY, BY_GATEWAY_THROUGH_PORTAL]),
        ("{when: [{key: subject.actors, notValues: [gateway]}]}", [HERSELF, BY_PORTAL, ANONYMOUS]),
        ("{condition: \"subject.actors.size() == 1 && subject.actors[0] == 'portal-web'\"}", [BY_PORTAL]),
        ("{condition: \"'gateway' in subject.actors\"}", [BY_PORTAL_THROUGH_GATEWAY, BY_GATEWAY_THROUGH_PORTAL]),
    ],
)
def test_actors_are_required_and_forbidden_alike_in_allow_and_deny(body: str, matching: list[Subject]) -> None:
    """`from` looks at who acts now, `when` and conditions at the whole chain."""
    for subject in EVERYBODY:
        expected = subject in matching
        assert expected == allows(rule("allow", body), a_request(), subject)
        assert expected != allows(rule("deny", body), a_request(), subject)


def test_an_empty_chain_read_by_position_decides_against_the_caller() -> None:
    text = "{condition: \"subject.actors[0] == 'portal-web'\"}"
    assert not allows(rule("allow", text), a_request(), HERSELF)
    assert "condition_error" == verdict(rule("deny", text), a_request(), HERSELF).reason.code


def test_explain_does_not_show_who_acts_in_full() -> None:
    """An actor may be a person, an agent of a help desk for one."""
    made = rule("allow", "{from: [{actors: [gateway]}]}")
    (trace,) = made.explain(a_request(), replace(ALICE, actors=("agent-mallory",)), "", 0)
    assert "mallory" not in str(trace)
