"""Bound tokens through a real Envoy with mutual TLS: what a thief of token or proof gets."""

import json
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from shutil import rmtree
from typing import Any
from uuid import uuid4

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from extauthz.cli.demo_requests import HOST, MANAGER
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, copy_bundle, start_server
from extauthz.cli.demo_tokens import Minter
from extauthz.identity import thumbprint
from tests.envoy.certificates import MeshAuthority
from tests.envoy.clients import Answer
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Certificates, Variant
from tests.unit.sources.test_redis_replay import Server as Redis

LOAN = "/api/loans/l-17"
FRONT = "spiffe://cluster.local/ns/web/sa/front"
Start = Callable[..., Server]


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Client:
    """A client with a certificate for the connection, and a key for its proofs."""

    def __init__(self, mesh: MeshAuthority, name: str) -> None:
        files = mesh.issue(name, FRONT)
        self.tls = ssl.create_default_context(cafile=str(mesh.ca))
        self.tls.load_cert_chain(files.chain, files.key)
        certificate = load_pem_x509_certificate(files.chain.read_bytes())
        self.x5t = base64url(sha256(certificate.public_bytes(Encoding.DER)).digest())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        self.jkt = thumbprint(self._jwk)

    def proof(self, token: str, **changes: Any) -> str:
        claims = {
            "jti": str(uuid4()),
            "htm": "GET",
            "htu": f"https://{HOST}{LOAN}",
            "iat": int(time.time()),
            "ath": base64url(sha256(token.encode()).digest()),
            **changes,
        }
        return jwt.encode(claims, self._key, "ES256", {"typ": "dpop+jwt", "jwk": self._jwk})


@pytest.fixture(scope="module")
def start_bank(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Start]:
    """Starts banks whose internal API has this `senderConstraint`."""
    with ExitStack() as stack:

        def start(constraint: dict[str, Any], *settings: str) -> Server:
            work = tmp_path_factory.mktemp("bank")
            bundle = copy_bundle(CHECKOUT / "examples" / "banking", work / "bundle", issuer)
            rmtree(bundle / "tests")  # they are about the bundle without this section
            file = bundle / "profiles.yaml"
            profiles = [*yaml.safe_load_all(file.read_text())]
            for profile in profiles:
                if profile["metadata"]["name"] == "internal-api":
                    profile["spec"]["senderConstraint"] = constraint
            file.write_text(yaml.safe_dump_all(profiles))
            return start_server(work, stack, bundle, settings)

        yield start


@pytest.fixture(scope="module")
def workload(mesh: MeshAuthority) -> Certificates:
    return mesh.issue("bank-sender", "spiffe://cluster.local/ns/bank/sa/api")


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, start_bank: Start, workload: Certificates) -> Gateway:
    """Envoy with mutual TLS; it sends the peer's certificate, and XFCC with its hash."""
    bank = start_bank({"accept": ["mtls", "dpop"]})
    return launch_envoy(Variant(tls=workload), authz_port=bank.port)


@pytest.fixture(scope="module")
def ann(mesh: MeshAuthority) -> Client:
    return Client(mesh, "ann")


@pytest.fixture(scope="module")
def thief(mesh: MeshAuthority) -> Client:
    """Of the same workload, with a certificate and a key of its own."""
    return Client(mesh, "thief")


def mint(minter: Minter, **cnf: str) -> str:
    return minter.mint({**MANAGER.claims, "cnf": cnf} if cnf else MANAGER.claims)


def ask(
    gateway: Gateway, client: Client, token: str, *proofs: str, scheme: str = "DPoP", target: str = LOAN, **more: Any
) -> Answer:
    headers = [("authorization", f"{scheme} {token}"), *(("dpop", proof) for proof in proofs)]
    return gateway.h1(target, headers, host=HOST, tls=client.tls, **more)


def reason(gateway: Gateway, answer: Answer) -> str:
    entry: str = gateway.log_entry(answer.header("x-authz-decision-id") or "")["reason"]
    return entry


# --- RFC 8705


def test_mtls_02_a_token_passes_on_the_connection_of_its_certificate(
    gateway: Gateway, minter: Minter, ann: Client
) -> None:
    token = mint(minter, **{"x5t#S256": ann.x5t})
    assert 200 == ask(gateway, ann, token, scheme="Bearer").status


def test_mtls_02_a_stolen_token_is_worthless_with_another_certificate(
    gateway: Gateway, minter: Minter, ann: Client, thief: Client
) -> None:
    answer = ask(gateway, thief, mint(minter, **{"x5t#S256": ann.x5t}), scheme="Bearer")
    assert (401, "certificate_mismatch") == (answer.status, reason(gateway, answer))
    assert 'error="invalid_token"' in answer.all("www-authenticate")[0]


