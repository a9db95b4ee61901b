"""Clients that abuse HTTP/2 against `extauthz serve`: good clients are answered all the same, and memory stays bounded.

What it costs them is measured by `python -m loadtest.resets`.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from extauthz.wire.twin import Answer, Check, build_check, read_answer
from loadtest.abuse import SHAPES
from tests.faults.process import Started, until

ROOT = Path(__file__).parents[2]
SECONDS = 1.0
# A flood of hundreds of thousands of streams leaves some 20 to 60 MiB of buffers; one that is kept leaves far more.
MOST_GROWTH = 256 * 2**20


@pytest.fixture(scope="module", params=["loop", "stock"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Started]:
    started = Started(tmp_path_factory.mktemp(request.param))
    started.set["transport.kind"] = request.param
    started.serve()
    yield started
    assert 0 == started.stop()[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_t64_good_checks_are_answered_beside_abused_http2(server: Started, shape: str) -> None:
    """Opened and reset (CVE-2023-44487), reset by the server (CVE-2025-8671), frames without end, connections that are reset."""
    assert server.process
    process = psutil.Process(server.process.pid)
    before, descriptors = process.memory_info().rss, process.num_fds()
    port = server.grpc.rpartition(":")[2]
    command = [sys.executable, "-m", "loadtest.abuse", shape, port, str(SECONDS)]
    flood = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    found: list[Answer] = []
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")
        raw = build_check(Check(host="open.test", path="/public/a"))
        while flood.poll() is None or len(found) < 10:
            found.append(read_answer(ask(raw, timeout=30)))
    assert '"rounds": 0' not in flood.communicate()[0]
    assert {"policy_allowed", "overloaded"} >= {answer.metadata["reason"] for answer in found}
    assert any(answer.allowed for answer in found)
    assert server.ask().allowed
    assert until(lambda: "extauthz_inflight_checks 0.0\n" in httpx.get(f"{server.admin}/metrics").text)
    assert until(lambda: process.num_fds() <= descriptors + 8)
    assert process.memory_info().rss - before < MOST_GROWTH
