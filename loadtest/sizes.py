"""What a Check costs a whole server beside 10 and beside 10,000 policies: processor time, as paired ratios.

Both servers run all the time and are asked in turn, A B A B, with the same questions of one caller. Processor time is
the scheduler's own count for the whole process. `make scale` compares decisions alone; this has sockets, journal,
metrics and the collector in it.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median

from extauthz.cli.demo_stack import start_server
from loadtest import report, scale
from loadtest.http2 import Question
from loadtest.memory import LARGE_CASE, ask
from loadtest.points import public_key, question, token
from loadtest.questions import framed
from loadtest.servers import Target, cpu_seconds

GOAL = 1.10
_QUESTIONS = 500  # different ones


def serve(policies: int, tenants: int, work: Path, stack: ExitStack) -> Target:
    """A server over so many."""
    files = scale.bundle(policies, tenants) | {"keys.json": json.dumps({"keys": [public_key()]}).encode()}
    for path, content in files.items():
        file = work / "site" / "bundle" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    server = start_server(work, stack, work / "site" / "bundle")
    return Target(f"{policies} policies", server.child.pid, server.port, server.admin, server.journal)


def main() -> int:
    """Measure and print; 1 when the larger one costs more than it may."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--checks", type=int, default=5_000, help="of each server in a round (5000)")
    options.add_argument("--policies", type=int, default=10_000)
    options.add_argument("--tenants", type=int, default=1_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="extauthz-sizes-") as name, ExitStack() as stack:
        credential = token(LARGE_CASE, 0)
        asked = [Question(b"", framed(question(LARGE_CASE, credential, at))) for at in range(_QUESTIONS)]
        small = serve(10, 3, Path(name) / "small", stack)
        large = serve(given.policies, given.tenants, Path(name) / "large", stack)
        for target in (small, large):
            ask(target, cycle(asked), 2 * _QUESTIONS, lambda _: None)
        ratios = []
        for number in range(given.rounds):
            spent = {}
            for target in (small, large) if number % 2 else (large, small):
                before = cpu_seconds(target.pid)
                ask(target, cycle(asked), given.checks, lambda _: None)
                spent[target.name] = (cpu_seconds(target.pid) - before) / given.checks * 1e6
            ratios.append(spent[large.name] / spent[small.name])
            report.say(", ".join(f"{kind}: {us:.1f} us" for kind, us in spent.items()) + f", ratio {ratios[-1]:.3f}")
    print(f"ratio {median(ratios):.3f}, lowest {min(ratios):.3f}, highest {max(ratios):.3f} (goal: below {GOAL:.2f})")
    return int(median(ratios) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
