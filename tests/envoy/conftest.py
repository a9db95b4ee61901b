"""Real Envoys, an upstream that echoes and authorization servers on loopback, on ports of the kernel's choice."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from extauthz.cli.demo_envoy import Envoy
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, copy_bundle, start_issuer, start_server, start_upstream
from extauthz.cli.demo_tokens import Minter
from tests.envoy.certificates import MeshAuthority
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.scripted_authz import ScriptedAuthz, allow
from tests.envoy.variants import Variant, build

_numbers = count(1)


@pytest.fixture(scope="session")
def envoy_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where logs and rendered configurations of the child processes lie."""
    return tmp_path_factory.mktemp("envoy")


@pytest.fixture(scope="session")
def upstream_port(envoy_work: Path) -> Iterator[int]:
    """A server that answers with what reached it."""
    with ExitStack() as stack:
        yield start_upstream(envoy_work, stack)


@pytest.fixture(scope="session")
def issuer(envoy_work: Path) -> Iterator[Issuer]:
    """The realm banking-system."""
    with ExitStack() as stack:
        yield start_issuer(envoy_work, stack)


@pytest.fixture(scope="session")
def minter(issuer: Issuer) -> Minter:
    """Mints its tokens, and forgeries of them."""
    return Minter(issuer)


@pytest.fixture(scope="session")
def bank(envoy_work: Path, issuer: Issuer) -> Iterator[Server]:
    """extauthz with examples/banking, ready. Tests that end it or change its bundle start one of their own."""
    with ExitStack() as stack:
        bundle = copy_bundle(CHECKOUT / "examples" / "banking", envoy_work / "bundle", issuer)
        yield start_server(envoy_work, stack, bundle)


@pytest.fixture
def own_bank(tmp_path: Path, issuer: Issuer) -> Iterator[Server]:
    """An extauthz that a test may kill, starve or reload; its bundle is in `tmp_path / "bundle"`."""
    with ExitStack() as stack:
        bundle = copy_bundle(CHECKOUT / "examples" / "banking", tmp_path / "bundle", issuer)
        yield start_server(tmp_path, stack, bundle)


@pytest.fixture(scope="module")
def launch_envoy(envoy_work: Path, upstream_port: int) -> Iterator[Launch]:
    """Starts Envoys of any variant before an authorization server; all end with the module."""
    with ExitStack() as stack:

        def launch(variant: Variant, *, authz_port: int | Sequence[int]) -> Gateway:
            directory = envoy_work / f"envoy-{next(_numbers)}"
            directory.mkdir()
            log = directory / "access.log"
            config = build(variant, authz_port=authz_port, upstream_port=upstream_port, access_log=log)
            envoy = Envoy(config, directory)
            stack.callback(envoy.stop)
            return Gateway(envoy, log)

        yield launch


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> MeshAuthority:
    """The mesh's certificate authority."""
    return MeshAuthority(tmp_path_factory.mktemp("mesh"))


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedAuthz]:
    """An authorization server that answers what a test scripts; allows until told otherwise."""
    server = ScriptedAuthz()
    yield server
    server.stop()


@pytest.fixture
def script(scripted: ScriptedAuthz) -> Iterator[ScriptedAuthz]:
    """The scripted server, forgetful between tests."""
    scripted.script = allow
    scripted.seen.clear()
    yield scripted
    scripted.script = allow
