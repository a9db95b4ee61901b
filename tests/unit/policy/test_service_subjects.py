"""Rules about callers, when the caller is a service in its own name: it has no token, and no rule takes it for one."""

import pytest

from extauthz.model.reasons import Reason
from extauthz.model.request import Peer
from extauthz.model.subject import SERVICE, Subject
from tests.fakes import a_request
from tests.unit.policy.bench import allows, policy_set, rule

BATCH = "spiffe://cluster.local/ns/acme/sa/batch"
SUBJECT = Subject("spiffe://cluster.local", BATCH, SERVICE, tenant="acme")
ASKED = a_request(path="/api/jobs", source=Peer(principal=BATCH))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{issuers: [service]}", True),
        ("{issuers: [service], tenants: [acme]}", True),
        ("{issuers: [service], principals: [cluster.local/ns/acme/sa/batch]}", True),
        ("{principals: [cluster.local/ns/acme/*]}", True),
        ("{issuers: [keycloak]}", False),
        ("{issuers: [service], principals: [cluster.local/ns/acme/sa/other]}", False),
        ("{issuers: [service], tenants: [globex]}", False),
        ("{issuers: [service], notIssuers: [service]}", False),
        ("{requestPrincipals: ['*']}", False),
        (f"{{requestPrincipals: ['spiffe://cluster.local/{BATCH}']}}", False),
        ("{clients: ['*']}", False),
        (f"{{clients: ['{BATCH}']}}", False),
        ("{roles: ['*']}", False),
        ("{scopes: ['*']}", False),
        ("{actors: ['*']}", False),
    ],
)
def test_si_01_a_service_is_neither_a_client_nor_the_subject_of_a_token(source: str, expected: bool) -> None:
    assert expected == allows(rule("allow", f"{{from: [{source}]}}"), ASKED, subject=SUBJECT)


def test_si_01_a_service_is_never_told_that_its_token_lacks_a_scope() -> None:
    policies = policy_set("effect: allow\nrules: [{from: [{issuers: [service], scopes: [jobs]}]}]")

    assert Reason.NO_POLICY_MATCHED is policies.evaluate(ASKED, SUBJECT, "acme", 0).reason


def test_si_01_conditions_see_who_it_is() -> None:
    condition = f"subject.authenticated && subject.id == '{BATCH}' && subject.issuer == 'spiffe://cluster.local'"

    assert allows(rule("allow", f'{{condition: "{condition}"}}'), ASKED, subject=SUBJECT)
