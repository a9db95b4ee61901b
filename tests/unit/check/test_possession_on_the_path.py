"""Tokens bound to their sender, from the bytes of a Check to the bytes of its answer."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from msgspec.structs import replace

from extauthz.check import advance, decide
from extauthz.identity import NonceKeys
from extauthz.model.decision import NOTHING_ASKED, Allow, Deny, FirstUse, Pending, Undecided
from extauthz.model.ports import NoTokenCache
from extauthz.model.subject import Subject
from extauthz.sources.replay_store import MemoryReplayStore
from extauthz.wire import InboundOptions
from tests.engine import Answer, Engine
from tests.fakes import a_request
from tests.unit.identity.proofs import a_proof, hash_of, thumbprint_of
from tests.unit.identity.test_certificate import HASH, PEM, X5T
from tests.unit.identity.tokens import EC, OTHER_RSA

HOST = "api.bank.test"
DOCUMENTS = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec:
  issuer: https://idp.bank.test
  audiences: [bank]
  algorithms: [ES256]
  jwks: {uri: "https://idp.bank.test/certs"}
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
  - name: readers
    to: [{methods: [GET, POST], paths: ["/accounts/**"]}]
    obligations: {clientHeaders: {cache-control: "'max-age=60'"}}
"""


class Forgetful:
    """A store that can never say."""

    def first_use(self, key: bytes, expires: int) -> None:
        return None


class World:
    """A bank with one profile, and clients with keys."""

    def __init__(self, constraint: str = "", **world: Any) -> None:
        section = f"senderConstraint: {constraint}" if constraint else ""
        self.engine = Engine({"all.yaml": (DOCUMENTS % section).encode()})
        store = MemoryReplayStore(10_000, time.time)
        self.engine.world = replace(self.engine.world, **{"replay": store, "nonces": NonceKeys((b"n" * 32,)), **world})

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        usual = {
            "iss": "https://idp.bank.test", "aud": "bank", "sub": "u", "client_id": "c", "jti": "t", "iat": now, "exp": now + 300,
        }  # fmt: skip
        return self.engine.sign("bank", {**usual, **claims}, {"typ": "at+jwt"})

    def ask(
        self,
        token: str,
        proof: str | None = None,
        *,
        scheme: str = "DPoP",
        method: str = "GET",
        path: str = "/accounts/17",
        headers: Mapping[str, str] | None = None,
        certificate: str = "",
    ) -> Answer:
        lines = {"authorization": f"{scheme} {token}", **(headers or {})} | ({"dpop": proof} if proof else {})

        def show(check: CheckRequest) -> None:
            check.attributes.source.certificate = quote(certificate, safe="")

        return self.engine.ask(path, method=method, host=HOST, headers=lines, change=show)


def bound_to_key(world: World, key: Any = EC, **more: Any) -> str:
    return world.token(cnf={"jkt": thumbprint_of(key), **more})


def proof_of(token: str, jti: str = "p-1", **changes: Any) -> str:
    now = int(time.time())
    claims = {"jti": jti, "iat": now, "ath": hash_of(token), "htu": f"https://{HOST}/accounts/17", **changes}
    return a_proof(claims)


def reason(answer: Answer) -> str:
    check = "" if isinstance(answer.decision, Allow) else answer.decision.check
    return f"{answer.reason} {check}".strip()


def challenges(answer: Answer) -> list[str]:
    return [value for name, value in answer.to_client if name == "www-authenticate"]


EITHER = "{accept: [mtls, dpop]}"


# --- a profile that says nothing about senders


def test_dp_01_dp_03_dp_16_without_a_section_a_proof_is_asked_of_a_bound_token_all_the_same() -> None:
    world = World()
    token = bound_to_key(world)
    assert "policy_allowed" == reason(world.ask(token, proof_of(token)))
    assert "proof_missing DP-03" == reason(world.ask(token))
    assert "token_binding_unverified DP-01" == reason(world.ask(token, proof_of(token, "2"), scheme="Bearer"))
    stolen = bound_to_key(world, OTHER_RSA)
    assert "proof_key_mismatch DP-16" == reason(world.ask(stolen, proof_of(stolen)))


def test_mtls_02_mtls_10_without_a_section_every_binding_is_verified() -> None:
    world = World()
    token = world.token(cnf={"x5t#S256": X5T})
    assert "policy_allowed" == reason(world.ask(token, scheme="Bearer", certificate=PEM))
    assert "certificate_missing MTLS-02" == reason(world.ask(token, scheme="Bearer"))
    for cnf in ({}, "x", {"kid": "k"}, {"x5t": X5T}, {"jwk": {}}):
        refused = reason(world.ask(world.token(cnf=cnf), scheme="Bearer", certificate=PEM))
        assert "token_binding_unverified MTLS-10" == refused, cnf


