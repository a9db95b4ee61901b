"""How many instructions a whole Check takes beside a candidate, transport included, by valgrind's callgrind.

A server of one process answers gRPC from a client outside of valgrind, one Check at a time: without a candidate, and
then with none again, or one at a sample of 1 %, of 100 %, or one that refuses everything. All that the process does
meanwhile counts, in every thread; what the kernel does is not counted. Such counts differ by some tenths of a per cent
from run to run, so that they can tell what 1 % of Checks costs. Processor time can not.
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loadtest import figures, h2load, instructions, report, servers
from loadtest.h2load import Shape
from loadtest.instructions import control
from loadtest.questions import framed, grpc_headers

BUDGET = {"hundredth": 1.02, "all": 1.40}  # of the instructions without a candidate
ROUNDS, CHECKS = 8, 200
_PATIENCE_SECONDS = 30.0  # of a Check, below valgrind
_READY, _END, _UNCOUNTED = "ready", "end", "?"
_WARM_UP = 50
_NAMES = ("none", "again", "hundredth", "all", "refusing")


class Pair(NamedTuple):
    """Instructions of a whole Check, and without a candidate right before."""

    mine: float
    none: float


def inner() -> None:
    """Runs below valgrind, which counts nothing until told: `MODE` from standard input, then an empty line to end."""
    from extauthz.transport import ListenOptions, TransportOptions, open_transport  # noqa: PLC0415 - only here
    from extauthz.wire import LAST_RESORT  # noqa: PLC0415
    from loadtest.candidate_modes import Modes  # noqa: PLC0415

    modes = Modes({"none": None, "again": None, "hundredth": 0.01, "all": 1.0, "refusing": 1.0})
    point, case = modes.point, modes.case
    listen = ListenOptions(address="127.0.0.1:0")
    transport = open_transport(listen, TransportOptions(), LAST_RESORT, point.metrics.shed).transport
    address = transport.bind()
    transport.start(point.handler, modes)
    transport.set_serving(serving=True)
    (question,) = modes.questions(case, 1)
    sys.stdout.write(f"{address.rpartition(':')[2]} {framed(question).hex()}\n")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    gc.disable()
    for number, line in enumerate(iter(sys.stdin.readline, "")):
        name = line.strip()
        modes.choose(name.removesuffix(_UNCOUNTED))
        if not name.endswith(_UNCOUNTED):
            control("--instr=on")
        _say(_READY)
        sys.stdin.readline()
        modes.sweep()
        if not name.endswith(_UNCOUNTED):
            control(f"--dump={name}/{number}")
            control("--instr=off")
            control("--zero")
        _say(_END)
    transport.stop(0)
    point.close()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


@contextmanager
def below_valgrind(work: Path) -> Iterator["subprocess.Popen[str]"]:
    """The server. Ends it."""
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={work}/out"]
    command += [sys.executable, "-m", "loadtest.candidate_whole", "--inner"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=servers.ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def count(rounds: int, checks: int) -> dict[str, list[Pair]]:
    """By what stands beside the Checks, for each round."""
    with tempfile.TemporaryDirectory(prefix="extauthz-instructions-") as name:
        work = Path(name)
        with below_valgrind(work) as process:
            if process.stdin is None or process.stdout is None:
                sys.exit("no pipe to the server")
            port, _, question = process.stdout.readline().strip().partition(" ")
            if not port:
                sys.exit("the server did not start below valgrind")
            body, headers = bytes.fromhex(question), grpc_headers(_PATIENCE_SECONDS)

            def ask(mode: str, number: int) -> None:
                process.stdin.write(f"{mode}\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                process.stdout.readline()  # type: ignore[union-attr]
                h2load.closed_loop(("127.0.0.1", int(port)), headers, body, Shape(1, number), work)
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                process.stdout.readline()  # type: ignore[union-attr]

            for mode in _NAMES:
                ask(f"{mode}{_UNCOUNTED}", _WARM_UP)
            for _ in range(rounds):
                for mode in _NAMES[1:]:
                    ask(_NAMES[0], checks)
                    ask(mode, checks)
        found = instructions.read(work)
    return pairs(found, checks)


def pairs(found: Mapping[str, int], checks: int) -> dict[str, list[Pair]]:
    """Each count beside the one without a candidate right before; `found` by name and number of the count."""
    rows: dict[str, list[Pair]] = {}
    none = 0.0
    for key, total in sorted(found.items(), key=lambda each: int(each[0].rpartition("/")[2])):
        name = key.partition("/")[0]
        if name == _NAMES[0]:
            none = total / checks
        else:
            rows.setdefault(name, []).append(Pair(total / checks, none))
    return rows


def ratio(runs: Sequence[Pair]) -> figures.Ratio:
    """Of what stands beside the Checks to nothing."""
    return figures.paired([run.mine for run in runs], [run.none for run in runs])


def missed(counted: Mapping[str, Sequence[Pair]]) -> list[str]:
    """One line for each ratio above its budget by more than the noise of its median."""
    lines = []
    for name, budget in BUDGET.items():
        found, again = ratio(counted[name]), ratio(counted["again"])
        off = 2 * max(found.noise, again.noise) / len(counted[name]) ** 0.5
        if found.median > budget + off:
            lines.append(
                f"{name} takes {found.median:.4f} +- {off:.4f} times as many instructions, budget {budget:.2f}"
            )
    return lines


def main() -> int:
    """Count, judge and print; 1 when a candidate costs more than it may."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each ({ROUNDS})")
    options.add_argument("--checks", type=int, default=CHECKS, help=f"of a round ({CHECKS})")
    options.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.inner:
        inner()
        return 0
    if not instructions.available():
        report.say(instructions.INSTALL)
        return 0
    counted = count(given.rounds, given.checks)
    base = median(run.none for run in counted["again"])
    report.say(f"{base:.0f} instructions a whole Check without a candidate")
    for name, runs in counted.items():
        found = ratio(runs)
        report.say(f"{name:9} {found.median:.4f} ({found.low:.4f} to {found.high:.4f})")
    lines = missed(counted)
    for line in lines:
        report.say(f"FAILED: {line}")
    if not lines:
        report.say("PASSED: a candidate takes no more instructions than it may")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
