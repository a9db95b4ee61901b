"""The bank under FAPI 2.0, behind a real Envoy with mutual TLS: bound tokens, and step-up for payments."""

import ssl
import time
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.cli.demo_stack import Server
from extauthz.cli.demo_tokens import Minter
from extauthz.identity import base64url
from tests.envoy.certificates import MeshAuthority
from tests.envoy.clients import Answer
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Certificates, Variant

HOST = "secure.banking.local"
ACCOUNTS, PAYMENTS = "/open-banking/acme/accounts", "/open-banking/acme/domestic-payments"
INTERACTION = "93BAC548-d2de-4546-b106-880a5018460d"
LOA3 = "urn:banking:loa3"
WORDS = "a stronger or more recent authentication is required"


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, bank: Server, mesh: MeshAuthority) -> Gateway:
    workload = mesh.issue("secure-gateway", "spiffe://cluster.local/ns/bank/sa/gateway")
    return launch_envoy(Variant(tls=workload, health_check=False), authz_port=bank.port)


@pytest.fixture(scope="module")
def third_party(mesh: MeshAuthority) -> Certificates:
    return mesh.issue("third-party", dns="tpp.test")


class Caller:
    """A third party with a token bound to its certificate."""

    def __init__(self, gateway: Gateway, minter: Minter, certificate: Certificates, shown: Certificates) -> None:
        self.gateway, self.minter = gateway, minter
        leaf = x509.load_pem_x509_certificate(certificate.chain.read_bytes())
        self.thumbprint = base64url.encode(sha256(leaf.public_bytes(Encoding.DER)).digest())
        self.tls = ssl.create_default_context(cafile=str(shown.ca))
        self.tls.load_cert_chain(shown.chain, shown.key)

    def ask(self, path: str, method: str = "GET", **claims: Any) -> Answer:
        usual = {
            "sub": "customer-1",
            "tenant_id": "acme",
            "scope": "accounts payments",
            "cnf": {"x5t#S256": self.thumbprint},
        }
        headers = [
            ("authorization", f"Bearer {self.minter.mint(usual | claims)}"),
            ("x-fapi-interaction-id", INTERACTION),
            ("x-idempotency-key", "k-1"),
        ]
        return self.gateway.h1(path, headers, method=method, host=HOST, tls=self.tls)


@pytest.fixture(scope="module")
def caller(gateway: Gateway, minter: Minter, third_party: Certificates) -> Caller:
    return Caller(gateway, minter, third_party, third_party)


def test_mtls_02_a_bound_token_is_good_from_its_sender_alone(
    caller: Caller, gateway: Gateway, minter: Minter, third_party: Certificates, mesh: MeshAuthority
) -> None:
    assert "customer-1" == caller.ask(ACCOUNTS).upstream.header("x-auth-subject")

    thief = Caller(gateway, minter, third_party, mesh.issue("thief-of-tokens", dns="thief.test"))
    refused = thief.ask(ACCOUNTS)
    assert (401, b"") == (refused.status, refused.body)
    assert 'error="invalid_token"' in refused.all("www-authenticate")[0]


def test_mtls_01_a_bearer_token_is_refused(caller: Caller) -> None:
    assert 401 == caller.ask(ACCOUNTS, cnf=None).status


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"acr": "1", "auth_time": int(time.time())},
        {"acr": LOA3},
        {"acr": LOA3, "auth_time": int(time.time()) - 3600},
    ],
    ids=["neither", "another acr", "no time", "an hour ago"],
)
def test_st_01_st_02_st_03_a_payment_asks_for_step_up_in_a_challenge_that_a_client_can_read(
    caller: Caller, claims: dict[str, Any]
) -> None:
    """RFC 9470 section 3, one challenge a line: the scheme that was used first, then what would be accepted too."""
    refused = caller.ask(PAYMENTS, "POST", **claims)

    assert 401 == refused.status
    assert [
        (
            f'Bearer error="insufficient_user_authentication", error_description="{WORDS}", '
            'acr_values="urn:banking:loa3 urn:banking:loa2", max_age="300"'
        ),
        'DPoP algs="ES256 PS256 EdDSA"',
    ] == refused.all("www-authenticate")
    assert INTERACTION == refused.header("x-fapi-interaction-id")
    assert "no-store" == refused.header("cache-control")
    assert {"www-authenticate", "dpop-nonce"} <= set(
        (refused.header("access-control-expose-headers") or "").split(", ")
    )
    assert b"" == refused.body


def test_st_01_st_02_with_two_factors_just_now_the_payment_goes_through(caller: Caller) -> None:
    seen = caller.ask(PAYMENTS, "POST", acr=LOA3, auth_time=int(time.time()) - 10).upstream

    assert "acme" == seen.header("x-auth-tenant")
    assert INTERACTION == seen.header("x-fapi-interaction-id")