def test_mtls_01_without_a_section_a_bearer_token_is_a_bearer_token() -> None:
    world = World()
    assert "policy_allowed" == reason(world.ask(world.token(), scheme="Bearer"))


# --- a profile that demands


def test_mtls_01_a_bearer_token_is_refused_where_a_bound_one_is_required() -> None:
    world = World(EITHER)
    answer = world.ask(world.token(), scheme="Bearer", certificate=PEM)
    assert ("sender_constraint_missing MTLS-01", 401) == (reason(answer), answer.http_status)
    first, second = challenges(answer)
    assert first.startswith('Bearer error="invalid_token"')
    assert 'DPoP algs="ES256 PS256 EdDSA"' == second


def test_mtls_01_dp_01_either_way_of_binding_satisfies() -> None:
    world = World(EITHER)
    by_key, by_certificate = bound_to_key(world), world.token(cnf={"x5t#S256": X5T})
    assert "policy_allowed" == reason(world.ask(by_key, proof_of(by_key)))
    assert "policy_allowed" == reason(world.ask(by_certificate, scheme="Bearer", certificate=PEM))


def test_mtls_11_a_token_bound_to_both_needs_both() -> None:
    world = World(EITHER)
    token = bound_to_key(world, **{"x5t#S256": X5T})
    assert "policy_allowed" == reason(world.ask(token, proof_of(token, "1"), certificate=PEM))
    assert "certificate_missing MTLS-02" == reason(world.ask(token, proof_of(token, "2")))
    assert "proof_missing DP-03" == reason(world.ask(token, certificate=PEM))


def test_mtls_02_dp_09_the_evidence_says_how_the_sender_was_proven() -> None:
    world = World("{required: false}")
    key, both = bound_to_key(world), bound_to_key(world, **{"x5t#S256": X5T})
    certificate = world.token(cnf={"x5t#S256": X5T})
    asked = {
        (): world.ask(world.token(), scheme="Bearer", certificate=PEM),
        ("mtls",): world.ask(certificate, scheme="Bearer", certificate=PEM),
        ("dpop",): world.ask(key, proof_of(key, "1")),
        ("mtls", "dpop"): world.ask(both, proof_of(both, "2"), certificate=PEM),
    }
    assert [*asked] == [answer.decision.evidence.sender_proofs for answer in asked.values()]
    refused = [world.ask(certificate, scheme="Bearer"), world.ask(key), world.ask(both, proof_of(both, "3"))]
    assert [()] * 3 == [answer.decision.evidence.sender_proofs for answer in refused]
    denied = world.ask(key, proof_of(key, "4", htu=f"https://{HOST}/other"), path="/other")
    assert ("no_policy_matched", ("dpop",)) == (denied.reason, denied.decision.evidence.sender_proofs)


def test_mtls_01_only_what_the_profile_accepts_satisfies() -> None:
    certificates, proofs = World("{accept: [mtls]}"), World("{accept: [dpop]}")
    by_key, by_certificate = bound_to_key(certificates), certificates.token(cnf={"x5t#S256": X5T})
    assert "sender_constraint_missing MTLS-01" == reason(certificates.ask(by_key, proof_of(by_key)))
    assert "sender_constraint_missing MTLS-01" == reason(proofs.ask(by_certificate, scheme="Bearer", certificate=PEM))


def test_mtls_06_attribute_and_header_that_differ_are_refused_on_the_path_too() -> None:
    world = World(EITHER)
    header = {"x-forwarded-client-cert": f"Hash={'0' * 64};URI=spiffe://a"}
    answer = world.ask(world.token(cnf={"x5t#S256": X5T}), scheme="Bearer", certificate=PEM, headers=header)
    assert "certificate_mismatch MTLS-06" == reason(answer)
    good = {"x-forwarded-client-cert": f"Hash={HASH};URI=spiffe://a"}
    answer = world.ask(world.token(cnf={"x5t#S256": X5T}), scheme="Bearer", certificate=PEM, headers=good)
    assert "policy_allowed" == reason(answer)


def test_mtls_09_other_proxies_headers_are_never_read() -> None:
    """`Client-Cert` of RFC 9440 and what nginx and load balancers write."""
    world = World(EITHER)
    said = {"client-cert": f":{PEM}:", "x-client-cert": quote(PEM), "x-ssl-client-cert": quote(PEM)}
    answer = world.ask(world.token(cnf={"x5t#S256": X5T}), scheme="Bearer", headers=said)
    assert "certificate_missing MTLS-02" == reason(answer)


