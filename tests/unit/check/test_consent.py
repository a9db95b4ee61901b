"""What a token's consent covers, by the policy that docs/fapi.md shows: from the bytes of a Check to the answer."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Answer, Engine

PAGE = (Path(__file__).parents[3] / "docs" / "fapi.md").read_text(encoding="utf-8")
(POLICY,) = re.findall(r"```yaml\n(apiVersion[^`]*kind: AccessPolicy.*?)```", PAGE, re.DOTALL)
HOST = "api.bank.test"
REST = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec: {issuer: https://idp.bank.test, audiences: [bank], algorithms: [ES256]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.bank.test]}
  authentication: {mode: required, issuers: [bank]}
"""
GRANTED = {"type": "payment_initiation", "actions": ["initiate", "status"], "identifier": "p-1"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine({"all.yaml": f"{REST}---\n{POLICY}".encode()})


def ask(engine: Engine, method: str, path: str, scope: str, **claims: Any) -> Answer:
    now = int(time.time())
    usual = {"iss": "https://idp.bank.test", "aud": "bank", "sub": "u", "client_id": "c", "jti": "t", "scope": scope}
    token = engine.sign("bank", {**usual, "iat": now, "exp": now + 300, **claims}, {"typ": "at+jwt"})
    return engine.ask(path, method=method, host=HOST, token=token)


def test_jwt_18_a_consent_covers_its_own_resource(engine: Engine) -> None:
    assert ask(engine, "GET", "/open-banking/consents/c-1", "accounts", consent_id="c-1").allowed
    listed = ["acc-1", "acc-2"]
    assert ask(engine, "GET", "/open-banking/accounts/acc-2/balances", "accounts", accounts=listed).allowed
    details = [{"type": "account_information"}, {"type": "other", "actions": []}, GRANTED]
    assert ask(engine, "POST", "/open-banking/payments/p-1", "payments", authorization_details=details).allowed


@pytest.mark.parametrize(
    ("method", "path", "scope", "claims"),
    [
        ("GET", "/open-banking/consents/c-2", "accounts", {"consent_id": "c-1"}),
        ("GET", "/open-banking/consents/C-1", "accounts", {"consent_id": "c-1"}),
        ("GET", "/open-banking/consents/c-1", "accounts", {}),
        ("GET", "/open-banking/consents/c-1", "accounts", {"consent_id": ["c-1"]}),
        ("DELETE", "/open-banking/consents/c-1", "accounts", {"consent_id": "c-1"}),
        ("GET", "/open-banking/accounts/acc-3", "accounts", {"accounts": ["acc-1", "acc-2"]}),
        ("GET", "/open-banking/accounts/acc-1", "accounts", {"accounts": "acc-1 acc-2"}),
        ("GET", "/open-banking/accounts/acc-1", "accounts", {"accounts": []}),
        ("POST", "/open-banking/payments/p-2", "payments", {"authorization_details": [GRANTED]}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": []}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": GRANTED}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": "payment_initiation"}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": ["payment_initiation"]}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": [{**GRANTED, "actions": "x"}]}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": [{**GRANTED, "actions": []}]}),
        ("POST", "/open-banking/payments/p-1", "payments", {"authorization_details": [{**GRANTED, "type": "other"}]}),
        (
            "POST",
            "/open-banking/payments/p-1",
            "payments",
            {
                "authorization_details": [
                    {**GRANTED, "identifier": "p-2"},
                    {"identifier": "p-1", "actions": ["initiate"]},
                ]
            },
        ),
    ],
)
def test_jwt_18_what_the_token_does_not_grant_is_allowed_by_no_rule(
    engine: Engine, method: str, path: str, scope: str, claims: dict[str, Any]
) -> None:
    answer = ask(engine, method, path, scope, **claims)
    assert (403, "no_policy_matched") == (answer.http_status, answer.reason)


def test_jwt_18_a_consent_does_not_replace_the_scope_and_the_challenge_names_it(engine: Engine) -> None:
    answer = ask(engine, "GET", "/open-banking/consents/c-1", "payments accounts2", consent_id="c-1")
    assert (403, "scope_insufficient") == (answer.http_status, answer.reason)
    (challenge,) = [value for name, value in answer.to_client if name == "www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="accounts"' in challenge
