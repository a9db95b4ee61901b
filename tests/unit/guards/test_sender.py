"""Tokens bound to a key."""

import pytest

from extauthz.guards import refuse_bound_token
from extauthz.model.reasons import Reason
from extauthz.model.subject import ANONYMOUS, Subject


@pytest.mark.parametrize(
    ("members", "check"),
    [
        (("jkt",), "DP-01"),
        (("x5t#S256",), "MTLS-10"),
        (("jkt", "x5t#S256"), "DP-01"),
        (("kid",), "MTLS-10"),
        (("",), "MTLS-10"),
    ],
)
def test_dp_01_mtls_10_a_bound_token_is_never_taken_for_a_bearer_token(members: tuple[str, ...], check: str) -> None:
    refusal = refuse_bound_token(Subject(issuer="https://idp.test", id="u", confirmation=members))
    assert (Reason.TOKEN_BINDING_UNVERIFIED, check) == (refusal.reason, refusal.check)
    assert refusal.reason.status == 401


def test_a_bearer_token_and_no_token_pass() -> None:
    assert refuse_bound_token(Subject(issuer="https://idp.test", id="u")) is None
    assert refuse_bound_token(ANONYMOUS) is None
