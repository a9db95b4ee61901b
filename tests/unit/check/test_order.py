"""One request with everything wrong, mended one fault at a time: the answers come in the stated order (OR-01)."""

import base64
import hashlib
import json
import time
from typing import Any

import pytest

from tests.engine import Answer, Engine
from tests.unit.identity.signatures import client_jwks, sign

DOCUMENTS = b"""
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: https://idp.test
  audiences: [api]
  algorithms: [ES256]
  jwks: {uri: "https://idp.test/certs"}
  claims: {tenant: tenant_id}
---
apiVersion: extauthz.io/v1
kind: Tenancy
metadata: {name: tenants}
spec: {tenants: data.tenants}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: required, issuers: [idp]}
  fapi: {ecosystem: custom, headers: {x-channel: {values: [mobile], required: true}}}
  senderConstraint: {accept: [mtls]}
  stepUp: {acr: [strong]}
  tenancy: {resourceTenant: [{path: "/{tenant}/**"}]}
  messageSignature: {keys: {app: {file: keys/app.json}}, maxBodyBytes: 1000}
---
apiVersion: extauthz.io/v1
kind: Revocation
metadata: {name: stolen}
spec: {entries: [{tokenId: stolen, issuer: idp}]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: read
    from: [{roles: [reader], scopes: [accounts]}]
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: frozen}
spec:
  effect: deny
  rules:
  - name: frozen
    condition: subject.claims.frozen == true
"""
FILES = {"data/tenants.yaml": b"acme: {}\nglobex: {}\n", "keys/app.json": json.dumps(client_jwks()).encode()}
ENGINE = Engine({"all.yaml": DOCUMENTS, **FILES})
CERTIFICATE = b"a certificate, as far as its digest goes"
OTHER = b"another certificate"


def thumbprint(certificate: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def forwarded(certificate: bytes) -> str:
    return f"Hash={hashlib.sha256(certificate).hexdigest()};URI=spiffe://cluster.local/ns/bank/sa/client"


def faults() -> list[tuple[str, dict[str, Any]]]:
    """(the reason that is told, what mends it), in order; each part changes the request, its token or its header."""
    now = int(time.time())
    return [
        ("path_ambiguous", {"path": "/globex/accounts"}),
        ("no_profile", {"host": "api.test"}),
        ("fapi_header_missing", {"channel": "mobile"}),
        ("no_credential", {"scheme": "Basic"}),
        ("scheme_unsupported", {"scheme": "Bearer"}),
        ("token_malformed", {"signature": "A" * 86}),
        ("token_issuer_refused", {"iss": "https://idp.test"}),
        ("token_algorithm_refused", {"alg": "ES256"}),
        ("token_key_unknown", {"kid": "k1"}),
        ("token_signature_invalid", {"signature": ""}),
        ("token_type_refused", {"typ": "at+jwt"}),
        ("token_audience_refused", {"aud": "api"}),
        ("token_claim_invalid", {"cnf": None}),
        ("roles_invalid", {"roles": ["clerk"]}),
        ("token_expired", {"exp": now + 300}),
        ("sender_constraint_missing", {"cnf": {"x5t#S256": thumbprint(CERTIFICATE)}}),
        ("certificate_missing", {"certificate": OTHER}),
        ("certificate_mismatch", {"certificate": CERTIFICATE}),
        ("token_revoked", {"jti": "mine"}),
        ("step_up_required", {"acr": "strong"}),
        ("tenant_mismatch", {"tenant_id": "globex"}),
        ("signature_missing", {"signed": "https://api.test/globex/elsewhere"}),
        ("signature_invalid", {"signed": "https://api.test/globex/accounts"}),
        ("policy_denied", {"frozen": False}),
        ("no_policy_matched", {"roles": ["reader"]}),
        ("scope_insufficient", {"scope": "accounts"}),
    ]


def everything_wrong() -> dict[str, Any]:
    now = int(time.time())
    return {
        "path": "//accounts",
        "host": "other.test",
        "channel": None,
        "scheme": None,
        "certificate": None,
        "signature": "=",
        "signed": None,
        "alg": "PS256",
        "kid": "k2",
        "typ": "JWT",
        "iss": "https://evil.test",
        "aud": "other",
        "sub": "alice",
        "client_id": "app",
        "jti": "stolen",
        "iat": now - 600,
        "exp": now - 300,
        "cnf": {"x5t#S256": "short"},
        "roles": "reader",
        "scope": "payments",
        "tenant_id": "acme",
        "frozen": True,
    }


def ask(state: dict[str, Any]) -> Answer:
    """Ask as `state` has it; a claim that is None is not in the token."""
    request = {"path", "host", "channel", "scheme", "certificate", "signature", "signed", "alg", "kid", "typ"}
    claims = {name: value for name, value in state.items() if name not in request and value is not None}
    signed = ENGINE.sign("idp", claims, {"typ": state["typ"], "kid": state["kid"]})
    head, payload, signature = signed.split(".")
    if state["alg"] != "ES256":
        head = base64.urlsafe_b64encode(b'{"alg":"PS256","typ":"JWT","kid":"k2"}').rstrip(b"=").decode()
    headers = {} if state["channel"] is None else {"x-channel": state["channel"]}
    if state["scheme"]:
        headers["authorization"] = f"{state['scheme']} {head}.{payload}.{state['signature'] or signature}"
    if state["certificate"]:
        headers["x-forwarded-client-cert"] = forwarded(state["certificate"])
    if state["signed"]:
        lines = {"@method": "GET", "@target-uri": state["signed"], "authorization": headers["authorization"]}
        headers |= dict(sign(lines, created=int(time.time())))
    principal = "spiffe://cluster.local/ns/istio-system/sa/gateway"
    return ENGINE.ask(state["path"], host=state["host"], headers=headers, principal=principal)


def test_or_01_the_first_of_all_faults_is_told_and_one_alone() -> None:
    state, told = everything_wrong(), []
    for _, mended in faults():
        answer = ask(state)
        told.append(answer.reason)
        assert not answer.allowed
        assert len([name for name, _ in answer.to_client if name == "www-authenticate"]) <= 1
        state |= mended
    assert [reason for reason, _ in faults()] == told


def test_or_01_a_request_without_fault_passes_all_of_it() -> None:
    state = everything_wrong()
    for _, mended in faults():
        state |= mended
    assert ask(state).allowed


@pytest.mark.parametrize("scope", ["account", "accounts:write", "ACCOUNTS", "accountsaccounts", "xaccounts", ""])
def test_jwt_18_a_scope_that_only_looks_alike_is_not_enough(scope: str) -> None:
    state = everything_wrong()
    for _, mended in faults():
        state |= mended
    answer = ask(state | {"scope": scope})
    assert ("scope_insufficient", 403) == (answer.reason, answer.http_status)
    assert 'scope="accounts"' in dict(answer.to_client)["www-authenticate"]
