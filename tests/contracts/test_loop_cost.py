"""What makes the loop cheap is still there: the polling thread reads the sockets itself, without hand-overs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

CHECK = "/envoy.service.auth.v3.Authorization/Check"
CALLS = 400
SERVER = """
import sys
from extauthz.transport import ListenOptions, LoopTransport, TransportOptions
class Echo:
    def answer_all(self, arrivals): return [arrival.raw for arrival in arrivals]
server = LoopTransport(ListenOptions(address="127.0.0.1:0"), TransportOptions(), b"l", lambda cause: None)
address = server.bind()
server.start(Echo())
print(address, flush=True)
sys.stdin.read()
"""


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        yield child.stdout.readline().strip(), child.pid
        child.kill()


def hand_overs() -> float:
    """How often a thread of the server had to wait for something, for one call."""
    with serving() as (address, pid), grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(CHECK)
        assert call(b"warm", timeout=10) == b"warm"
        before = _switches(pid)
        for _ in range(CALLS):
            call(b"x", timeout=10)
        return (_switches(pid) - before) / CALLS


def _switches(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_a_call_costs_one_wait() -> None:
    """For the next call, and nothing in between: no lock, no other thread, no queue."""
    assert hand_overs() < 1.5
