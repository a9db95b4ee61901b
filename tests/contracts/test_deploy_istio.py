"""The Istio side: what asks extauthz, when, and what happens without its answer."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contracts.kustomize import Manifest, documents, one, render

DEPLOY = Path(__file__).parents[2] / "deploy"
ISTIO = DEPLOY / "istio"


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    """Everything that kubectl applies."""
    return render(ISTIO)


@pytest.fixture(scope="module")
def mesh() -> dict[str, Any]:
    (operator,) = documents(ISTIO / "meshconfig.yaml")
    config: dict[str, Any] = operator["spec"]["meshConfig"]
    return config


@pytest.fixture(scope="module")
def provider(mesh: dict[str, Any]) -> dict[str, Any]:
    (found,) = (p["envoyExtAuthzGrpc"] for p in mesh["extensionProviders"] if "envoyExtAuthzGrpc" in p)
    settings: dict[str, Any] = found
    return settings


@pytest.fixture(scope="module")
def policies(manifests: list[Manifest]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (m["metadata"]["namespace"], m["metadata"]["name"]): m["spec"]
        for m in manifests
        if m["kind"] == "AuthorizationPolicy"
    }


def test_no_answer_is_no_pass(provider: dict[str, Any]) -> None:
    """T-59: fail closed, as a 503 so that an outage is not taken for a denial."""
    assert (False, "503") == (provider["failOpen"], provider["statusOnError"])


def test_the_timeout_is_milliseconds_not_istio_s_ten_minutes(provider: dict[str, Any]) -> None:
    assert int(provider["timeout"].removesuffix("ms")) <= 50


def test_the_provider_points_at_the_service(provider: dict[str, Any]) -> None:
    service = one(render(DEPLOY / "kubernetes" / "base"), "Service")
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert f"{namespace}/{name}.{namespace}.svc.cluster.local" == provider["service"]
    assert provider["port"] in {p["port"] for p in service["spec"]["ports"] if p["appProtocol"] == "grpc"}


def test_no_provider_s_name_begins_with_another_ext_authz_provider_s(mesh: dict[str, Any]) -> None:
    """Istio matches policies to providers by prefix."""
    asked = [p["name"] for p in mesh["extensionProviders"] if "envoyExtAuthzGrpc" in p]
    assert not [(a, b) for a in asked for b in asked if a != b and b.startswith(a)]


def test_custom_policies_match_every_request(policies: dict[tuple[str, str], dict[str, Any]]) -> None:
    """T-01 to T-11: a path rule here would decide whether extauthz is asked at all."""
    custom = {key: spec for key, spec in policies.items() if spec.get("action") == "CUSTOM"}
    assert {("banking", "extauthz"), ("istio-ingress", "extauthz")} == custom.keys()
    assert all([{}] == spec["rules"] for spec in custom.values())
    assert {"extauthz"} == {spec["provider"]["name"] for spec in custom.values()}


def test_extauthz_never_asks_itself(policies: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert not {"extauthz", "istio-system"} & {
        ns for (ns, _), spec in policies.items() if spec.get("action") == "CUSTOM"
    }


def test_what_is_not_allowed_is_denied(policies: dict[tuple[str, str], dict[str, Any]]) -> None:
    """An empty spec is an ALLOW policy that matches nothing."""
    assert {} == policies["banking", "allow-nothing"]


def test_workloads_demand_extauthz_s_word(policies: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The same demand as the demo's second RBAC filter, which the end-to-end tests run."""
    allow = policies["banking", "allowed-by-extauthz"]
    assert "ALLOW" == allow["action"]
    (rule,) = allow["rules"]
    assert [{"key": "experimental.envoy.filters.http.ext_authz[outcome]", "values": ["allow"]}] == rule["when"]
    demo = (DEPLOY / "demo" / "envoy.yaml").read_text()
    assert "filter: envoy.filters.http.ext_authz" in demo
    assert "path: [{key: outcome}]" in demo


def test_mutual_tls_is_strict_on_both_sides(manifests: list[Manifest]) -> None:
    """T-73: on plain text the peer has no identity, and could claim any."""
    strict = {
        m["metadata"]["namespace"]
        for m in manifests
        if m["kind"] == "PeerAuthentication" and m["spec"] == {"mtls": {"mode": "STRICT"}}
    }
    assert {"banking", "extauthz"} == strict