def test_dp_02_the_scheme_dpop_needs_a_token_bound_to_a_key() -> None:
    world = World(EITHER)
    answer = world.ask(world.token(), proof_of(world.token()))
    assert "token_binding_unverified DP-02" == reason(answer)
    assert challenges(answer)[0].startswith('DPoP error="invalid_token"')
    by_certificate = world.token(cnf={"x5t#S256": X5T})
    assert "token_binding_unverified DP-02" == reason(world.ask(by_certificate, certificate=PEM))


def test_dp_04_two_proofs_are_refused_before_anything_is_decided() -> None:
    """Where every line can be seen, and where Envoy has joined them."""
    world = World(EITHER)
    token = bound_to_key(world)
    answer = world.ask(token, f"{proof_of(token)},{proof_of(token)}")
    assert answer.http_status in {400, 401}
    assert not answer.allowed


def test_dp_12_a_proof_for_another_host_of_the_bank_is_refused() -> None:
    world = World(EITHER)
    token = bound_to_key(world)
    elsewhere = proof_of(token, htu="https://pay.bank.test/accounts/17")
    assert "proof_invalid DP-12" == reason(world.ask(token, elsewhere))
    renamed = World("{dpop: {publicOrigin: https://pay.bank.test}}")
    token = bound_to_key(renamed)
    assert "policy_allowed" == reason(renamed.ask(token, proof_of(token, htu="https://pay.bank.test/accounts/17")))


def test_dp_17_a_proof_is_accepted_once() -> None:
    world = World(EITHER)
    token = bound_to_key(world)
    proof = proof_of(token)
    assert "policy_allowed" == reason(world.ask(token, proof))
    again = world.ask(token, proof)
    assert ("proof_replayed DP-17", 401) == (reason(again), again.http_status)
    assert challenges(again)[0].startswith('DPoP error="invalid_dpop_proof"')
    assert "policy_allowed" == reason(world.ask(token, proof_of(token, "p-2")))


def test_dp_17_a_refused_request_does_not_use_its_proof_up() -> None:
    """Whoever cannot get in cannot fill the store, and a client may mend what was wrong."""
    world = World(EITHER)
    token = bound_to_key(world)
    proof = proof_of(token, htm="DELETE")
    assert ["no_policy_matched"] * 2 == [reason(world.ask(token, proof, method="DELETE")) for _ in range(2)]
    assert isinstance(world.engine.world.replay, MemoryReplayStore)
    assert 0 == len(world.engine.world.replay)


def test_dp_18_writes_are_undecided_when_the_store_cannot_say() -> None:
    for lenient in ("deny", "allow"):
        world = World(f"{{dpop: {{whenStoreUnavailable: {{reads: {lenient}}}}}}}", replay=Forgetful())
        token = bound_to_key(world)
        answer = world.ask(token, proof_of(token, htm="POST"), method="POST")
        assert ("replay_store_unavailable DP-18", 503) == (reason(answer), answer.http_status)


def test_dp_18_reads_are_undecided_too_unless_the_profile_lets_them_pass() -> None:
    strict = World(EITHER, replay=Forgetful())
    token = bound_to_key(strict)
    assert "replay_store_unavailable DP-18" == reason(strict.ask(token, proof_of(token)))
    lenient = World("{dpop: {whenStoreUnavailable: {reads: allow}}}", replay=Forgetful())
    token = bound_to_key(lenient)
    answer = lenient.ask(token, proof_of(token))
    assert answer.allowed
    assert "unchecked" == answer.response.dynamic_metadata["proof_replay"]


def test_dp_18_a_store_that_must_be_asked_outside_is_asked_last_and_once() -> None:
    world = World(EITHER, replay=Forgetful()).engine.world
    source = World(EITHER)
    token = bound_to_key(source)
    request = a_request(
        "GET", "/accounts/17", host=HOST, headers=[("authorization", f"DPoP {token}"), ("dpop", proof_of(token))]
    )
    now, asked = int(time.time()), []
    pending = advance(request, world, now, NOTHING_ASKED)
    assert isinstance(pending, Pending)
    assert isinstance(pending.question, FirstUse)
    assert isinstance(advance(request, world, now, {**NOTHING_ASKED, pending.question: True}), Allow)
    refused = advance(request, world, now, {**NOTHING_ASKED, pending.question: False})
    assert isinstance(refused, Deny)
    assert ("proof_replayed", "DP-17") == (refused.reason.code, refused.check)

    def say_yes(question: Any) -> bool:
        asked.append(question)
        return True

    assert isinstance(decide(request, world, now, say_yes), Allow)
    assert [pending.question] == asked
    assert isinstance(decide(request, world, now), Undecided)


