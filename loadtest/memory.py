"""What a worker takes: the example bank after some Checks, and 10,000 policies with 100,000 tokens in the cache.

Of the large one also how long its garbage collector stopped it while the tokens came, and while an activation followed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

from extauthz.cli.demo_stack import start_issuer, start_server
from loadtest import pauses, report, scale, servers
from loadtest.http2 import Question
from loadtest.openloop import Client
from loadtest.points import Case, public_key, question, token
from loadtest.questions import framed, grpc_headers, officers
from loadtest.servers import Target
from loadtest.tally import Tally

POLICIES, TENANTS, TOKENS = 10_000, 1_000, 100_000
LIMITS_MB = {"bank": 120.0, "large": 400.0}
_CHECKS = 20_000
_IN_FLIGHT = 8
_PATIENCE = 30.0  # seconds: what is measured is no latency
_SETTLE = 4.0  # seconds that an activation is given
LARGE_CASE = Case(
    "large",
    "/banks/bank-0/accounts-1/{n}",
    {"tenant_id": "bank-0", "roles": ["teller", "staff"]},
    issuer=scale.ISSUER,
    audience="bank",
    host="api.bank.example",
)


def resident_mb(pid: int) -> dict[str, float]:
    """Of a server and its children: now, and at most since the start (where Linux says so)."""
    found = {"rss_mb": 0.0, "peak_mb": 0.0}
    for process in servers.processes(pid):
        found["rss_mb"] += process.memory_info().rss / 1e6
        status = Path(f"/proc/{process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        found["peak_mb"] += sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
    return {name: round(value, 1) for name, value in found.items()}


def ask(target: Target, questions: Iterator[Question], count: int, say: Callable[[str], None]) -> None:
    """Ask so many; ends here unless all are allowed."""
    client = Client(target.address, grpc_headers(_PATIENCE), timeout=_PATIENCE)
    tally, shown = Tally(), 0
    for answers in client.closed_loop(_IN_FLIGHT, count, questions):
        tally.add(answers)
        if (done := sum(tally.outcomes.values())) >= shown + count // 5:
            shown = done
            say(f"{done:,} of {count:,} Checks")
    client.close()
    if set(tally.outcomes) != {"200 policy_allowed"}:
        sys.exit(f"not every Check was allowed: {dict(tally.outcomes)}")


def bank() -> dict[str, float]:
    """A worker with examples/banking."""
    with tempfile.TemporaryDirectory(prefix="extauthz-memory-") as name, ExitStack() as stack:
        work = Path(name)
        issuer = start_issuer(work, stack)
        target = servers.start_extauthz(work, stack, issuer)
        ask(target, cycle(officers(issuer, 2000, 200)), _CHECKS, report.say)
        return resident_mb(target.pid)


def large(tokens: int) -> dict[str, float]:
    """A worker with many policies, tenants and tokens."""
    with tempfile.TemporaryDirectory(prefix="extauthz-memory-") as name, ExitStack() as stack:
        work = Path(name) / "extauthz"
        files = scale.bundle(POLICIES, TENANTS) | {"keys.json": json.dumps({"keys": [public_key()]}).encode()}
        for path, content in files.items():
            file = work / "bundle" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        settings = [f"tokens.cacheEntries={2 * tokens}", f"tokens.cacheBytes={1 << 30}"]
        noted = stack.enter_context(pauses.watched(Path(name) / "pauses"))
        server = start_server(work, stack, work / "bundle", settings)
        target = Target("extauthz", server.child.pid, server.port, server.admin, server.journal)
        questions = (Question(b"", framed(question(LARGE_CASE, token(LARGE_CASE, at), at))) for at in range(tokens))
        began = time.time()
        ask(target, questions, tokens, report.say)
        found = resident_mb(target.pid)
        activated = time.time()
        collected = pauses.longest(noted, began)
        data = work / "bundle" / "data" / "tenants.yaml"
        data.write_bytes(data.read_bytes().replace(b"cap: 1}", b"cap: 2}"))
        time.sleep(_SETTLE)
        activating = pauses.longest(noted, activated)
        report.say(f"collections, longest by generation, ms: with tokens {collected}, at an activation {activating}")
        found["longest_pause_ms"] = round(max([0.0, *collected.values()]), 3)
        found["longest_pause_activating_ms"] = round(max([0.0, *activating.values()]), 3)
        found["after_activation_rss_mb"] = resident_mb(target.pid)["rss_mb"]
        return found


def measure(tokens: int = TOKENS) -> dict[str, Any]:
    """Both, with what they may take."""
    report.say("memory of a worker with the example bank")
    found: dict[str, Any] = {"bank": bank()}
    report.say(f"memory of a worker with {POLICIES:,} policies, {TENANTS:,} tenants and {tokens:,} tokens")
    found["large"] = large(tokens)
    for name, limit in LIMITS_MB.items():
        found[name]["limit_mb"] = limit
        report.say(f"{name}: {found[name]['rss_mb']:.0f} MB, at most {found[name]['peak_mb']:.0f} (limit {limit:g})")
    return found


def main() -> int:
    """Measure and print; 1 when a worker takes more than it may."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=TOKENS, help="in the cache of the large one (100000)")
    found = measure(options.parse_args().tokens)
    return int(
        any(each["rss_mb"] > each["limit_mb"] for each in found.values())
        or found["large"]["longest_pause_ms"] > pauses.LIMIT_MS
    )


if __name__ == "__main__":
    sys.exit(main())
