"""Service to service: who calls is known from the mesh's mutual TLS alone (examples/marketplace)."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from extauthz.cli.demo_stack import CHECKOUT, Server, start_server
from extauthz.cli.demo_tokens import Minter
from tests.envoy.certificates import MeshAuthority
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

HOST = "payments.shop.svc.cluster.local"
ORDERS = "spiffe://cluster.local/ns/shop/sa/order-service"
WEB = "spiffe://cluster.local/ns/shop/sa/storefront"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Never ready, for its issuers are out of reach; rules without a user are decided all the same."""
    with ExitStack() as stack:
        work = tmp_path_factory.mktemp("shop")
        yield start_server(work, stack, CHECKOUT / "examples" / "marketplace", wait_ready=False)


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, shop: Server, mesh: MeshAuthority) -> Gateway:
    workload = mesh.issue("payments", "spiffe://cluster.local/ns/shop/sa/payment-service")
    return launch_envoy(Variant(tls=workload, health_check=False), authz_port=shop.port)


def pay(gateway: Gateway, mesh: MeshAuthority, *identities: str, headers: tuple[tuple[str, str], ...] = ()) -> int:
    context = mesh.client_context("caller", *identities)
    return gateway.h1("/payments", headers, method="POST", host=HOST, tls=context).status


def test_only_the_order_service_pays(gateway: Gateway, mesh: MeshAuthority) -> None:
    assert 200 == pay(gateway, mesh, ORDERS)
    assert 403 == pay(gateway, mesh, WEB)


@pytest.mark.parametrize(
    "identity",
    [
        "spiffe://cluster.local/ns/shop/sa/order-service2",
        "spiffe://cluster.local/ns/shop/sa/order-service/x",
        "spiffe://cluster.local.evil/ns/shop/sa/order-service",
        "spiffe://evil/ns/shop/sa/order-service",
        "spiffe://cluster.local/ns/evil/sa/order-service",
    ],
)
def test_t32_an_identity_that_only_resembles_does_not_pay(gateway: Gateway, mesh: MeshAuthority, identity: str) -> None:
    assert 403 == pay(gateway, mesh, identity)


def test_t32_a_certificate_of_several_identities_is_refused(gateway: Gateway, mesh: MeshAuthority) -> None:
    """A SPIFFE certificate has one; with more, Envoy's principal and its XFCC could be read differently."""
    assert 400 == pay(gateway, mesh, WEB, ORDERS)


def test_t31_a_forged_client_certificate_header_does_not_pay(gateway: Gateway, mesh: MeshAuthority) -> None:
    assert 403 == pay(gateway, mesh, WEB, headers=(("x-forwarded-client-cert", f"By=spiffe://x;URI={ORDERS}"),))


def test_t73_without_mutual_tls_there_is_no_identity(launch_envoy: Launch, shop: Server) -> None:
    """A PERMISSIVE port: the peer is anonymous, whatever it says of itself."""
    gateway = launch_envoy(Variant(health_check=False), authz_port=shop.port)
    forged = [("x-forwarded-client-cert", f"By=spiffe://x;URI={ORDERS}")]
    assert 403 == gateway.h1("/payments", forged, method="POST", host=HOST).status


def test_what_needs_a_user_is_undecided_without_the_issuer_s_keys(
    gateway: Gateway, mesh: MeshAuthority, minter: Minter
) -> None:
    """KEY-03: 503 with Retry-After, not 401: the token may be good."""
    claims = {
        "iss": "https://login.marketplace.example/realms/vendors",
        "aud": "marketplace",
        "sub": "v",
        "vendor_id": "v1",
    }
    token = ("authorization", f"Bearer {minter.mint(claims)}")
    context = mesh.client_context("caller", WEB)
    answer = gateway.h1("/vendors/v1/products", [token], host="api.marketplace.example", tls=context)
    assert (503, "1") == (answer.status, answer.header("retry-after"))


def test_admin_says_why_it_is_not_ready(shop: Server) -> None:
    answer = httpx.get(f"{shop.admin}/readyz")
    assert 503 == answer.status_code
    assert answer.json()["reasons"]


def test_over_a_unix_socket(launch_envoy: Launch, tmp_path: Path) -> None:
    """The same, with Envoy and extauthz in one pod."""
    with ExitStack() as stack:
        work = tmp_path / "w"
        work.mkdir()
        path = f"{tmp_path}/check.sock"
        settings = [f"listen.address=unix:{path}"]
        start_server(work, stack, CHECKOUT / "examples" / "marketplace", settings, wait_ready=False)
        gateway = launch_envoy(Variant(health_check=False, uds=path), authz_port=0)
        assert 200 == gateway.h1("/health", host="shop.marketplace.example").status
