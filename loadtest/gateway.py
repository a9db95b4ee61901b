"""Envoys for the load tests: the demo's, its listener once more without ext_authz, and one as the upstream."""

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

from msgspec import Struct

from extauthz.cli.demo_envoy import Envoy, endpoints, render_config
from extauthz.cli.demo_stack import CHECKOUT, Issuer, start_issuer
from loadtest import servers
from loadtest.servers import Target

_HTTP = "envoy.filters.network.http_connection_manager"
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
# What makes the difference between the two listeners: asking, and what asking is wired with.
_ASKING = ("envoy.filters.http.ext_authz", "envoy.filters.http.rbac")


class Running(Struct, frozen=True):
    """Everything between client and upstream."""

    issuer: Issuer
    server: Target
    envoy: Envoy
    upstream: Envoy

    @property
    def checked(self) -> str:
        """Base URL of the route with ext_authz."""
        return f"http://127.0.0.1:{self.envoy.ports['inbound']}"

    @property
    def plain(self) -> str:
        """Base URL of the same without."""
        return f"http://127.0.0.1:{self.envoy.ports['plain']}"


def upstream_config() -> dict[str, Any]:
    """An Envoy that answers every request itself: an upstream that takes less than what is measured."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    listener = {
        "name": "upstream",
        "address": address,
        "filter_chains": [{"filters": [{"name": _HTTP, "typed_config": manager}]}],
    }
    return {"admin": {"address": address}, "static_resources": {"listeners": [listener]}}


def add_plain(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with a second listener, `plain`, which differs by not asking."""
    (inbound,) = config["static_resources"]["listeners"]
    plain = deepcopy(inbound)
    plain["name"] = "plain"
    manager = plain["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] not in _ASKING]
    plain["address"]["socket_address"]["port_value"] = 0
    return {**config, "static_resources": {**config["static_resources"], "listeners": [inbound, plain]}}


def start(
    work: Path,
    stack: ExitStack,
    say: Callable[[str], None],
    settings: tuple[str, ...] = (),
    *,
    unix_socket: bool = False,
) -> Running:
    """Issuer, extauthz with examples/banking, upstream, and Envoy in between; `unix_socket`: as in one pod."""
    say("starting the issuer and extauthz with examples/banking")
    issuer = start_issuer(work, stack)
    socket = work / "checks.sock"
    if unix_socket:
        settings = (f"listen.address=unix:{socket}", *settings)
    server = servers.start_extauthz(work, stack, issuer, settings)
    say("starting an Envoy as the upstream, and one in front of it")
    upstream = Envoy(upstream_config(), work, "upstream")
    stack.callback(upstream.stop)
    values = {
        "listen_port": 0,
        "upstream_port": upstream.ports["upstream"],
        "authz_endpoints": endpoints([socket if unix_socket else server.port]),
        "access_log": work / "access.log",
    }
    envoy = Envoy(add_plain(render_config(CHECKOUT / "deploy" / "demo" / "envoy.yaml", values)), work)
    stack.callback(envoy.stop)
    return Running(issuer, server, envoy, upstream)
