"""Who presents a token, from the wire to the answer: both sides of the checks that are met in several rooms."""

import base64
import hashlib
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from extauthz.check import decide
from extauthz.identity import NonceKeys, thumbprint
from extauthz.model.decision import Question
from extauthz.wire import read_check
from extauthz.wire.twin import Check, build_check
from tests.engine import Answer, Engine

DOCUMENTS = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: https://idp.test
  audiences: [api]
  algorithms: [ES256]
  jwks: {uri: "https://idp.test/certs"}
  introspection: {endpoint: "https://idp.test/introspect"}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: required, issuers: [idp]}
  senderConstraint: {accept: [mtls, dpop], required: false, dpop: {whenStoreUnavailable: {reads: allow}}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: certificates}
spec:
  match: {hosts: [api.test], paths: [/transfers]}
  authentication: {mode: required, issuers: [idp]}
  senderConstraint: {accept: [mtls]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: nonces}
spec:
  match: {hosts: [api.test], paths: [/nonces]}
  authentication: {mode: required, issuers: [idp]}
  senderConstraint: {accept: [dpop], dpop: {nonce: required, nonceLifetime: 100s}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: callers}
spec:
  effect: allow
  rules:
  - name: any
    from: [{requestPrincipals: ["*"]}]
    obligations:
      clientHeaders: {dpop-nonce: "'of a policy'", cache-control: "'max-age=60'", x-note: "'n'"}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: gateways}
spec:
  effect: deny
  rules:
  - name: retired
    from: [{principals: ["*/sa/retired"]}]
"""
GATEWAY = "spiffe://cluster.local/ns/istio-system/sa/gateway"
RETIRED = "spiffe://cluster.local/ns/istio-system/sa/retired"
OLD, NEW = b"the certificate of last year", b"the certificate of this year"
KEY = ec.generate_private_key(ec.SECP256R1())
THIEF = ec.generate_private_key(ec.SECP256R1())


NONCES = NonceKeys((b"k" * 32,))
LIFETIME = 100  # seconds


class Remembering:
    """A replay store in this process; `down` answers like one that must ask outside, where nobody is."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.down = False

    def first_use(self, key: bytes, expires: int) -> bool | None:
        assert expires > time.time()
        if self.down:
            return None
        first = key not in self.seen
        self.seen.add(key)
        return first


@pytest.fixture
def store() -> Remembering:
    return Remembering()


@pytest.fixture
def engine(store: Remembering) -> Engine:
    made = Engine({"all.yaml": DOCUMENTS.encode()})
    made.world = replace(made.world, replay=store, nonces=NONCES)
    return made


def public(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    found: dict[str, str] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return {name: found[name] for name in ("kty", "crv", "x", "y")}


def text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def x5t(certificate: bytes) -> str:
    return text(hashlib.sha256(certificate).digest())


BY_KEY = {"jkt": thumbprint(public(KEY))}
BY_BOTH = BY_KEY | {"x5t#S256": x5t(NEW)}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"iss": "https://idp.test", "aud": "api", "sub": "alice", "client_id": "app", "jti": "1"}
    return {**good, "iat": now, "exp": now + 300, **changes}


def proof(
    token: str, path: str = "/a", key: ec.EllipticCurvePrivateKey = KEY, typ: str = "dpop+jwt", **changes: Any
) -> str:
    ath = text(hashlib.sha256(token.encode()).digest())
    good = {"jti": "p-1", "htm": "GET", "htu": f"https://api.test{path}", "iat": int(time.time()), "ath": ath}
    return jwt.encode({**good, **changes}, key, "ES256", {"typ": typ, "jwk": public(key)})


