"""Tokens of a certified authorization server, bound to their sender by its real flows: good from the sender alone."""

import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.cli.demo_stack import Server, start_server
from tests.envoy.certificates import MeshAuthority
from tests.envoy.clients import Answer
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant
from tests.oidc.authorization_server import RESOURCE, AuthorizationServer, install, proof

HOST = "api.bank.test"
ORIGIN = f"https://{HOST}"
PATH = "/open-banking/acme/accounts"
KEY, STRANGER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

BUNDLE = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {{name: certified}}
spec:
  preset: rfc9068
  issuer: {issuer}
  audiences: ["{resource}"]
  algorithms: [PS256]
  claims: {{tenant: tenant_id}}
---
apiVersion: extauthz.io/v1
kind: Tenancy
metadata: {{name: tenants}}
spec: {{tenants: data.tenants}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: open-banking}}
spec:
  match: {{hosts: [api.bank.test], paths: [/open-banking/**]}}
  authentication: {{mode: required, issuers: [certified]}}
  fapi: {{profile: fapi2-security, ecosystem: uk-obie}}
  senderConstraint:
    accept: [mtls, dpop]
    dpop: {{publicOrigin: "https://api.bank.test"}}
  tenancy: {{resourceTenant: [{{path: "/open-banking/{{tenant}}/**"}}]}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: accounts}}
spec:
  effect: allow
  match: {{hosts: [api.bank.test]}}
  rules:
  - name: read
    from: [{{scopes: [accounts]}}]
    to: [{{methods: [GET, POST], paths: [/open-banking/*/accounts/**]}}]
"""


@pytest.fixture(scope="module")
def authorization_server(
    mesh: MeshAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AuthorizationServer]:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian packages `nodejs` and `npm`)")
    work = tmp_path_factory.mktemp("as")
    server, client = mesh.issue("as", dns="localhost"), mesh.issue("tpp", dns="tpp.test")
    running = AuthorizationServer(
        work, install(work), (server.chain, server.key, server.ca), (client.chain, client.key)
    )
    yield running
    running.child.stop()


@pytest.fixture(scope="module")
def bank(authorization_server: AuthorizationServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("certified-bank")
    bundle = work / "bundle"
    (bundle / "data").mkdir(parents=True)
    (bundle / "documents.yaml").write_text(BUNDLE.format(issuer=authorization_server.issuer, resource=RESOURCE))
    (bundle / "data" / "tenants.yaml").write_text("acme: {}\nglobex: {}\n")
    with ExitStack() as stack:
        yield start_server(work, stack, bundle, [f"jwks.caFile={authorization_server.ca}"])


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, bank: Server, mesh: MeshAuthority) -> Gateway:
    workload = mesh.issue("gateway", "spiffe://cluster.local/ns/bank/sa/gateway")
    return launch_envoy(Variant(tls=workload, health_check=False), authz_port=bank.port)


@pytest.fixture(scope="module")
def tpp(mesh: MeshAuthority, authorization_server: AuthorizationServer) -> ssl.SSLContext:
    """The third party's TLS, with the certificate that the authorization server knows."""
    return _context(mesh, *authorization_server.client_cert)


@pytest.fixture(scope="module")
def thief(mesh: MeshAuthority) -> ssl.SSLContext:
    """Somebody else's TLS, with a certificate that is just as valid."""
    files = mesh.issue("thief", dns="thief.test")
    return _context(mesh, files.chain, files.key)


def _context(mesh: MeshAuthority, chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(mesh.ca))
    context.load_cert_chain(chain, key)
    return context


class Caller:
    """Asks the gateway with a token bound to `KEY`."""

    def __init__(self, gateway: Gateway, token: str, tls: ssl.SSLContext) -> None:
        self.gateway, self.token, self.tls = gateway, token, tls

    def ask(self, dpop: str | None = None, *, scheme: str = "DPoP", method: str = "GET", path: str = PATH) -> Answer:
        headers = [("authorization", f"{scheme} {self.token}")] + ([("dpop", dpop)] if dpop else [])
        return self.gateway.h1(path, headers, method=method, host=HOST, tls=self.tls)

    def proof(self, method: str = "GET", url: str = ORIGIN + PATH, key=KEY, **changes: object) -> str:
        return proof(key, method, url, self.token, **changes)


@pytest.fixture(scope="module")
def alice(authorization_server: AuthorizationServer, gateway: Gateway, thief: ssl.SSLContext) -> Caller:
    """A user's token that the third party got with a proof of KEY; the connection proves nothing."""
    return Caller(gateway, authorization_server.dpop_token(KEY, "acme.alice"), thief)


@pytest.fixture(scope="module")
def certificate_token(authorization_server: AuthorizationServer) -> str:
    return authorization_server.certificate_token("acme.bob")


def _challenge(answer: Answer) -> str:
    return " | ".join(answer.all("www-authenticate"))


def test_dp_09_a_dpop_token_passes_with_a_proof_of_its_key(alice: Caller) -> None:
    answer = alice.ask(alice.proof())
    assert "acme.alice" == answer.upstream.header("x-auth-subject")
    assert "acme" == answer.upstream.header("x-auth-tenant")


def test_dp_12_a_query_is_no_part_of_htu(alice: Caller) -> None:
    assert 200 == alice.ask(alice.proof(), path=PATH + "?page=2").status


def test_dp_17_a_replayed_proof_is_refused(alice: Caller) -> None:
    used = alice.proof()
    assert [200, 401] == [alice.ask(used).status, alice.ask(used).status]


def test_dp_16_a_proof_of_another_key_is_refused(alice: Caller) -> None:
    answer = alice.ask(alice.proof(key=STRANGER))
    assert 401 == answer.status
    assert "invalid_token" in _challenge(answer)


def test_dp_11_dp_12_a_proof_for_another_method_or_url_is_refused(alice: Caller) -> None:
    for stolen in (
        alice.proof("POST"),
        alice.proof(url=ORIGIN + "/open-banking/acme/payments"),
        alice.proof(url="https://evil.test" + PATH),
    ):
        answer = alice.ask(stolen)
        assert 401 == answer.status
        assert "invalid_dpop_proof" in _challenge(answer)


def test_dp_01_dp_03_a_stolen_token_alone_is_worth_nothing(alice: Caller) -> None:
    """As a bearer token, and with the right scheme but no proof."""
    assert 401 == alice.ask(scheme="Bearer").status
    answer = alice.ask()
    assert 401 == answer.status
    assert "invalid_dpop_proof" in _challenge(answer)


def test_dp_13_dp_15_an_old_proof_and_one_for_another_token_are_refused(alice: Caller) -> None:
    assert 401 == alice.ask(alice.proof(iat=int(time.time()) - 3600)).status
    assert 401 == alice.ask(alice.proof(ath="x" * 43)).status
    assert 200 == alice.ask(alice.proof(iat=int(time.time()) - 8)).status


def test_mtls_02_a_certificate_bound_token_passes_from_its_own_certificate(gateway, certificate_token, tpp) -> None:
    answer = gateway.h1(PATH, [("authorization", f"Bearer {certificate_token}")], host=HOST, tls=tpp)
    assert "acme.bob" == answer.upstream.header("x-auth-subject")


def test_mtls_02_a_certificate_bound_token_is_refused_from_another_certificate(
    gateway, certificate_token, thief
) -> None:
    answer = gateway.h1(PATH, [("authorization", f"Bearer {certificate_token}")], host=HOST, tls=thief)
    assert 401 == answer.status
    assert "invalid_token" in _challenge(answer)


def test_mtls_06_a_forged_forwarded_certificate_does_not_help(
    gateway, certificate_token, thief, authorization_server
) -> None:
    forged = "Hash=" + "ab" * 32
    headers = [("authorization", f"Bearer {certificate_token}"), ("x-forwarded-client-cert", forged)]
    assert 401 == gateway.h1(PATH, headers, host=HOST, tls=thief).status


def test_mtls_02_a_services_own_token_is_bound_alike(authorization_server, gateway, tpp, thief) -> None:
    """Client credentials: no user, the same binding."""
    token = [("authorization", f"Bearer {authorization_server.service_token()}")]
    assert 200 == gateway.h1(PATH, token, host=HOST, tls=tpp).status
    assert 401 == gateway.h1(PATH, token, host=HOST, tls=thief).status


def test_a_bound_token_of_one_tenant_does_not_reach_another(alice: Caller) -> None:
    other = "/open-banking/globex/accounts"
    assert 403 == alice.ask(alice.proof(url=ORIGIN + other), path=other).status
