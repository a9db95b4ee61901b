"""The bank behind a real Envoy: what clients and the upstream see of a decision."""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import grpc
import pytest

from extauthz.cli.demo_requests import ASKS, HOST, MANAGER, OFFICER, SUPPORT, Ask, Persona
from extauthz.cli.demo_run import run
from extauthz.cli.demo_stack import Issuer, Server, Stack
from extauthz.cli.demo_tokens import Minter
from tests.envoy.certificates import MeshAuthority
from tests.envoy.clients import h2_get, send_h1
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

LOAN = "/api/loans/l-17"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, bank: Server) -> Gateway:
    return launch_envoy(Variant(), authz_port=bank.port)


@pytest.fixture(scope="module")
def raw_gateway(launch_envoy: Launch, bank: Server) -> Gateway:
    """Envoy with the optional EnvoyFilter: every header line arrives as sent, our answers are validated."""
    return launch_envoy(Variant(envoy_filter=True), authz_port=bank.port)


@pytest.fixture(scope="module", params=["joined", "raw"])
def either(request: pytest.FixtureRequest, gateway: Gateway, raw_gateway: Gateway) -> Gateway:
    """Both ways in which Envoy can tell the headers."""
    return gateway if request.param == "joined" else raw_gateway


@pytest.fixture
def bearer(minter: Minter) -> Any:
    def make(persona: Persona) -> tuple[str, str]:
        return ("authorization", f"Bearer {minter.mint(persona.claims, persona.forgery)}")

    return make


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.name)
def test_the_demo_s_requests_end_as_they_must(
    ask: Ask, either: Gateway, bank: Server, issuer: Issuer, minter: Minter, upstream_port: int
) -> None:
    """Status and reason, in Envoy's access log as in the journal, and what reaches client and upstream."""
    stack = Stack(upstream_port, issuer, bank, either.envoy, either.log)
    (outcome,) = run([ask], stack, minter)
    assert () == outcome.faults


@pytest.mark.parametrize("caller", [MANAGER, None], ids=["allowed", "refused"])
def test_rs_03_a_refusal_and_an_answer_of_the_upstream_are_dated_once(
    either: Gateway, bearer: Any, caller: Persona | None
) -> None:
    """By Envoy: `header` fails on a second line."""
    answer = either.h1(LOAN, [bearer(caller)] if caller else [])
    assert (200 if caller else 401) == answer.status
    date = answer.header("date")
    assert date is not None
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 300


def test_t27_t28_every_trusted_header_is_overwritten_or_removed(either: Gateway, bearer: Any) -> None:
    """Also those for which the caller has no value, and the twins with underscores."""
    names = [f"x-auth-{part}" for part in ("subject", "issuer", "tenant", "client", "roles", "scopes", "actor")]
    names += ["x-authz-decision-id", "x-fapi-interaction-id"]
    spoofed = [(name, "spoofed") for name in names] + [(name.replace("-", "_"), "spoofed") for name in names]
    spoofed += [("X-Auth-Roles", "banking-admin"), ("x-auth_roles", "banking-admin")]
    seen = either.h1(LOAN, [bearer(MANAGER), *spoofed]).upstream
    assert not [value for _, value in seen.headers if "spoofed" in value or "banking-admin" in value]
    assert "banking-manager" == seen.header("x-auth-roles")
    assert [""] == (seen.all("x-auth-scopes") or [""])


def test_a_public_route_carries_no_identity_either(gateway: Gateway) -> None:
    seen = gateway.h1("/health", [("x-auth-subject", "root"), ("x-auth-tenant", "acme")]).upstream
    assert "" == (seen.header("x-auth-subject") or "")
    assert "" == (seen.header("x-auth-tenant") or "")


def test_t29_t30_hints_of_other_proxies_do_not_reach_the_upstream(gateway: Gateway, bearer: Any) -> None:
    hints = [
        ("x-original-url", "/actuator/env"),
        ("x-rewrite-url", "/actuator/env"),
        ("x-http-method-override", "DELETE"),
        ("x-envoy-auth-failure-mode-allowed", "true"),
    ]
    seen = gateway.h1(LOAN, [bearer(MANAGER), *hints]).upstream
    assert not {name for name, _ in hints} & {name for name, _ in seen.headers}


def test_the_interaction_id_is_generated_when_the_client_sends_none(gateway: Gateway, bearer: Any) -> None:
    """On an allow and on a denial; the upstream gets the same one."""
    allowed = gateway.h1(LOAN, [bearer(MANAGER)])
    generated = allowed.header("x-fapi-interaction-id")
    assert generated
    assert UUID.fullmatch(generated)
    assert generated == allowed.upstream.header("x-fapi-interaction-id")
    denied = gateway.h1(LOAN).header("x-fapi-interaction-id")
    assert denied
    assert UUID.fullmatch(denied)


