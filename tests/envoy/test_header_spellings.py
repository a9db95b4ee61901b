"""Behind a real Envoy, a header that decided reaches the upstream, and no header that may be taken for it."""

import pytest

from extauthz.cli.demo_requests import ACME_FINANCIAL_ID, THIRD_PARTY
from extauthz.cli.demo_stack import Server
from extauthz.cli.demo_tokens import Minter
from tests.envoy.gateway import Launch
from tests.envoy.variants import Variant


@pytest.mark.parametrize("variant", [Variant(), Variant(envoy_filter=True)], ids=["joined", "raw"])
def test_t28_a_header_that_decided_reaches_the_upstream_in_the_spelling_that_decided(
    launch_envoy: Launch, bank: Server, minter: Minter, variant: Variant
) -> None:
    """Envoy removes the spellings with underscores and leaves the header itself."""
    gateway = launch_envoy(variant, authz_port=bank.port)
    bearer = ("authorization", f"Bearer {minter.mint(THIRD_PARTY.claims, THIRD_PARTY.forgery)}")
    checked = {"x-fapi-financial-id": ACME_FINANCIAL_ID, "x-fapi-customer-ip-address": "198.51.100.7"}
    spoofed = ["x_fapi_financial_id", "X_Fapi_Financial-Id", "x-fapi-financial_id", "x_fapi_customer_ip_address"]
    headers = [bearer, *checked.items(), ("x_client", "kept"), *((name, "spoofed") for name in spoofed)]
    seen = gateway.h1("/open-banking/acme/accounts", headers).upstream
    assert checked == {name: seen.header(name) for name in checked}
    assert "kept" == seen.header("x_client")
    assert not [name for name, value in seen.headers if "spoofed" in value]
