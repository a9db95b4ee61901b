"""Seconds from a changed file to the first answer by it, over 10 and over 10,000 policies: `make activation`.

A real `extauthz serve` watches a directory. A policy in a file of its own allows one path, another with each change;
the new file is renamed into its place, and the server is asked for the new path until it is allowed. What is between
two questions is the error of the measurement. Every answer must be explicit and by one revision, the old or the new.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import grpc

from extauthz.cli.demo_stack import start_server
from extauthz.wire.twin import Answer, Check, build_check, read_answer
from loadtest import report, scale
from loadtest.servers import RESULTS, cpu_seconds

CHECK = "/envoy.service.auth.v3.Authorization/Check"
HOST = "probe.bank.example"
SIZES = (10, 10_000)
TENANTS = {10: 3, 10_000: 1_000}
GOAL_SECONDS = 2.0  # from the change to the answer, for every change
PATIENCE_SECONDS = 60.0
BETWEEN_SECONDS = 0.002  # two questions
PAUSE_SECONDS = (0.1, 0.8)  # between a change in force and the next, so that they are not in step with the server
FRAME = f"""apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: probe}}
spec:
  match: {{hosts: [{HOST}]}}
  authentication: {{mode: none}}
"""
PROBE = """apiVersion: extauthz.io/v1
kind: Bundle
metadata: {{name: activation}}
spec: {{revision: change-{number}}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: probe}}
spec:
  effect: allow
  match: {{hosts: [{host}]}}
  rules:
  - name: only
    to: [{{methods: [GET], paths: [/change/{number}]}}]
"""


class Prober:
    """Changes the file, and asks."""

    def __init__(self, bundle: Path, address: str, stack: ExitStack) -> None:
        self._file = bundle / "probe.yaml"
        self._ask = stack.enter_context(grpc.insecure_channel(address)).unary_unary(CHECK)
        self.questions = 0
        self.wrong: list[str] = []

    def change(self, number: int) -> float:
        """Seconds until it was in force."""
        fresh = self._file.with_name(".probe")  # hidden files are not looked at
        fresh.write_text(PROBE.format(number=number, host=HOST))
        fresh.replace(self._file)
        began = time.perf_counter()
        while time.perf_counter() - began < PATIENCE_SECONDS:
            answer = self._answer(number)
            now = time.perf_counter()
            if answer.allowed:
                return now - began
            time.sleep(BETWEEN_SECONDS)
        sys.exit(f"change {number} is not in force after {PATIENCE_SECONDS:.0f} s")

    def _answer(self, number: int) -> Answer:
        answer = read_answer(self._ask(build_check(Check(host=HOST, path=f"/change/{number}")), timeout=10))
        self.questions += 1
        by = answer.metadata["revision"]
        expected = {f"change-{number}": "policy_allowed", f"change-{number - 1}": "no_policy_matched"}.get(by)
        if answer.metadata["reason"] != expected:
            self.wrong.append(f"{answer.metadata['reason']} by {by} while {number} was awaited")
        return answer


def write_bundle(bundle: Path, policies: int) -> None:
    """So many policies, and the one that a `Prober` changes."""
    files = scale.bundle(policies, TENANTS.get(policies, max(3, policies // 10)))
    probe = PROBE.format(number=0, host=HOST).encode()
    for name, content in {**files, "probe-profile.yaml": FRAME.encode(), "probe.yaml": probe}.items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(content)


def measure(policies: int, changes: int) -> dict[str, Any]:
    """One size of a bundle."""
    with tempfile.TemporaryDirectory(prefix="extauthz-activation-") as work, ExitStack() as stack:
        root, bundle = Path(work), Path(work) / "site" / "bundle"
        write_bundle(bundle, policies)
        server = start_server(root, stack, bundle)
        prober = Prober(bundle, f"127.0.0.1:{server.port}", stack)
        prober.change(1)  # whatever is slow once
        taken, asked, spent = [], prober.questions, cpu_seconds(server.child.pid)
        for number in range(2, changes + 2):
            time.sleep(random.uniform(*PAUSE_SECONDS))
            taken.append(prober.change(number))
            if number % 20 == 0:
                report.say(
                    f"{policies} policies, {number - 1} changes: median {median(taken):.3f} s, most {max(taken):.3f} s"
                )
        spent = cpu_seconds(server.child.pid) - spent
    return {
        "policies": policies,
        "changes": changes,
        "median_seconds": round(median(taken), 4),
        "p95_seconds": round(quantiles(taken, n=20)[-1], 4),
        "maximum_seconds": round(max(taken), 4),
        # Of the server, the answers to the questions among it: what does not depend on who else uses the machine.
        "cpu_seconds_a_change": round(spent / changes, 4),
        "questions": prober.questions - asked,
        "wrong_answers": prober.wrong,
        "seconds": [round(each, 4) for each in taken],
    }


def missed(sizes: Sequence[dict[str, Any]]) -> list[str]:
    """Limits that were not kept."""
    lines = []
    for size in sizes:
        of = f"{size['policies']:,} policies"
        if size["maximum_seconds"] > GOAL_SECONDS:
            lines.append(
                f"{of}: a change took {size['maximum_seconds']:.2f} s, at most {GOAL_SECONDS:.0f} s are wanted"
            )
        if size["wrong_answers"]:
            lines.append(f"{of}: {len(size['wrong_answers'])} wrong answers, the first: {size['wrong_answers'][0]}")
    return lines


def main() -> int:
    """Measure, write, judge; 1 when a limit was not kept."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--changes", type=int, default=200, help="of each bundle (default: 200)")
    options.add_argument("--policies", type=int, nargs="+", default=SIZES, help=f"of the bundles (default: {SIZES})")
    given = options.parse_args()
    random.seed(7)
    sizes = [measure(policies, given.changes) for policies in given.policies]
    result = {"environment": report.environment(), "goal_seconds": GOAL_SECONDS, "sizes": sizes}
    rows = [
        [
            f"{size['policies']:,}",
            size["changes"],
            *(size[f"{name}_seconds"] for name in ("median", "p95", "maximum")),
            size["cpu_seconds_a_change"],
        ]
        for size in sizes
    ]
    table = report.Table(
        "From the changed file to the first answer, seconds",
        ["policies", "changes", "median", "p95", "maximum", "CPU a change"],
        rows,
    )
    series = [
        report.Series(f"{size['policies']:,} policies", list(range(len(size["seconds"]))), sorted(size["seconds"]))
        for size in sizes
    ]
    plot = report.lines("Changes by how long they took", "change", "seconds", series)
    verdict = missed(sizes)
    report.say_files(report.write(RESULTS, "activation", result, {"seconds": plot}, [table], verdict))
    for row in rows:
        report.say(
            f"{row[0]} policies, {row[1]} changes: median {row[2]:.3f} s, p95 {row[3]:.3f} s, maximum {row[4]:.3f} s"
        )
    for line in verdict:
        report.say(f"MISSED: {line}")
    return int(bool(verdict))


if __name__ == "__main__":
    sys.exit(main())