def test_a_denial_is_a_problem_document_without_secrets(gateway: Gateway, bearer: Any) -> None:
    """T-70: a coarse code and the decision's id; no policy, no claim."""
    answer = gateway.h1(LOAN, [bearer(OFFICER)])
    assert (403, "application/problem+json") == (answer.status, answer.header("content-type"))
    assert answer.header("x-authz-decision-id") in answer.body.decode()
    for secret in ("staff", "banking-officer", "officer-1", "acme", "no_policy"):
        assert secret not in answer.body.decode()


def test_a_missing_token_is_challenged_without_an_error_code(gateway: Gateway) -> None:
    """EX-01, RFC 6750 section 3.1."""
    challenge = gateway.h1(LOAN).header("www-authenticate")
    assert challenge
    assert challenge.startswith("Bearer")
    assert "error=" not in challenge


def test_an_expired_token_is_challenged_as_invalid(gateway: Gateway, bearer: Any) -> None:
    """JWT-09."""
    answer = gateway.h1(LOAN, [bearer(MANAGER.but(exp=1_700_000_000, iat=1_699_999_000))])
    assert 'error="invalid_token"' in (answer.header("www-authenticate") or "")


_NO_TOKEN = (grpc.StatusCode.UNAUTHENTICATED, "authentication required")
_NOT_PERMITTED = (grpc.StatusCode.PERMISSION_DENIED, "not permitted")
_MALFORMED = (grpc.StatusCode.INVALID_ARGUMENT, "the authorization header is malformed")
_AMBIGUOUS = (grpc.StatusCode.INVALID_ARGUMENT, "the path can be read in more than one way")


