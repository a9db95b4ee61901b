"""Seconds that an order takes, over 10 and over 10,000 policies: `make rollback`.

A real `extauthz serve` keeps the revisions of a directory. To the revision before, which is still in memory; two
further back, which is read from the disk, verified and compiled; and forward again. What is measured is from the order
to its answer; the next Check must then be decided by that revision.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import grpc

from extauthz.cli.control import ask
from extauthz.cli.demo_stack import start_server
from extauthz.wire.twin import Check, build_check, read_answer
from loadtest import report
from loadtest.activation import CHECK, HOST, SIZES, Prober, write_bundle
from loadtest.servers import RESULTS

GOAL_SECONDS = 1.0  # of a rollback to the revision before
_WHO = {"operator": "load", "reason": "make rollback"}
KINDS = ("to the revision before", "two further back", "forward again")


def measure(policies: int, times: int, workers: int) -> dict[str, Any]:
    """One size of a bundle."""
    with tempfile.TemporaryDirectory(prefix="extauthz-rollback-") as work, ExitStack() as stack:
        root, bundle = Path(work), Path(work) / "site" / "bundle"
        write_bundle(bundle, policies)
        control = str(root / "control.sock")
        settings = [f"admin.controlSocket={control}", f"revocations.file={root / 'revoked'}"]
        settings += [f"bundle.stateDirectory={root / 'state'}", f"workers.count={workers}"]
        server = start_server(root, stack, bundle, settings)
        address = f"127.0.0.1:{server.port}"
        prober = Prober(bundle, address, stack)
        decide = stack.enter_context(grpc.insecure_channel(address)).unary_unary(CHECK)
        check = build_check(Check(host=HOST, path="/change/0"))
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        wrong: list[str] = []
        for turn in range(times):
            last = 4 * turn + 4
            for number in range(last - 3, last + 1):
                prober.change(number)
            for kind, target, body, expected in (
                (KINDS[0], "rollback", {}, last - 1),
                (KINDS[1], "rollback", {"steps": 2}, last - 3),
                (KINDS[2], "unpin", {}, last),
            ):
                began = time.perf_counter()
                ask(control, "POST", f"/bundle/{target}", body | _WHO)
                taken[kind].append(time.perf_counter() - began)
                found = read_answer(decide(check, timeout=10)).metadata["revision"]
                if found != f"change-{expected}":
                    wrong.append(f"{kind}: the next Check was decided by {found}, not change-{expected}")
            said = ", ".join(f"{kind} {taken[kind][-1]:.3f} s" for kind in KINDS)
            report.say(f"{policies} policies, {turn + 1} of {times}: {said}")
    return {
        "policies": policies,
        "workers": workers,
        "seconds": {kind: [round(each, 4) for each in seconds] for kind, seconds in taken.items()},
        "median_seconds": {kind: round(median(seconds), 4) for kind, seconds in taken.items()},
        "maximum_seconds": {kind: round(max(seconds), 4) for kind, seconds in taken.items()},
        "wrong": wrong,
    }


def missed(sizes: Sequence[dict[str, Any]]) -> list[str]:
    """Limits that were not kept."""
    lines = []
    for size in sizes:
        of, most = f"{size['policies']:,} policies", size["maximum_seconds"][KINDS[0]]
        if most > GOAL_SECONDS:
            lines.append(f"{of}: a rollback took {most:.2f} s, at most {GOAL_SECONDS:g} s are wanted")
        lines += [f"{of}: {line}" for line in size["wrong"]]
    return lines


def main() -> int:
    """Measure, write, judge; 1 when a limit was not kept."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--times", type=int, default=10, help="of each order (10)")
    cli.add_argument("--policies", type=int, nargs="+", default=SIZES, help=f"of the bundles (default: {SIZES})")
    cli.add_argument("--workers", type=int, default=1, help="of the server; each follows before the answer (1)")
    given = cli.parse_args()
    sizes = [measure(policies, given.times, given.workers) for policies in given.policies]
    result = {"environment": report.environment(), "goal_seconds": GOAL_SECONDS, "sizes": sizes}
    rows = [
        (f"{size['policies']:,}", kind, given.times, size["median_seconds"][kind], size["maximum_seconds"][kind])
        for size in sizes
        for kind in KINDS
    ]
    table = report.Table(
        "From the order to its answer, seconds", ("policies", "order", "times", "median", "most"), rows
    )
    verdict = missed(sizes)
    report.say_files(report.write(RESULTS, "rollback", result, {}, [table], verdict))
    for row in rows:
        report.say(f"{row[0]} policies, {row[1]}: median {row[3]:.3f} s, most {row[4]:.3f} s")
    for line in verdict:
        report.say(f"MISSED: {line}")
    return int(bool(verdict))


if __name__ == "__main__":
    sys.exit(main())