def test_dp_19_a_nonce_is_asked_for_with_exactly_one_header() -> None:
    world = World("{dpop: {nonce: required}}")
    token = bound_to_key(world)
    answer = world.ask(token, proof_of(token))
    assert ("proof_nonce_required DP-19", 401) == (reason(answer), answer.http_status)
    (line,) = [line for line in challenges(answer) if line.startswith("DPoP")]
    assert line.startswith('DPoP error="use_dpop_nonce"')
    sent = dict(answer.to_client)
    assert "no-store" == sent["cache-control"]
    assert "dpop-nonce" in sent["access-control-expose-headers"]
    (nonce,) = [value for name, value in answer.to_client if name == "dpop-nonce"]
    assert "policy_allowed" == reason(world.ask(token, proof_of(token, nonce=nonce)))


def test_dp_20_a_fresh_nonce_rides_on_an_allow_when_the_old_one_ends_soon() -> None:
    keys = NonceKeys((b"n" * 32,))
    world = World("{dpop: {nonce: required, nonceLifetime: 100s}}", nonces=keys)
    token, now = bound_to_key(world), int(time.time())
    answer = world.ask(token, proof_of(token, nonce=keys.issue(now - 100, 100)))
    assert answer.allowed
    headers = [pair for pair in answer.to_client if pair[0] in {"dpop-nonce", "cache-control"}]
    assert [("cache-control", "no-store"), ("dpop-nonce", keys.issue(now, 100))] == sorted(headers)
    answer = world.ask(token, proof_of(token, "p-2", nonce=keys.issue(now, 100)))
    assert [("cache-control", "max-age=60")] == [p for p in answer.to_client if p[0] in {"dpop-nonce", "cache-control"}]


def test_dp_22_it_makes_no_difference_where_the_claims_came_from() -> None:
    """A token that is known already, as an introspected one is: the proof is verified each time."""

    class Known(NoTokenCache):
        def get(self, key: bytes) -> Subject | None:
            jkt, end = thumbprint_of(EC), int(time.time()) + 300
            return Subject(
                issuer="https://idp.bank.test",
                id="u",
                issuer_name="bank",
                expires_at=end,
                confirmation=("jkt",),
                jkt=jkt,
            )

    world = World(EITHER, tokens=Known())
    assert "policy_allowed" == reason(world.ask("opaque", proof_of("opaque")))
    assert "proof_replayed DP-17" == reason(world.ask("opaque", proof_of("opaque")))
    assert "proof_missing DP-03" == reason(world.ask("opaque"))


def test_dp_23_a_profile_can_want_more_than_a_proof_where_much_is_at_stake() -> None:
    """DPoP covers neither body nor headers; a certificate covers the connection."""
    world = World("{accept: [mtls]}")
    token = bound_to_key(world)
    assert not world.ask(token, proof_of(token, htm="POST"), method="POST").allowed


def test_dp_24_a_token_in_proxy_authorization_is_no_credential() -> None:
    world = World(EITHER)
    token = bound_to_key(world)
    headers = {"proxy-authorization": f"DPoP {token}", "dpop": proof_of(token)}
    answer = world.engine.ask("/accounts/17", host=HOST, headers=headers)
    assert "no_credential EX-01" == reason(answer)
    assert ['DPoP algs="ES256 PS256 EdDSA"', "Bearer"] == challenges(answer)


@pytest.mark.parametrize("scheme", ["dPOP", "DPOP", "dpop"])
def test_ex_05_dp_04_the_scheme_counts_in_any_case(scheme: str) -> None:
    world = World(EITHER)
    token = bound_to_key(world)
    assert "policy_allowed" == reason(world.ask(token, proof_of(token), scheme=scheme))


def test_mtls_09_a_sidecar_reads_the_client_s_certificate_from_its_gateway_alone() -> None:
    """Two trusted hops: the element of the gateway, in front of the one about the gateway itself."""
    gateway = "spiffe://cluster.local/ns/istio-system/sa/gateway"
    world = World(f"{{mtls: {{certificate: forwarded, gateways: [{gateway}]}}}}")
    world.engine.inbound = InboundOptions(xfcc_trusted_hops=2)
    token = world.token(cnf={"x5t#S256": X5T})
    header = {
        "x-forwarded-client-cert": f"Hash={HASH};URI=,Hash={'a' * 64};URI={gateway}",
        "authorization": f"Bearer {token}",
    }
    assert "policy_allowed" == reason(world.engine.ask("/accounts/17", host=HOST, headers=header, principal=gateway))
    pod = "spiffe://cluster.local/ns/evil/sa/pod"
    assert "certificate_missing MTLS-09" == reason(
        world.engine.ask("/accounts/17", host=HOST, headers=header, principal=pod)
    )
