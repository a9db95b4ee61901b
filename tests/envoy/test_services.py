"""Services as callers, through a real Envoy with mutual TLS: in their own name, or beside a user who must be there too."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from extauthz.cli.demo_requests import MANAGER
from extauthz.cli.demo_stack import Issuer, Server, start_server
from extauthz.cli.demo_tokens import AUDIENCE, Minter
from tests.envoy.certificates import MeshAuthority
from tests.envoy.clients import Answer
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

HOST = "ledger.bank.svc.cluster.local"
MAILER, REPORTS = "spiffe://cluster.local/ns/acme/sa/mailer", "spiffe://cluster.local/ns/acme/sa/reports"
STRANGERS = ("spiffe://partner.example/ns/acme/sa/mailer", "spiffe://cluster.local.evil/ns/acme/sa/mailer")
ALONE, TOGETHER = "/statements", "/transfers"


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "extauthz.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def bundle(issuer: Issuer) -> str:
    """Statements are for services in their own name, transfers for users whose request a service brings."""
    tenants = [{"principal": "spiffe://cluster.local/ns/{tenant}/sa/*"}]

    def profile(name: str, path: str, mode: str, **more: Any) -> dict[str, Any]:
        service = {"mode": mode, "trustDomains": ["cluster.local"], **more}
        authentication = {"mode": "required", "issuers": ["bank"], "service": service}
        return document(
            "SecurityProfile", name, match={"hosts": [HOST], "paths": [path]}, authentication=authentication
        )

    def rule(name: str, path: str, **who: Any) -> dict[str, Any]:
        return {"name": name, "from": [who], "to": [{"methods": ["GET"], "paths": [path]}]}

    documents = [
        document(
            "Issuer",
            "bank",
            preset="keycloak",
            issuer=issuer.name,
            jwks={"uri": f"{issuer.name}/protocol/openid-connect/certs"},
            audiences=[AUDIENCE],
            algorithms=["PS256"],
            claims={"tenant": "tenant_id", "roles": ["realm_access.roles"]},
        ),
        profile("alone", ALONE, "instead", tenants=tenants),
        profile("together", TOGETHER, "required"),
        document(
            "AccessPolicy",
            "ledger",
            effect="allow",
            match={"hosts": [HOST]},
            rules=[
                rule("mailer", ALONE, issuers=["service"], principals=[MAILER], tenants=["acme"]),
                rule("managers", ALONE, roles=["banking-manager"]),
                rule("through-mailer", TOGETHER, roles=["banking-manager"], principals=[MAILER]),
            ],
        ),
    ]
    return yaml.safe_dump_all(documents)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("services")
    (work / "bundle").mkdir()
    (work / "bundle" / "all.yaml").write_text(bundle(issuer))
    with ExitStack() as stack:
        yield start_server(work, stack, work / "bundle")


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, server: Server, mesh: MeshAuthority) -> Gateway:
    workload = mesh.issue("ledger", "spiffe://cluster.local/ns/bank/sa/ledger")
    return launch_envoy(Variant(tls=workload), authz_port=server.port)


@pytest.fixture(scope="module")
def plain(launch_envoy: Launch, server: Server) -> Gateway:
    """A port without mutual TLS: whoever calls is anonymous."""
    return launch_envoy(Variant(), authz_port=server.port)


@pytest.fixture(scope="module")
def bearer(minter: Minter) -> tuple[str, str]:
    return ("authorization", f"Bearer {minter.mint(MANAGER.claims)}")


class Caller:
    """Calls as whatever service a test says."""

    def __init__(self, gateway: Gateway, mesh: MeshAuthority) -> None:
        self._gateway, self._mesh = gateway, mesh

    def ask(self, path: str, identity: str, *headers: tuple[str, str]) -> Answer:
        names = (identity,) if identity else ()
        context = self._mesh.client_context("service-caller", *names)
        return self._gateway.h1(path, list(headers), host=HOST, tls=context)

    def outcome(self, path: str, identity: str, *headers: tuple[str, str]) -> tuple[int, str]:
        return outcome(self._gateway, self.ask(path, identity, *headers))


@pytest.fixture(scope="module")
def caller(gateway: Gateway, mesh: MeshAuthority) -> Caller:
    return Caller(gateway, mesh)


def outcome(gateway: Gateway, answer: Answer) -> tuple[int, str]:
    entry = gateway.log_entry(answer.header("x-authz-decision-id") or "")
    return answer.status, entry["reason"]


# --- in their own name


def test_si_01_a_service_without_a_user_is_the_subject(caller: Caller) -> None:
    seen = caller.ask(ALONE, MAILER).upstream
    assert MAILER == seen.header("x-auth-subject")
    assert "spiffe://cluster.local" == seen.header("x-auth-issuer")
    assert "acme" == seen.header("x-auth-tenant")
    assert [] == seen.all("x-auth-roles") + seen.all("x-auth-client")


def test_si_01_what_it_may_do_is_policy(caller: Caller) -> None:
    assert (403, "no_policy_matched") == caller.outcome(ALONE, REPORTS)
    assert (403, "no_policy_matched") == caller.outcome(ALONE, MAILER.replace("/acme/", "/globex/"))


@pytest.mark.parametrize("identity", STRANGERS)
def test_si_02_services_of_other_trust_domains_are_refused(caller: Caller, identity: str) -> None:
    assert (403, "service_identity_refused") == caller.outcome(ALONE, identity)


def test_si_01_t31_a_peer_without_identity_is_nobody_whatever_it_writes(caller: Caller, plain: Gateway) -> None:
    forged = ("x-forwarded-client-cert", f"By=spiffe://x;URI={MAILER}")
    assert (403, "service_identity_refused") == caller.outcome(ALONE, "", forged)  # a certificate without a SPIFFE ID
    for headers in ([], [forged]):
        answer = plain.h1(ALONE, headers, host=HOST)
        assert (401, "no_credential") == outcome(plain, answer)


def test_si_01_a_token_that_is_sent_counts_good_or_bad(caller: Caller, bearer: tuple[str, str]) -> None:
    """A service never falls back on its own name when the user's token is refused."""
    assert "manager-1" == caller.ask(ALONE, MAILER, bearer).upstream.header("x-auth-subject")
    assert (401, "token_malformed") == caller.outcome(ALONE, MAILER, ("authorization", "Bearer x"))


# --- beside a user


def test_si_01_user_and_service_together_pass_and_the_user_is_the_subject(
    caller: Caller, bearer: tuple[str, str]
) -> None:
    seen = caller.ask(TOGETHER, MAILER, bearer).upstream
    assert ("manager-1", "acme") == (seen.header("x-auth-subject"), seen.header("x-auth-tenant"))


def test_si_01_neither_stands_in_for_the_other(caller: Caller, plain: Gateway, bearer: tuple[str, str]) -> None:
    assert (401, "no_credential") == caller.outcome(TOGETHER, MAILER)
    assert (403, "service_identity_refused") == caller.outcome(TOGETHER, "", bearer)
    assert (403, "service_identity_missing") == outcome(plain, plain.h1(TOGETHER, [bearer], host=HOST))
    assert (403, "service_identity_refused") == caller.outcome(TOGETHER, STRANGERS[0], bearer)
    assert (403, "no_policy_matched") == caller.outcome(TOGETHER, REPORTS, bearer)
