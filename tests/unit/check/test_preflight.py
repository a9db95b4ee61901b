"""CORS preflights: they carry no token, and pass where somebody said so (RS-05)."""

import pytest

from tests.engine import Engine

DOCUMENTS = b"""
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: https://idp.test
  audiences: [api]
  algorithms: [ES256]
  jwks: {uri: "https://idp.test/certs"}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: required, issuers: [idp]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: browsers}
spec:
  match: {hosts: [api.test], paths: [/browsers/**]}
  authentication: {mode: optional, issuers: [idp]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: preflights}
spec:
  effect: allow
  rules:
  - name: preflight
    to: [{methods: [OPTIONS], paths: [/browsers/**]}]
"""
ENGINE = Engine({"all.yaml": DOCUMENTS})
PREFLIGHT = {"origin": "https://app.test", "access-control-request-method": "GET"}


def test_rs_05_a_preflight_passes_where_a_profile_lets_it() -> None:
    assert ENGINE.ask("/browsers/a", method="OPTIONS", host="api.test", headers=PREFLIGHT).allowed


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("OPTIONS", "/a", "no_credential"),
        ("OPTIONS", "/", "no_credential"),
        ("GET", "/browsers/a", "no_policy_matched"),
        ("HEAD", "/browsers/a", "no_policy_matched"),
        ("options", "/browsers/a", "method_invalid"),
    ],
)
def test_rs_05_a_preflight_is_no_way_around_a_profile(method: str, path: str, reason: str) -> None:
    answer = ENGINE.ask(path, method=method, host="api.test", headers=PREFLIGHT)
    assert (False, reason) == (answer.allowed, answer.reason)
