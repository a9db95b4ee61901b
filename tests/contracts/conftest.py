"""The loop transport that is asked in raw frames, one for each file of tests."""

from collections.abc import Iterator

import pytest

from tests.contracts.raw_http2 import Server


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """Whatever a test did: others are answered, nothing is in flight."""
    shared.asked()
    yield shared
    assert shared.settles()
