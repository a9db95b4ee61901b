"""Whose Checks are waiting: known after a verification, bounded, and never the credential itself."""

import pytest

from extauthz.callers import Callers
from extauthz.wire.twin import Check, build_check


def check(token: str) -> bytes:
    return build_check(Check(host="a.test", path="/a", headers=(("authorization", f"Bearer {token}"),)))


def test_a_credential_that_was_verified_is_its_tenants() -> None:
    callers = Callers(100)
    callers.remember(check("good"), "acme")
    assert ["acme", None] == [callers.whose(check("good")), callers.whose(check("forged"))]


def test_a_stranger_is_who_has_a_credential_that_nobody_verified() -> None:
    callers = Callers(100)
    callers.remember(check("good"), "")
    nobody = build_check(Check(host="a.test", path="/a"))
    assert [False, True, False] == [callers.needs_verifying(raw) for raw in (check("good"), check("forged"), nobody)]


@pytest.mark.parametrize("name", ["dpop", "signature-input"])
@pytest.mark.parametrize("listed", [True, False])
def test_who_signs_each_request_has_to_be_verified_each_time(name: str, *, listed: bool) -> None:
    callers = Callers(100)
    callers.remember(check("good"), "acme")
    headers = (("authorization", "Bearer good"), (name, "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.c2ln"))
    raw = build_check(Check(host="a.test", path="/a", headers=headers, raw_headers=listed))
    assert ("acme", True) == (callers.whose(raw), callers.needs_verifying(raw))


def test_only_so_many_are_remembered_the_oldest_go_first() -> None:
    callers = Callers(entries=18)
    for number in range(25):
        callers.remember(check(f"t{number}"), "acme")
    assert (None, "acme") == (callers.whose(check("t4")), callers.whose(check("t24")))
    assert "acme" == callers.whose(check("t12"))


def test_who_still_comes_is_not_forgotten_whoever_else_is_verified() -> None:
    """A token in the cache is not verified again: once forgotten, its caller would be a stranger as long as it lasts."""
    callers = Callers(entries=18)
    callers.remember(check("constant"), "acme")
    for number in range(100):
        callers.remember(check(f"t{number}"), "other")
        callers.keep(check("constant"), "acme")
    assert ("acme", False) == (callers.whose(check("constant")), callers.needs_verifying(check("constant")))
