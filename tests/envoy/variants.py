"""Envoy's configuration as a function of options: the demo's file, changed where a test needs another shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extauthz.cli.demo_envoy import Config, endpoints, render_config

DEPLOY = Path(__file__).parents[2] / "deploy"
TEMPLATE = DEPLOY / "demo" / "envoy.yaml"
ENVOY_FILTER = DEPLOY / "istio" / "envoyfilter.yaml"
FAILOVER = DEPLOY / "istio" / "failover.yaml"
DESTINATION_RULE = DEPLOY / "istio" / "destination-rule.yaml"
AUTHZ_CLUSTER = "outbound|9000||extauthz.extauthz.svc.cluster.local"
TYPE = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True)
class Certificates:
    """PEM files of one side of mutual TLS."""

    chain: Path
    key: Path
    ca: Path


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How an Envoy differs from the demo's."""

    raw_headers: bool = False  # header_map instead of headers
    body_bytes: int = 0  # with_request_body, up to so many bytes
    whole_body: bool = False  # never a part of it: Envoy refuses longer ones itself
    raw_body: bool = False  # pack_as_bytes
    fail_open: bool = False  # failure_mode_allow: what Istio calls failOpen
    envoy_filter: bool = False  # merged with deploy/istio/envoyfilter.yaml, as istiod would
    failover: bool = False  # the same of failover.yaml and destination-rule.yaml, in place of what the demo has
    edge: bool = False  # a gateway: use_remote_address, merged slashes, XFCC replaced
    tls: Certificates | None = None  # downstream mutual TLS; Envoy adds its XFCC element
    timeout: str = "2s"  # generous, so that a busy machine cannot turn an answer into a 503
    max_requests: int = 0  # circuit breaker; 0 keeps the demo's
    health_check: bool = True
    require_word: bool = True  # the ALLOW policy on our metadata behind ext_authz
    tcp: bool = False  # a second listener `tcp`: network ext_authz, then straight to the upstream
    uds: str = ""  # path of extauthz's Unix socket instead of its port


def build(variant: Variant, *, authz_port: int | Sequence[int], upstream_port: int, access_log: Path) -> Config:
    """The bootstrap of one Envoy. Listeners: `inbound`, and `tcp` when asked for."""
    values = {
        "listen_port": 0,
        "authz_endpoints": endpoints([authz_port] if isinstance(authz_port, int) else authz_port),
        "upstream_port": upstream_port,
        "access_log": access_log,
    }
    config = render_config(TEMPLATE, values)
    listener = config["static_resources"]["listeners"][0]
    chain = listener["filter_chains"][0]
    manager = chain["filters"][0]["typed_config"]
    _shape_ext_authz(manager["http_filters"], variant)
    if not variant.require_word:
        del manager["http_filters"][2]
    if variant.edge:
        manager.update(
            use_remote_address=True,
            merge_slashes=True,
            path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD",
            forward_client_cert_details="SANITIZE_SET",
        )
    if variant.tls:
        chain["transport_socket"] = _mutual_tls(variant.tls)
    _shape_cluster(cluster(config, AUTHZ_CLUSTER), variant)
    if variant.tcp:
        config["static_resources"]["listeners"].append(_tcp_listener(variant))
    return config


def cluster(config: Config, name: str) -> dict[str, Any]:
    """The cluster of that name."""
    found: dict[str, Any] = next(c for c in config["static_resources"]["clusters"] if c["name"] == name)
    return found


def _shape_ext_authz(filters: list[dict[str, Any]], variant: Variant) -> None:
    ext_authz = next(f["typed_config"] for f in filters if f["name"] == "envoy.filters.http.ext_authz")
    if variant.failover:
        ext_authz["grpc_service"] |= failover_patches()["HTTP_FILTER"]["typed_config"]["grpc_service"]
    ext_authz["grpc_service"]["timeout"] = variant.timeout
    ext_authz["grpc_service"]["retry_policy"]["retry_back_off"]["max_interval"] = variant.timeout
    ext_authz["failure_mode_allow"] = variant.fail_open
    ext_authz["encode_raw_headers"] = variant.raw_headers
    if variant.envoy_filter:
        of_sidecars = next(yaml.safe_load_all(ENVOY_FILTER.read_text()))
        (patch,) = of_sidecars["spec"]["configPatches"]
        ext_authz.update(patch["patch"]["value"]["typed_config"])
    if variant.tls:
        ext_authz.update(include_peer_certificate=True, include_tls_session=True)
    if variant.body_bytes:
        ext_authz["with_request_body"] = {
            "max_request_bytes": variant.body_bytes,
            "allow_partial_message": not variant.whole_body,
            "pack_as_bytes": variant.raw_body,
        }


def failover_patches() -> dict[str, Any]:
    """What failover.yaml has sidecars merge, by what it applies to."""
    sidecars, _gateway = yaml.safe_load_all(FAILOVER.read_text())
    return {patch["applyTo"]: patch["patch"]["value"] for patch in sidecars["spec"]["configPatches"]}


def _as_istiod(authz: dict[str, Any]) -> None:
    """The cluster as istiod makes it of the DestinationRule and the EnvoyFilter."""
    rule = yaml.safe_load(DESTINATION_RULE.read_text())["spec"]["trafficPolicy"]
    pool, outliers = rule["connectionPool"]["http"], rule["outlierDetection"]
    authz["lb_policy"] = rule["loadBalancer"]["simple"]
    authz["circuit_breakers"]["thresholds"] = [
        {"max_requests": pool["http2MaxRequests"], "max_retries": pool["maxRetries"]}
    ]
    authz["outlier_detection"] = {
        "consecutive_gateway_failure": outliers["consecutiveGatewayErrors"],
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "interval": outliers["interval"],
        "base_ejection_time": outliers["baseEjectionTime"],
        "max_ejection_percent": outliers["maxEjectionPercent"],
    }
    authz |= failover_patches()["CLUSTER"]


def _shape_cluster(authz: dict[str, Any], variant: Variant) -> None:
    if variant.failover:
        _as_istiod(authz)
    if not variant.health_check:
        del authz["health_checks"]
    if variant.max_requests:
        authz["circuit_breakers"]["thresholds"][0]["max_requests"] = variant.max_requests
    if variant.uds:
        endpoint = authz["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"] = {"pipe": {"path": variant.uds}}


def _mutual_tls(files: Certificates) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [
                    {"certificate_chain": {"filename": str(files.chain)}, "private_key": {"filename": str(files.key)}}
                ],
                "validation_context": {"trusted_ca": {"filename": str(files.ca)}},
            },
        },
    }


def _tcp_listener(variant: Variant) -> dict[str, Any]:
    """What istiod makes of a CUSTOM policy on a TCP port."""
    return {
        "name": "tcp",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.ext_authz",
                        "typed_config": {
                            "@type": f"{TYPE}.filters.network.ext_authz.v3.ExtAuthz",
                            "stat_prefix": "tcp.",
                            "transport_api_version": "V3",
                            "failure_mode_allow": variant.fail_open,
                            "grpc_service": {
                                "envoy_grpc": {"cluster_name": AUTHZ_CLUSTER},
                                "timeout": variant.timeout,
                            },
                        },
                    },
                    {
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": {
                            "@type": f"{TYPE}.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "tcp",
                            "cluster": "inbound|8080||",
                        },
                    },
                ]
            }
        ],
    }