def ask(
    engine: Engine,
    token: str,
    path: str = "/a",
    *,
    scheme: str = "DPoP",
    method: str = "GET",
    certificate: bytes | None = None,
    principal: str = GATEWAY,
    **headers: str,
) -> Answer:
    sent = {"authorization": f"{scheme} {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if certificate is not None:
        sent["x-forwarded-client-cert"] = f"Hash={hashlib.sha256(certificate).hexdigest()}"
    return engine.ask(path, host="api.test", method=method, headers=sent, principal=principal)


def signed(engine: Engine, **changes: Any) -> str:
    return engine.sign("idp", claims(**changes), {"typ": "at+jwt"})


def test_dp_01_dp_02_dp_03_dp_05_dp_06_dp_11_dp_16_a_bound_token_passes_with_a_proof_of_its_key(engine: Engine) -> None:
    token = signed(engine, cnf=BY_KEY)
    assert ask(engine, token, dpop=proof(token)).allowed


def test_dp_01_dp_02_dp_03_dp_05_dp_06_dp_11_dp_16_what_is_not_quite_so_is_refused(engine: Engine) -> None:
    token, bearer = signed(engine, cnf=BY_KEY), signed(engine)
    good = proof(token)
    refusals = {
        "token_binding_unverified": [ask(engine, token, scheme="Bearer", dpop=good), ask(engine, bearer, dpop=good)],
        "proof_missing": [ask(engine, token)],
        "proof_invalid": [
            ask(engine, token, dpop="proof"),
            ask(engine, token, dpop=proof(token, typ="JWT")),
            ask(engine, token, dpop=proof(token, htm="POST")),
        ],
        "proof_key_mismatch": [ask(engine, token, dpop=proof(token, key=THIEF))],
    }
    for reason, answers in refusals.items():
        assert [(reason, 401)] * len(answers) == [(answer.reason, answer.http_status) for answer in answers]


def test_dp_17_a_proof_is_used_up_by_an_allow_and_by_nothing_else(engine: Engine, store: Remembering) -> None:
    token = signed(engine, cnf=BY_KEY)
    assert "policy_denied" == ask(engine, token, dpop=proof(token), principal=RETIRED).reason
    assert set() == store.seen
    assert ["policy_allowed", "proof_replayed"] == [ask(engine, token, dpop=proof(token)).reason for _ in range(2)]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_dp_18_without_the_store_a_write_is_refused_for_now(engine: Engine, store: Remembering, method: str) -> None:
    store.down = True
    token = signed(engine, cnf=BY_KEY)
    answer = ask(engine, token, method=method, dpop=proof(token, htm=method))
    assert ("replay_store_unavailable", 503) == (answer.reason, answer.http_status)
    assert ask(engine, token, dpop=proof(token)).allowed


def nonced(engine: Engine, age: int) -> list[tuple[str, str]]:
    """Headers of the answer to a good proof whose nonce is of the stretch `age` stretches ago."""
    token = signed(engine, cnf=BY_KEY)
    nonce = NONCES.issue(int(time.time()) - age * LIFETIME, LIFETIME)
    answer = ask(engine, token, "/nonces", dpop=proof(token, "/nonces", nonce=nonce))
    assert answer.allowed, answer.reason
    assert "n" == dict(answer.to_client)["x-note"]
    return answer.to_client


def test_dp_20_a_fresh_nonce_comes_with_a_success_once_and_is_not_stored(engine: Engine) -> None:
    """Whatever a policy wants to say under these names."""
    headers = nonced(engine, 1)
    fresh = [value for name, value in headers if name == "dpop-nonce"]
    assert fresh in ([NONCES.issue(int(time.time()) - past, LIFETIME)] for past in (0, 1))
    assert ["no-store"] == [value for name, value in headers if name == "cache-control"]


def test_dp_20_while_the_nonce_in_use_is_new_there_is_no_other(engine: Engine) -> None:
    assert "of a policy" == dict(nonced(engine, 0))["dpop-nonce"]


def opaque(engine: Engine, token: str, said: bytes = b"", **headers: str) -> str:
    """What becomes of an opaque token of which the issuer says that it is alice's and bound to KEY, unless `said`."""
    document = said or json.dumps(claims(active=True, token_type="DPoP", cnf=BY_KEY)).encode()
    asked: list[Question] = []

    def issuer(question: Question) -> bytes:
        asked.append(question)
        return document

    sent = (("authorization", f"DPoP {token}"), *headers.items())
    request = read_check(build_check(Check(host="api.test", path="/a", headers=sent)), engine.inbound)
    decision = decide(request, engine.world, int(time.time()), issuer)
    assert not any("dpop" in repr(question) for question in asked)
    return decision.reason.code


def test_dp_22_an_opaque_token_passes_with_a_proof_of_its_key(engine: Engine) -> None:
    token = "opaque-token-1"
    assert "policy_allowed" == opaque(engine, token, dpop=proof(token))


def test_dp_22_an_opaque_token_without_a_proof_of_its_key_is_refused(engine: Engine) -> None:
    token = "opaque-token-2"
    assert "proof_missing" == opaque(engine, token)
    assert "proof_key_mismatch" == opaque(engine, token, dpop=proof(token, key=THIEF))
    assert "proof_invalid" == opaque(engine, token, dpop=proof("another"))


@pytest.mark.parametrize("more", [{}, {"error": "token_expired"}, claims(), {"reason": "revoked", "exp": 1}])
def test_int_03_whatever_an_inactive_answer_adds_the_client_is_told_the_same(
    engine: Engine, more: dict[str, Any]
) -> None:
    assert "token_inactive" == opaque(engine, "opaque-token-3", json.dumps({"active": False, **more}).encode())


def test_dp_23_a_route_may_ask_for_a_certificate_beside_a_proof(engine: Engine) -> None:
    token = signed(engine, cnf=BY_BOTH)
    assert ask(engine, token, "/transfers", certificate=NEW, dpop=proof(token, "/transfers")).allowed


def test_dp_23_a_proof_alone_is_not_enough_for_such_a_route(engine: Engine) -> None:
    token = signed(engine, cnf=BY_KEY)
    answer = ask(engine, token, "/transfers", certificate=NEW, dpop=proof(token, "/transfers"))
    assert "sender_constraint_missing" == answer.reason


def test_dp_24_proxy_authorization_beside_a_credential_changes_nothing(engine: Engine) -> None:
    token = signed(engine, cnf=BY_KEY)
    assert ask(engine, token, dpop=proof(token), proxy_authorization="DPoP other").allowed


def test_dp_24_proxy_authorization_is_no_credential(engine: Engine) -> None:
    token = signed(engine, cnf=BY_KEY)
    headers = {"proxy-authorization": f"DPoP {token}", "dpop": proof(token)}
    assert "no_credential" == engine.ask("/a", host="api.test", headers=headers).reason


def test_mtls_07_a_policy_may_refuse_whom_a_certificate_names(engine: Engine) -> None:
    token = signed(engine, cnf={"x5t#S256": x5t(NEW)})
    assert ask(engine, token, scheme="Bearer", certificate=NEW).allowed
    refused = ask(engine, token, scheme="Bearer", certificate=NEW, principal=RETIRED)
    assert "policy_denied" == refused.reason


def test_mtls_08_a_token_for_the_renewed_certificate_passes(engine: Engine) -> None:
    assert ask(engine, signed(engine, cnf={"x5t#S256": x5t(NEW)}), scheme="Bearer", certificate=NEW).allowed
    late = ask(engine, signed(engine, cnf={"x5t#S256": x5t(OLD)}), scheme="Bearer", certificate=NEW)
    assert "certificate_mismatch" == late.reason


def test_mtls_11_a_token_bound_twice_passes_with_key_and_certificate(engine: Engine) -> None:
    token = signed(engine, cnf=BY_BOTH)
    assert ask(engine, token, certificate=NEW, dpop=proof(token)).allowed


def test_mtls_11_of_two_bindings_neither_is_enough(engine: Engine) -> None:
    token = signed(engine, cnf=BY_BOTH)
    assert "certificate_missing" == ask(engine, token, dpop=proof(token)).reason
    assert "certificate_mismatch" == ask(engine, token, certificate=OLD, dpop=proof(token)).reason
    assert "proof_missing" == ask(engine, token, certificate=NEW).reason
    assert "token_binding_unverified" == ask(engine, token, scheme="Bearer", certificate=NEW).reason
    mtls_only = ask(engine, token, "/transfers", scheme="Bearer", certificate=NEW)
    assert not mtls_only.allowed