def test_t31_mtls_09_nor_does_a_forged_header_help(
    gateway: Gateway, minter: Minter, ann: Client, thief: Client
) -> None:
    """Envoy's own element is the last; what the thief writes stands before it, or in headers that nobody reads."""
    digest = sha256(b"").hexdigest()
    forged = [
        ("x-forwarded-client-cert", f"By=spiffe://x;Hash={digest};URI={FRONT}"),
        ("client-cert", ":AAAA:"),
        ("x-client-cert", "x"),
    ]
    headers = [("authorization", f"Bearer {mint(minter, **{'x5t#S256': ann.x5t})}"), *forged]
    assert 401 == gateway.h1(LOAN, headers, host=HOST, tls=thief.tls).status


def test_mtls_01_a_bearer_token_is_refused_and_told_what_is_wanted(
    gateway: Gateway, minter: Minter, ann: Client
) -> None:
    answer = ask(gateway, ann, mint(minter), scheme="Bearer")
    assert (401, "sender_constraint_missing") == (answer.status, reason(gateway, answer))
    assert 'DPoP algs="ES256 PS256 EdDSA"' in answer.all("www-authenticate")


# --- RFC 9449


def test_dp_17_a_proof_passes_once(gateway: Gateway, minter: Minter, ann: Client) -> None:
    token = mint(minter, jkt=ann.jkt)
    proof = ann.proof(token)
    assert 200 == ask(gateway, ann, token, proof).status
    replayed = ask(gateway, ann, token, proof)
    assert (401, "proof_replayed") == (replayed.status, reason(gateway, replayed))
    assert 'DPoP error="invalid_dpop_proof"' in replayed.all("www-authenticate")[0]
    assert 200 == ask(gateway, ann, token, ann.proof(token)).status


def test_dp_17_not_even_from_many_connections_at_once(gateway: Gateway, minter: Minter, ann: Client) -> None:
    token = mint(minter, jkt=ann.jkt)
    proof = ann.proof(token)
    with ThreadPoolExecutor(8) as pool:
        statuses = [*pool.map(lambda _: ask(gateway, ann, token, proof).status, range(24))]
    assert [200] + [401] * 23 == sorted(statuses)


def test_dp_11_dp_12_a_stolen_proof_does_nothing_else(gateway: Gateway, minter: Minter, ann: Client) -> None:
    """Another method, another URL, another host of the bank."""
    token = mint(minter, jkt=ann.jkt)
    written = ask(gateway, ann, token, ann.proof(token), method="PUT", body=b"{}")
    assert (401, "proof_invalid") == (written.status, reason(gateway, written))
    elsewhere = ask(gateway, ann, token, ann.proof(token), target="/api/loans/l-18")
    assert (401, "proof_invalid") == (elsewhere.status, reason(gateway, elsewhere))
    other = ask(gateway, ann, token, ann.proof(token, htu=f"https://acme.{HOST}{LOAN}"))
    assert (401, "proof_invalid") == (other.status, reason(gateway, other))
    assert 200 == ask(gateway, ann, token, ann.proof(token), target=f"{LOAN}?page=2").status


def test_dp_01_dp_03_dp_16_a_stolen_token_is_worthless_without_its_key(
    gateway: Gateway, minter: Minter, ann: Client, thief: Client
) -> None:
    token = mint(minter, jkt=ann.jkt)
    answers = [
        ask(gateway, thief, token, scheme="Bearer"),
        ask(gateway, thief, token),
        ask(gateway, thief, token, thief.proof(token)),
    ]
    assert [401] * 3 == [answer.status for answer in answers]
    found = [reason(gateway, answer) for answer in answers]
    assert ["token_binding_unverified", "proof_missing", "proof_key_mismatch"] == found


def test_dp_04_two_proofs_are_refused(gateway: Gateway, minter: Minter, ann: Client) -> None:
    token = mint(minter, jkt=ann.jkt)
    assert ask(gateway, ann, token, ann.proof(token), ann.proof(token)).status in {400, 401}


def test_dp_04_ex_05_upper_case_names_and_schemes_pass(gateway: Gateway, minter: Minter, ann: Client) -> None:
    token = mint(minter, jkt=ann.jkt)
    headers = [("Authorization", f"dPOP {token}"), ("DPOP", ann.proof(token))]
    assert 200 == gateway.h1(LOAN, headers, host=HOST, tls=ann.tls).status


def test_mtls_11_both_bindings_are_enforced(gateway: Gateway, minter: Minter, ann: Client, thief: Client) -> None:
    token = mint(minter, **{"jkt": ann.jkt, "x5t#S256": ann.x5t})
    assert 200 == ask(gateway, ann, token, ann.proof(token)).status
    assert 401 == ask(gateway, thief, token, ann.proof(token)).status
    assert 401 == ask(gateway, ann, token, thief.proof(token)).status


def test_the_upstream_gets_neither_more_nor_less_than_before(gateway: Gateway, minter: Minter, ann: Client) -> None:
    token = mint(minter, jkt=ann.jkt)
    seen = ask(gateway, ann, token, ann.proof(token)).upstream
    assert "manager-1" == seen.header("x-auth-subject")


