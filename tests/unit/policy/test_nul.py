"""T-53, T-65: CEL's Python binding ends a text at a NUL, so `admin\\0x` would equal `admin`. No such text gets there."""

from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.model.request import Peer
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, rule, verdict

CLAIMS = b'{"role":"admin\\u0000x","list":["admin\\u0000x"],"deep":{"a":["admin\\u0000"]},"admin\\u0000x":"a","plain":"admin"}'
PATH = "/x?role=admin%00x&admin%00=1"
SUBJECT = replace(
    ALICE, id="admin\0x", client="admin\0", tenant="admin\0x", roles=("admin\0x",), scopes=("admin\0",), claims=CLAIMS
)


@pytest.mark.parametrize(
    "condition",
    [
        "subject.id == 'admin'",
        "subject.client == 'admin'",
        "subject.tenant == 'admin'",
        "'admin' in subject.roles",
        "'admin' in subject.scopes",
        "subject.claims.role == 'admin'",
        "'admin' in subject.claims.list",
        "subject.claims.deep.a[0] == 'admin'",
        "subject.claims.exists(name, name == 'admin')",
        "request.query.role == 'admin'",
        "request.query.admin == '1'",
        "source.principal == 'admin'",
        "request.headers['x-role'] == 'admin'",
        "resource.tenant == 'admin'",
        "data.known[subject.id] == true",
    ],
)
def test_a_text_with_a_nul_is_an_error_and_never_the_part_in_front(condition: str) -> None:
    request = a_request(path=PATH, headers=[("x-role", "admin\0x")], source=Peer(principal="admin\0x"))
    for effect, reason in (("allow", Reason.NO_POLICY_MATCHED), ("deny", Reason.CONDITION_ERROR)):
        made = rule(effect, f'{{condition: "{condition}"}}', data={"known": {"admin": True}})
        found = verdict(made, request, SUBJECT, tenant="admin\0x")
        assert (reason, ("tried/rule-0",)) == (found.reason, found.condition_errors)


def test_claims_beside_it_can_be_read() -> None:
    made = rule("allow", "{condition: \"subject.claims.plain == 'admin'\"}")
    assert Reason.POLICY_ALLOWED is verdict(made, a_request(path=PATH), SUBJECT).reason


@pytest.mark.parametrize(("effect", "reason"), [("allow", "NO_POLICY_MATCHED"), ("deny", "CONDITION_ERROR")])
def test_a_query_with_a_nul_has_no_reading(effect: str, reason: Any) -> None:
    made = rule(effect, "{when: [{key: 'request.query[a]', values: [b]}]}")
    assert Reason[reason] is verdict(made, a_request(path="/x?a=b&c=%00")).reason