@pytest.mark.parametrize(
    ("path", "authorization", "expected"),
    [
        (LOAN, None, _NO_TOKEN),
        (LOAN, OFFICER, _NOT_PERMITTED),
        (LOAN, "Bearer x y z", _MALFORMED),
        ("/api//x/..;/y", MANAGER, _AMBIGUOUS),
    ],
    ids=["401", "403", "400 with a challenge", "400"],
)
def test_t24_a_grpc_client_gets_the_status_of_its_own_fault(
    either: Gateway, bearer: Any, path: str, authorization: Persona | str | None, expected: tuple[grpc.StatusCode, str]
) -> None:
    """Never INTERNAL, which Envoy makes of a 400: it blames the server."""
    sent = [bearer(authorization)] if isinstance(authorization, Persona) else []
    sent += [("authorization", authorization)] if isinstance(authorization, str) else []
    with (
        grpc.insecure_channel(f"127.0.0.1:{either.port}", options=[("grpc.default_authority", HOST)]) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary(path)(b"", metadata=sent, timeout=5)
    assert expected == (refused.value.code(), refused.value.details())


@pytest.mark.parametrize("form", ["application/grpc", "application/grpc+proto"])
@pytest.mark.parametrize(("sent", "status"), [([], "16"), ([("authorization", "Bearer x y z")], "3")])
def test_t24_a_refused_grpc_call_ends_with_its_headers(
    gateway: Gateway, form: str, sent: list[tuple[str, str]], status: str
) -> None:
    """HTTP 200, application/grpc, one status and no body: anything else is no gRPC to a client."""
    answer = gateway.h2([*h2_get(LOAN, method="POST"), ("content-type", form), ("te", "trailers"), *sent])
    assert (200, [status], b"") == (answer.status, answer.all("grpc-status"), answer.body)
    assert ["application/grpc"] == answer.all("content-type")
    assert answer.header("x-authz-decision-id")


def test_t24_grpc_web_is_plain_http_and_gets_a_problem_document(gateway: Gateway) -> None:
    web = [("content-type", "application/grpc-web+proto"), ("authorization", "Bearer x y z")]
    answer = gateway.h2([*h2_get(LOAN, method="POST"), *web])
    assert (400, "application/problem+json") == (answer.status, answer.header("content-type"))
    assert answer.header("grpc-status") is None


def test_http2_and_http1_are_decided_alike(gateway: Gateway, bearer: Any) -> None:
    assert 200 == gateway.h2([*h2_get(LOAN), bearer(MANAGER)]).status
    assert 403 == gateway.h2([*h2_get(LOAN), bearer(OFFICER)]).status


@pytest.mark.parametrize("method", ["get", "FOO", "TRACE"])
def test_t22_t23_odd_methods_of_http2_do_not_pass(gateway: Gateway, bearer: Any, method: str) -> None:
    assert gateway.h2([*h2_get(LOAN, method=method), bearer(MANAGER)]).status in {0, 400, 403}


@pytest.mark.parametrize(
    "target",
    [
        "//actuator/env",
        "/api/loans/..%2f..%2factuator/env",
        "/api/loans/%2e%2e%2f%2e%2e/actuator",
        "/api/%252e%252e/actuator/env",
        "/api/loans/..;/..;/actuator/env",
        "/%2e%2e;/actuator",
        "/api\\..\\actuator",
        "/api/loans/x;y",
        "/api/%c0%af",
        "/API/loans/l-17",
        "/Actuator/env",
        "/actuator/env/",
        "/actuator%20",
    ],
)
def test_t01_t12_no_spelling_of_a_path_lets_a_manager_into_actuator(either: Gateway, bearer: Any, target: str) -> None:
    """Through Envoy's own normalisation, in both header modes."""
    assert either.h1(target, [bearer(MANAGER)]).status in {400, 403, 404}


@pytest.mark.parametrize("host", ["api.banking.local:8443", "API.BANKING.LOCAL", "api.banking.local."])
def test_t17_t18_spellings_of_the_host_are_one_host(gateway: Gateway, bearer: Any, host: str) -> None:
    assert 200 == gateway.h1(LOAN, [bearer(MANAGER)], host=host).status


@pytest.mark.parametrize(
    "host", ["a@api.banking.local", "api.banking.local,evil", "evil.example", "api.banking.local.evil"]
)
def test_t18_t19_other_hosts_are_refused(gateway: Gateway, bearer: Any, host: str) -> None:
    assert gateway.h1(LOAN, [bearer(MANAGER)], host=host).status in {400, 403}


def test_t26_t37_two_credentials_are_refused(either: Gateway, bearer: Any) -> None:
    assert 400 == either.h1(LOAN, [bearer(OFFICER), bearer(MANAGER)]).status


def test_t26_a_repeated_tenant_header_is_refused(either: Gateway, bearer: Any) -> None:
    tenants = [("x-tenant-id", "acme"), ("x-tenant-id", "globex")]
    assert either.h1(LOAN, [bearer(MANAGER), *tenants]).status in {400, 403}


def test_t36_a_header_that_the_client_has_envoy_drop_is_not_there(gateway: Gateway, bearer: Any) -> None:
    """`Connection: x-support-ticket` removes the ticket, so the grant does not apply."""
    headers = [
        bearer(SUPPORT),
        ("x-tenant-id", "globex"),
        ("x-support-ticket", "T-1"),
        ("connection", "x-support-ticket"),
    ]
    assert 403 == gateway.h1("/api/customers/c-9", headers).status


def test_t40_adding_our_headers_does_not_break_a_request_with_many(gateway: Gateway, bearer: Any) -> None:
    """Envoy refuses more than 100 after mutation with a 500: 75 of the client's leave room for ours."""
    many = [(f"x-client-{number}", "1") for number in range(75)]
    assert 200 == gateway.h1(LOAN, [bearer(MANAGER), *many]).status


def test_the_access_log_explains_the_decision(gateway: Gateway, bearer: Any) -> None:
    answer = gateway.h1(LOAN, [bearer(MANAGER)])
    entry = gateway.log_entry(answer.header("x-authz-decision-id") or "")
    assert {
        "outcome": "allow",
        "reason": "policy_allowed",
        "policy": "staff",
        "rule": "loans-and-customers",
        "revision": "banking-1",
        "tenant": "acme",
    }.items() <= entry.items()


def test_mutual_tls_through_envoy(launch_envoy: Launch, bank: Server, mesh: MeshAuthority, bearer: Any) -> None:
    """T-31: with a forged XFCC element in front of Envoy's own, over TLS."""
    gateway = launch_envoy(
        Variant(tls=mesh.issue("bank", "spiffe://cluster.local/ns/bank/sa/api")), authz_port=bank.port
    )
    peer = mesh.client_context("web", "spiffe://cluster.local/ns/web/sa/front")
    forged = ("x-forwarded-client-cert", 'By=spiffe://x;Subject="a,b;c";URI=spiffe://cluster.local/ns/a/sa/root')
    assert 200 == gateway.h1(LOAN, [bearer(MANAGER), forged], tls=peer).status
    assert 401 == gateway.h1(LOAN, [forged], tls=peer).status


def test_a_body_is_no_obstacle(launch_envoy: Launch, bank: Server, bearer: Any) -> None:
    """T-67: with a partial body in the check, the decision is the same and the upstream gets all of it."""
    gateway = launch_envoy(Variant(body_bytes=16, raw_body=True), authz_port=bank.port)
    answer = gateway.h1("/api/loans/l-17", [bearer(MANAGER)], method="PUT", body=b"x" * 100)
    assert "x" * 100 == answer.upstream.body


def test_a_connection_without_http_is_closed_when_no_rule_speaks_of_it(launch_envoy: Launch, bank: Server) -> None:
    gateway = launch_envoy(Variant(tcp=True), authz_port=bank.port)
    assert 0 == send_h1(gateway.envoy.ports["tcp"], "/health", host=HOST).status
    assert 1 == gateway.envoy.stat("ext_authz.tcp..denied")