def test_dp_19_dp_20_a_nonce_travels_to_the_client_and_back(
    launch_envoy: Launch, start_bank: Start, workload: Certificates, minter: Minter, ann: Client
) -> None:
    """Exactly one DPoP-Nonce, of a key that is the server's alone; the next rides on a good answer."""
    bank = start_bank({"dpop": {"nonce": "required", "nonceLifetime": 10, "skew": 0}})
    gateway = launch_envoy(Variant(tls=workload), authz_port=bank.port)
    token = mint(minter, jkt=ann.jkt)
    if time.time() % 10 > 7:  # begin well within a stretch
        time.sleep(10 - time.time() % 10)
    challenged = ask(gateway, ann, token, ann.proof(token))
    assert (401, "proof_nonce_required") == (challenged.status, reason(gateway, challenged))
    assert 'DPoP error="use_dpop_nonce"' in challenged.all("www-authenticate")[0]
    assert "no-store" == challenged.header("cache-control")
    nonce = challenged.header("dpop-nonce")
    assert nonce
    assert 200 == ask(gateway, ann, token, ann.proof(token, nonce=nonce, iat=1)).status
    time.sleep(10.5 - time.time() % 10)  # into the next stretch
    answer = ask(gateway, ann, token, ann.proof(token, nonce=nonce))
    assert 200 == answer.status
    assert answer.header("dpop-nonce") not in {None, nonce}
    assert "no-store" == answer.header("cache-control")
    assert 401 == ask(gateway, ann, token, ann.proof(token, nonce="x" * 24)).status


def test_dp_17_a_gateway_and_a_sidecar_may_both_ask_about_one_request(
    launch_envoy: Launch, start_bank: Start, workload: Certificates, mesh: MeshAuthority, minter: Minter, ann: Client
) -> None:
    """With `perProxy` a proof is good once at each identity, and no second time at any."""
    bank = start_bank({"dpop": {"once": "perProxy"}})
    front = mesh.issue("ingress", "spiffe://cluster.local/ns/istio-system/sa/gateway")
    gateway, sidecar = (launch_envoy(Variant(tls=files), authz_port=bank.port) for files in (front, workload))
    token = mint(minter, jkt=ann.jkt)
    proof = ann.proof(token)
    assert [200, 200, 401, 401] == [ask(at, ann, token, proof).status for at in (gateway, sidecar, gateway, sidecar)]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    found = Redis(tmp_path_factory.mktemp("redis"))
    yield found
    found.stop()


def test_dp_17_dp_18_replicas_that_share_a_redis_refuse_each_other_s_replays(
    launch_envoy: Launch, start_bank: Start, workload: Certificates, minter: Minter, ann: Client, redis_server: Redis
) -> None:
    """And when it is gone, writes wait; reads pass where the profile says so, a proof still only once a replica."""
    settings = (
        f"dpop.replay.redis.url={redis_server.url}",
        "dpop.replay.store=redis",
        "dpop.replay.redis.timeoutSeconds=1",
    )
    lenient = {"dpop": {"whenStoreUnavailable": {"reads": "allow"}}}
    banks = [start_bank(constraint, *settings) for constraint in ({"accept": ["dpop"]}, lenient)]
    one, two = (launch_envoy(Variant(tls=workload), authz_port=bank.port) for bank in banks)
    token = mint(minter, jkt=ann.jkt)
    for first, second in ((one, two), (two, one)):
        proof = ann.proof(token)
        assert 200 == ask(first, ann, token, proof).status
        replayed = ask(second, ann, token, proof)
        assert (401, "proof_replayed") == (replayed.status, reason(second, replayed))
    redis_server.stop()
    strict = ask(one, ann, token, ann.proof(token))
    assert (503, "replay_store_unavailable") == (strict.status, reason(one, strict))
    assert strict.header("retry-after")
    proof = ann.proof(token)
    assert 200 == ask(two, ann, token, proof).status
    assert 401 == ask(two, ann, token, proof).status
    assert 503 == ask(two, ann, token, ann.proof(token, htm="PUT"), method="PUT", body=b"{}").status


def test_dp_17_dp_19_workers_of_one_server_share_used_proofs_and_nonces(
    launch_envoy: Launch, start_bank: Start, workload: Certificates, minter: Minter, ann: Client
) -> None:
    """Each Envoy asks another worker; neither Redis nor a file with keys is set."""
    bank = start_bank({"dpop": {"nonce": "required"}}, "workers.count=2")
    one, two = (launch_envoy(Variant(tls=workload), authz_port=port) for port in bank.ports)
    token = mint(minter, jkt=ann.jkt)
    nonce = ask(one, ann, token, ann.proof(token)).header("dpop-nonce")
    for first, second in ((one, two), (two, one)):
        proof = ann.proof(token, nonce=nonce)
        assert 200 == ask(first, ann, token, proof).status
        replayed = ask(second, ann, token, proof)
        assert (401, "proof_replayed") == (replayed.status, reason(second, replayed))
