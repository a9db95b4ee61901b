"""What the demo starts: upstream, issuer, extauthz, Envoy; each is ended by the ExitStack it is given."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from msgspec import Struct

from extauthz.cli.demo_envoy import Envoy, endpoints, envoy_binary, render_config
from extauthz.cli.demo_processes import Child, StartError, read_port

CHECKOUT = Path(__file__).parents[2]
REALM = "/realms/banking-system"
# What the bundle in examples/banking names; a copy of it gets the issuer that really runs.
EXAMPLE_ISSUER = "http://127.0.0.1:9180"


class Issuer(Struct, frozen=True):
    """A running issuer: its base URL, the realm's `iss`, and the folder with key.pem and jwks.json."""

    base: str
    keys: Path

    @property
    def name(self) -> str:
        """The `iss` of its tokens."""
        return self.base + REALM


class Server(Struct, frozen=True):
    """A running extauthz."""

    child: Child
    ports: tuple[int, ...]  # gRPC, one a worker; 0 for a Unix socket
    admin: str  # base URL
    journal: Path

    @property
    def port(self) -> int:
        """Of the first worker."""
        return self.ports[0]


class Stack(Struct, frozen=True):
    """Everything that runs."""

    upstream_port: int
    issuer: Issuer
    server: Server
    envoy: Envoy
    access_log: Path

    @property
    def children(self) -> tuple[Child, ...]:
        """Those whose end would end the demo."""
        return (self.server.child, self.envoy.child)


def require_checkout() -> Path:
    """The checkout's root; raises StartError where only the wheel is installed."""
    if not (CHECKOUT / "deploy" / "demo" / "envoy.yaml").exists():
        message = "the demo needs a checkout: deploy/demo and examples/banking are not part of the wheel"
        raise StartError(message)
    return CHECKOUT


def start_all(work: Path, stack: ExitStack, say: Callable[[str], None]) -> Stack:
    """The whole demo below `work`. Raises StartError with the end of a log when a part does not come up."""
    root = require_checkout()
    envoy_binary()  # if there is none, say so before anything is started
    say("starting the upstream that echoes what reached it")
    upstream_port = start_upstream(work, stack)
    say("starting the issuer and making its key")
    issuer = start_issuer(work, stack)
    say("starting extauthz with examples/banking")
    server = start_server(work, stack, copy_bundle(root / "examples" / "banking", work / "bundle", issuer))
    say("starting Envoy in front of the upstream")
    access_log = work / "access.log"
    values = {
        "listen_port": 0,
        "upstream_port": upstream_port,
        "authz_endpoints": endpoints(server.ports),
        "access_log": access_log,
    }
    envoy = Envoy(render_config(root / "deploy" / "demo" / "envoy.yaml", values), work)
    stack.callback(envoy.stop)
    return Stack(upstream_port, issuer, server, envoy, access_log)


def start_upstream(work: Path, stack: ExitStack) -> int:
    """The echoing upstream; its port."""
    return _script("upstream", [], work, stack)


def start_issuer(work: Path, stack: ExitStack) -> Issuer:
    """The issuer of the realm banking-system."""
    keys = work / "issuer-keys"
    port = _script("issuer", ["--keys", keys], work, stack)
    return Issuer(f"http://127.0.0.1:{port}", keys)


def copy_bundle(source: Path, target: Path, issuer: Issuer) -> Path:
    """A copy that trusts the issuer that runs instead of the one at the example's fixed port."""
    shutil.copytree(source, target)
    for file in target.rglob("*.yaml"):
        file.write_text(file.read_text().replace(EXAMPLE_ISSUER, issuer.base))
    return target


def start_server(
    work: Path, stack: ExitStack, bundle: Path, settings: Sequence[str] = (), *, wait_ready: bool = True
) -> Server:
    """`extauthz serve` on free ports. `settings` are more `section.key=value`."""
    told = work / "extauthz.ports"
    told.unlink(missing_ok=True)
    journal = work / "journal"
    assignments = [
        "listen.address=127.0.0.1:0",
        "admin.address=127.0.0.1:0",
        f"bundle.directory={bundle}",
        f"journal.directory={journal}",
        *settings,
    ]
    child = Child(
        "extauthz",
        [
            *(sys.executable, "-m", "extauthz", "serve"),
            *("--config", require_checkout() / "deploy" / "demo" / "extauthz.yaml"),
            *("--ports-file", told),
            *(part for assignment in assignments for part in ("--set", assignment)),
        ],
        work / "extauthz.log",
    )
    stack.callback(child.stop)
    addresses = child.await_ready(lambda: json.loads(told.read_text()) if told.exists() else None)
    admin = f"http://{addresses['admin']}"
    if wait_ready:
        child.await_ready(lambda: _is_ready(admin))
    found = addresses.get("workers", [addresses["grpc"]])
    ports = (address.rpartition(":")[2] for address in found)
    return Server(child, tuple(int(port) if port.isdigit() else 0 for port in ports), admin, journal)


def _is_ready(admin: str) -> bool | None:
    try:
        return httpx.get(f"{admin}/readyz").status_code == httpx.codes.OK or None
    except httpx.TransportError:
        return None


def _script(name: str, options: list[str | Path], work: Path, stack: ExitStack) -> int:
    """Run `deploy/demo/<name>.py`; the port it listens on."""
    ports = work / f"{name}.port"
    ports.unlink(missing_ok=True)
    script = require_checkout() / "deploy" / "demo" / f"{name}.py"
    child = Child(name, [sys.executable, script, "--ports-file", ports, *options], work / f"{name}.log")
    stack.callback(child.stop)
    return child.await_ready(lambda: read_port(ports))
