"""Signed requests and bodies, from the bytes of a Check to the bytes of its answer."""

import json
import time
from collections.abc import Mapping
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from msgspec.structs import replace

from extauthz.check import advance, decide
from extauthz.model.decision import NOTHING_ASKED, Allow, Deny, FirstUse, Pending, Undecided
from extauthz.sources.replay_store import MemoryReplayStore
from extauthz.wire import read_check
from tests.engine import Answer, Engine
from tests.unit.identity.signatures import COVERED, ORGANISATION, a_jws, client_jwks, digest_of, sign

HOST = "api.bank.test"
URL = f"https://{HOST}/payments"
DOCUMENTS = """
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
  %s
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: all}
spec:
  effect: allow
  rules:
  - name: payers
    to: [{methods: [GET, POST], paths: ["/payments/**"]}]
"""
MESSAGE = "messageSignature: {keys: {tpp-1: {file: keys/tpp-1.json}}, maxBodyBytes: 65536}"
BODY = "signedBody: {organisations: data.orgs, keys: {tpp-1: {file: keys/tpp-1.json}}, maxBodyBytes: 65536}"
FILES = {
    "keys/tpp-1.json": json.dumps(client_jwks()).encode(),
    "data/orgs.json": json.dumps({"tpp-1": ORGANISATION}).encode(),
}


class Forgetful:
    """A store that can never say."""

    def first_use(self, key: bytes, expires: int) -> None:
        return None


class World:
    """A bank that wants signatures, and one client."""

    def __init__(self, section: str) -> None:
        self.engine = Engine({**FILES, "all.yaml": (DOCUMENTS % section).encode()})
        self.engine.world = replace(self.engine.world, replay=MemoryReplayStore(10_000, time.time))
        self.now = int(time.time())
        claims = {
            "iss": "https://idp.bank.test", "aud": "bank", "sub": "u", "client_id": "tpp-1", "jti": "t",
            "iat": self.now, "exp": self.now + 300,
        }  # fmt: skip
        self.token = self.engine.sign("bank", claims, {"typ": "at+jwt"})

    def signed(self, method: str, path: str, body: bytes = b"", **more: str) -> dict[str, str]:
        """Headers of a request that is signed as FAPI wants it."""
        lines = {"authorization": f"Bearer {self.token}", **more}
        covered = COVERED
        if body:
            lines["content-digest"] = digest_of(body)
            covered = (*COVERED, "content-digest")
        target = {"@method": method, "@target-uri": f"https://{HOST}{path}"}
        return {**lines, **dict(sign({**target, **lines}, covered, created=self.now))}

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", **how: Any) -> Answer:
        def send(check: CheckRequest) -> None:
            check.attributes.request.http.raw_body = body

        return self.engine.ask(path, method=method, host=HOST, headers=headers, change=send, **how)

    def pay(self, body: bytes) -> Answer:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/jwt"}
        return self.ask("POST", "/payments", headers, body)

    def payment(self, **claims: Any) -> bytes:
        return a_jws({"iat": self.now, "aud": URL, **claims})


def test_sg_01_a_signed_request_passes_and_one_without_signature_gets_a_401() -> None:
    world = World(MESSAGE)
    assert world.ask("GET", "/payments/17", world.signed("GET", "/payments/17")).allowed
    answer = world.ask("GET", "/payments/17", {"authorization": f"Bearer {world.token}"})
    assert (answer.http_status, answer.reason) == (401, "signature_missing")
    assert answer.decision.evidence.subject.client == "tpp-1"


def test_sg_02_a_signature_of_another_path_or_body_gets_a_401() -> None:
    world = World(MESSAGE)
    answer = world.ask("GET", "/payments/18", world.signed("GET", "/payments/17"))
    assert (answer.http_status, answer.reason) == (401, "signature_invalid")
    body = b'{"amount": 1}'
    headers = world.signed("POST", "/payments", body)
    assert world.ask("POST", "/payments", headers, body).allowed
    assert world.ask("POST", "/payments", headers, b'{"amount": 9}').reason == "signature_invalid"
    assert world.ask("POST", "/payments", {**headers, "content-length": "13"}).reason == "signature_invalid"
    partial = {**headers, "x-envoy-auth-partial-body": "true"}
    assert world.ask("POST", "/payments", partial, body).reason == "signature_invalid"


