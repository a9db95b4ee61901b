"""Real Envoys, an upstream that echoes and authorization servers on loopback, on ports of the kernel's choice."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from extauthz.cli.demo_envoy import Envoy
from extauthz.cli.demo_stack import start_upstream
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


@pytest.fixture(scope="module")
def launch_envoy(envoy_work: Path, upstream_port: int) -> Iterator[Launch]:
    """Starts Envoys of any variant before an authorization server; all end with the module."""
    with ExitStack() as stack:

        def launch(variant: Variant, *, authz_port: int) -> Gateway:
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
