"""Step-up by authentication contexts of Entra ID, from the bytes of a Check to the challenge that its clients read."""

import json
import re
import time
from base64 import b64decode
from typing import Any

import pytest

from extauthz.bundle import BundleError
from tests.engine import Answer, Engine

TENANT = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
ISS = f"https://login.microsoftonline.com/{TENANT}/v2.0"
AUTHORIZE = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize"
DOCUMENTS = f"""
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {{name: entra}}
spec: {{preset: entra, issuer: "{ISS}", audiences: [api], algorithms: [RS256]}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: api}}
spec:
  match: {{hosts: [api.bank.test]}}
  authentication: {{mode: required, issuers: [entra]}}
  stepUp:
  - {{methods: [POST], acrs: [c1, c2], authorizationUri: "{AUTHORIZE}"}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: all}}
spec:
  effect: allow
  rules: [{{name: users, from: [{{scopes: [Accounts.Read]}}], to: [{{methods: [GET, POST], paths: [/accounts/**]}}]}}]
"""


def ask(method: str, **claims: Any) -> Answer:
    engine = Engine({"all.yaml": DOCUMENTS.encode()})
    now = int(time.time())
    usual = {"iss": ISS, "aud": "api", "sub": "pairwise", "oid": "user", "tid": TENANT, "azp": "app", "ver": "2.0"}
    times = {"iat": now, "exp": now + 300, "uti": "1", "scp": "Accounts.Read"}
    token = engine.sign("entra", {**usual, **times, **claims}, {"typ": "JWT"})
    return engine.ask("/accounts/1", method=method, host="api.bank.test", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("contexts", [["c1"], ["c2", "p1"]])
def test_st_01_a_token_with_the_context_passes(contexts: list[str]) -> None:
    assert ask("POST", acrs=contexts).allowed


@pytest.mark.parametrize("claims", [{}, {"acrs": []}, {"acrs": ["p1"]}, {"acr": "c1"}])
def test_st_01_st_03_a_token_without_it_gets_a_claims_challenge(claims: dict[str, Any]) -> None:
    answer = ask("POST", **claims)
    assert (401, "authentication_context_required") == (answer.http_status, answer.reason)
    (challenge,) = [value for name, value in answer.to_client if name.lower() == "www-authenticate"]
    parameters = dict(re.findall(r'([a-z_]+)="([^"]*)"', challenge))
    assert challenge.startswith("Bearer ")
    assert ("insufficient_claims", AUTHORIZE) == (parameters["error"], parameters["authorization_uri"])
    wanted = {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    assert wanted == json.loads(b64decode(parameters["claims"], validate=True))


def test_st_03_requests_that_no_rule_covers_need_no_context() -> None:
    assert ask("GET").allowed


@pytest.mark.parametrize("contexts", ["c1", {"c1": True}, [1], [""]])
def test_jwt_12_contexts_of_another_shape_refuse_the_token(contexts: Any) -> None:
    assert "token_claim_invalid" == ask("GET", acrs=contexts).reason


def test_st_01_a_profile_whose_issuers_list_no_contexts_does_not_load() -> None:
    with pytest.raises(BundleError, match=r"spec\.stepUp: no issuer of this profile lists contexts"):
        Engine({"all.yaml": DOCUMENTS.replace("preset: entra", "preset: rfc9068").encode()})
    named = DOCUMENTS.replace("preset: entra", "preset: rfc9068, claims: {acrs: contexts}")
    Engine({"all.yaml": named.encode()})