def test_sg_03_every_line_of_the_signature_fields_counts_in_both_header_modes() -> None:
    world = World(MESSAGE)
    headers = world.signed("GET", "/payments/17")
    told, value = headers.pop("signature-input"), headers.pop("signature")
    lines = [("signature-input", told.encode()), ("signature", value.encode())]
    assert world.ask("GET", "/payments/17", headers, raw_headers=lines).allowed
    again = [*lines, ("signature-input", told.encode())]
    assert world.ask("GET", "/payments/17", headers, raw_headers=again).reason == "signature_invalid"
    joined = {**headers, "signature-input": f"{told},{told}", "signature": value}
    assert world.ask("GET", "/payments/17", joined).reason == "signature_invalid"


def test_sg_01_policies_are_asked_only_about_signed_requests() -> None:
    world = World(MESSAGE)
    unsigned = world.ask("DELETE", "/other", {"authorization": f"Bearer {world.token}"})
    assert unsigned.reason == "signature_missing"
    assert world.ask("DELETE", "/other", world.signed("DELETE", "/other")).reason == "no_policy_matched"


def test_sg_04_a_signed_payment_passes_once() -> None:
    world = World(BODY)
    assert world.pay(world.payment()).allowed
    answer = world.pay(world.payment())
    assert (answer.http_status, answer.reason) == (403, "signed_body_replayed")
    assert world.pay(world.payment(jti="another")).allowed


def test_sg_04_a_body_that_is_not_signed_or_not_sent_gets_a_400() -> None:
    world = World(BODY)
    for body in (b"", b"{}", world.payment(iss="other")):
        answer = world.pay(body)
        assert (answer.http_status, answer.reason) == (400, "signed_body_invalid")


def test_sg_04_what_a_policy_denies_does_not_use_the_body_up() -> None:
    world = World(BODY)
    body = world.payment(aud=f"https://{HOST}/other")
    headers = {"authorization": f"Bearer {world.token}", "content-type": "application/jwt"}
    for _ in range(2):
        assert world.ask("POST", "/other", headers, body).reason == "no_policy_matched"


def test_sg_04_while_nobody_can_say_whether_a_body_was_used_nothing_passes() -> None:
    world = World(BODY)
    world.engine.world = replace(world.engine.world, replay=Forgetful())
    assert world.pay(world.payment()).reason == "replay_store_unavailable"


def test_sg_04_the_use_is_asked_outside_and_the_answer_counts() -> None:
    world = World(BODY)
    known = replace(world.engine.world, replay=Forgetful())
    check = CheckRequest()
    http = check.attributes.request.http
    http.id, http.method, http.path, http.host = "1", "POST", "/payments", HOST
    http.headers.update(
        {":method": "POST", ":path": "/payments", ":authority": HOST, "content-type": "application/jwt"}
        | {"authorization": f"Bearer {world.token}"}
    )
    http.raw_body = world.payment()
    asked = read_check(check.SerializeToString(), world.engine.inbound)
    pending = advance(asked, known, world.now, NOTHING_ASKED)
    assert isinstance(pending, Pending)
    assert isinstance(pending.question, FirstUse)
    assert isinstance(pending.otherwise, Undecided)
    assert isinstance(decide(asked, known, world.now, lambda _: True), Allow)
    refused = decide(asked, known, world.now, lambda _: False)
    assert isinstance(refused, Deny)
    assert refused.reason.code == "signed_body_replayed"


def test_sg_04_both_may_be_asked_for_at_once() -> None:
    world = World(f"{MESSAGE}\n  {BODY}")
    body = world.payment()
    headers = world.signed("POST", "/payments", body, **{"content-type": "application/jwt"})
    answer = world.ask("POST", "/payments", headers, body)
    assert answer.allowed
    assert answer.decision.evidence.sender_proofs == ("message_signature", "signed_body")
    assert world.ask("POST", "/payments", headers, body).reason == "signed_body_replayed"
    unsigned = world.ask("GET", "/payments", {"authorization": f"Bearer {world.token}"})
    assert (unsigned.reason, unsigned.decision.evidence.sender_proofs) == ("signature_missing", ())
    read = world.ask("GET", "/payments", world.signed("GET", "/payments"))
    assert (read.allowed, read.decision.evidence.sender_proofs) == (True, ("message_signature",))