def test_only_checks_from_the_mesh_reach_the_port_that_decides(
    policies: dict[tuple[str, str], dict[str, Any]], provider: dict[str, Any]
) -> None:
    """T-61: a peer on that port could forge principals and metadata."""
    guard = policies["extauthz", "checks-only"]
    labels = one(render(DEPLOY / "kubernetes" / "base"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert guard["selector"]["matchLabels"].items() <= labels.items()
    (rule,) = guard["rules"]
    (operation,) = (to["operation"] for to in rule["to"])
    assert [str(provider["port"])] == operation["ports"]
    assert "/envoy.service.auth.v3.Authorization/Check" in operation["paths"]
    assert not any("*" in path for path in operation["paths"])
    callers = {ns for (ns, _), spec in policies.items() if spec.get("action") == "CUSTOM"}
    assert callers == set(rule["from"][0]["source"]["namespaces"])


def test_namespaces_under_a_custom_policy_pass_the_network_policy(
    manifests: list[Manifest], policies: dict[tuple[str, str], dict[str, Any]]
) -> None:
    network = one(render(DEPLOY / "kubernetes" / "base"), "NetworkPolicy")
    wanted = network["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"]
    for namespace in {ns for (ns, _), spec in policies.items() if spec.get("action") == "CUSTOM"}:
        labels = one(manifests, "Namespace", namespace)["metadata"]["labels"]
        assert wanted.items() <= labels.items()
        assert "enabled" == labels["istio-injection"]


def test_istio_and_extauthz_trust_the_same_issuer(manifests: list[Manifest]) -> None:
    (rule,) = one(manifests, "RequestAuthentication", "keycloak")["spec"]["jwtRules"]
    (issuer,) = documents(DEPLOY / "kubernetes" / "base" / "bundle" / "issuers.yaml")
    assert (issuer["spec"]["issuer"], issuer["spec"]["jwks"]["uri"], issuer["spec"]["audiences"]) == (
        rule["issuer"],
        rule["jwksUri"],
        rule["audiences"],
    )
    assert rule["forwardOriginalToken"] is True


def test_traffic_to_extauthz_is_bounded_and_mutually_authenticated(
    manifests: list[Manifest], provider: dict[str, Any]
) -> None:
    rule = one(manifests, "DestinationRule")["spec"]
    assert provider["service"].partition("/")[2] == rule["host"]
    policy = rule["trafficPolicy"]
    assert "ISTIO_MUTUAL" == policy["tls"]["mode"]
    assert 0 < policy["connectionPool"]["http"]["http2MaxRequests"] <= 1024
    assert policy["outlierDetection"]["maxEjectionPercent"] <= 50


def test_the_access_log_carries_the_decision(manifests: list[Manifest], mesh: dict[str, Any]) -> None:
    """In the mesh as in the demo."""
    log = next(p for p in mesh["extensionProviders"] if "envoyFileAccessLog" in p)
    labels = log["envoyFileAccessLog"]["logFormat"]["labels"]
    fields = dict(re.findall(r'(\w+): "(%DYNAMIC_METADATA\S+%)"', (DEPLOY / "demo" / "envoy.yaml").read_text()))
    assert {"decision_id", "outcome", "reason", "policy", "rule", "revision", "tenant"} == fields.keys()
    assert fields.items() <= labels.items()
    used = {
        p["name"]
        for m in manifests
        if m["kind"] == "Telemetry"
        for a in m["spec"]["accessLogging"]
        for p in a["providers"]
    }
    assert {log["name"]} == used


def test_every_file_is_applied_or_said_to_be_a_choice() -> None:
    """meshconfig.yaml goes to istiod, the two EnvoyFilters are optional; the rest is in the kustomization."""
    listed = set(yaml.safe_load((ISTIO / "kustomization.yaml").read_text())["resources"])
    files = {file.name for file in ISTIO.glob("*.yaml")} - {"kustomization.yaml"}
    assert {"meshconfig.yaml", "envoyfilter.yaml", "failover.yaml"} == files - listed


def test_headers_arrive_one_by_one_wherever_extauthz_is_asked(
    policies: dict[tuple[str, str], dict[str, Any]],
) -> None:
    """T-26: at the gateway as at the sidecars; a repeated header that one of them joined is none any more."""
    strict = documents(ISTIO / "envoyfilter.yaml")
    asking = {namespace for (namespace, _), spec in policies.items() if spec.get("action") == "CUSTOM"}
    assert asking == {each["metadata"]["namespace"] for each in strict}
    (patches, *others) = [[patch["patch"] for patch in each["spec"]["configPatches"]] for each in strict]
    assert [patches] == others
    contexts = {each["metadata"]["namespace"]: each["spec"]["configPatches"][0]["match"]["context"] for each in strict}
    assert {"banking": "SIDECAR_INBOUND", "istio-ingress": "GATEWAY"} == contexts


def test_failover_is_the_same_for_sidecars_and_gateways_and_for_who_is_asked(provider: dict[str, Any]) -> None:
    """An EnvoyFilter each, for whoever is under a CUSTOM policy. tests/envoy runs what istiod makes of it."""
    sidecars, gateway = documents(ISTIO / "failover.yaml")
    assert ["banking", "istio-ingress"] == [each["metadata"]["namespace"] for each in (sidecars, gateway)]
    patches = [
        {patch["applyTo"]: patch["patch"] for patch in each["spec"]["configPatches"]} for each in (sidecars, gateway)
    ]
    assert patches[0] == patches[1]
    (match,) = (
        patch["match"]["cluster"] for patch in gateway["spec"]["configPatches"] if patch["applyTo"] == "CLUSTER"
    )
    assert (provider["service"].partition("/")[2], provider["port"]) == (match["service"], match["portNumber"])


def test_what_a_dying_server_broke_off_is_asked_again_and_nothing_slow_is(
    manifests: list[Manifest], provider: dict[str, Any]
) -> None:
    """Envoy ends an attempt after `max_interval`; below the timeout that would ask an overloaded server twice."""
    (sidecars, _) = documents(ISTIO / "failover.yaml")
    merged = sidecars["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]
    retry = merged["grpc_service"]["retry_policy"]
    assert int(provider["timeout"].removesuffix("ms")) == 1000 * float(
        retry["retry_back_off"]["max_interval"].removesuffix("s")
    )
    assert not {"5xx", "gateway-error", "deadline-exceeded", "resource-exhausted"} & set(retry["retry_on"].split(","))
    assert one(manifests, "DestinationRule")["spec"]["trafficPolicy"]["connectionPool"]["http"]["maxRetries"] > 0
    demo = (DEPLOY / "demo" / "envoy.yaml").read_text()
    assert f"retry_on: {retry['retry_on']}" in demo
