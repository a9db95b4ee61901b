"""How many instructions a Check takes, by valgrind's callgrind: the same on a busy machine and on an idle one.

A Check is `Handler.answer` over the example bank with tokens that are cached, in one process without a server. It is
counted beside a yardstick that no change of ours touches, in the same process, and compared as a ratio with that of
`loadtest/reference/instructions.json`, which is kept by build of the interpreter. `--update` writes it anew, after a
change that was meant.
"""

import argparse
import gc
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loadtest import report, servers

REFERENCE = servers.HOME / "reference" / "instructions.json"
TOLERANCE = 0.05
CHECKS = 100  # of each kind
NOTHING, _YARDSTICK = "nothing", "yardstick"
INSTALL = "valgrind is not installed (Debian: apt-get install valgrind): instructions are not counted"


def yardstick(rounds: int) -> int:
    """What an interpreter does all day: look up, split, join, call, hash; deterministic."""
    seen: dict[str, int] = {}
    for number in range(rounds):
        path = f"/api/customers/c-{number:05}/accounts"
        parts = tuple(path.split("/")[1:])
        seen[parts[2]] = seen.get(parts[2], 0) + len(parts)
        digest = hashlib.sha256("".join(parts).encode() * 20).hexdigest()
        seen[digest[:8]] = sum(ord(letter) for letter in digest)
    return len(seen)


def available() -> bool:
    """Whether instructions can be counted."""
    return shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None


def machine() -> str:
    """What a reference holds for: builds of the interpreter differ in how much they do for a line of Python."""
    tuned = "optimized" if "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")) else "plain"
    parts = (
        platform.python_implementation(),
        platform.python_version(),
        platform.machine(),
        platform.python_compiler(),
    )
    return " ".join((*parts, tuned))


def inner() -> None:
    """Runs below valgrind, which counts nothing until told."""
    from loadtest.points import BANK_CASES, bank, questions, token  # noqa: PLC0415 - only here are they needed

    point = bank()
    kinds: dict[str, Callable[[], object]] = {NOTHING: lambda: None, _YARDSTICK: lambda: yardstick(10 * CHECKS)}
    for case in BANK_CASES:
        credentials = [token(case, number) for number in range(4)]
        warm, asked = (questions(case, credentials, first, CHECKS) for first in (0, CHECKS))
        for raw in warm:
            point.answer(raw)
        kinds[case.name] = lambda asked=asked: [point.answer(raw) for raw in asked]  # type: ignore[misc]
    yardstick(CHECKS)
    dump(kinds)
    point.close()


def dump(kinds: Mapping[str, Callable[[], object]]) -> None:
    """Run each below callgrind, and have what it took written down under its name. Nothing is collected meanwhile."""
    gc.collect()
    gc.freeze()
    gc.disable()
    for name, run in kinds.items():
        control("--instr=on")
        run()
        control(f"--dump={name}")
        control("--instr=off")
        control("--zero")


def control(order: str) -> None:
    """Tell callgrind, below which this process runs."""
    done = subprocess.run(  # noqa: S603 - our own command
        [shutil.which("callgrind_control") or "", order, str(os.getpid())], check=True, capture_output=True, text=True
    )
    if "Error" in done.stdout:
        sys.exit(done.stdout)


def count(module: str = "loadtest.instructions") -> dict[str, int]:
    """Instructions of all that `module` dumps when it is run with --inner, without those of counting itself."""
    with tempfile.TemporaryDirectory(prefix="extauthz-instructions-") as work:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={work}/out"]
        command += [sys.executable, "-m", module, "--inner"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=servers.ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"valgrind ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        found = read(Path(work))
    nothing = found.pop(NOTHING)
    return {name: total - nothing for name, total in found.items()}


def read(directory: Path) -> dict[str, int]:
    """The totals of callgrind's dumps by what triggered them."""
    found = {}
    for file in directory.glob("out.*"):
        text = file.read_text()
        trigger = re.search(r"^desc: Trigger: dump (.+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
        if trigger and total:
            found[trigger[1]] = int(total[1])
    return found


def ratios(counted: dict[str, int]) -> dict[str, float]:
    """Of a Check of each kind to the yardstick."""
    unit = counted[_YARDSTICK] / 10  # about as much as a Check
    return {name: round(total / unit, 4) for name, total in counted.items() if name != _YARDSTICK}


def judge(found: dict[str, float], reference: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(what got dearer by more than the tolerance, remarks), against the reference for this interpreter."""
    wanted = reference.get(machine(), {})
    if not wanted:
        return [], [f"there is no reference for {machine()}: instructions are reported, not judged"]
    worse, remarks = [], []
    for name, ratio in found.items():
        if name not in wanted:
            remarks.append(f"{name}: not in the reference")
        elif ratio > wanted[name] * (1 + TOLERANCE):
            worse.append(
                f"a Check `{name}` takes {ratio / wanted[name] - 1:+.1%} instructions against the reference,"
                f" {TOLERANCE:.0%} is allowed; if that was meant: python -m loadtest.instructions --update"
            )
        elif ratio < wanted[name] * (1 - TOLERANCE):
            remarks.append(f"{name}: {ratio / wanted[name] - 1:+.1%} instructions: --update would hold on to that")
    return worse, remarks


def load_reference() -> dict[str, Any]:
    """By interpreter, the ratio of each kind."""
    return dict(json.loads(REFERENCE.read_text())) if REFERENCE.exists() else {}


def main() -> int:
    """Count, compare, print; 1 when something got dearer."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--update", action="store_true", help="write the reference for this interpreter anew")
    options.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.inner:
        inner()
        return 0
    if not available():
        report.say(INSTALL)
        return 0
    counted = count()
    found = ratios(counted)
    for name, ratio in found.items():
        report.say(f"{name:14} {counted[name] / CHECKS:9.0f} instructions a Check, {ratio:.4f} of the yardstick")
    if given.update:
        REFERENCE.parent.mkdir(exist_ok=True)
        REFERENCE.write_text(json.dumps(load_reference() | {machine(): found}, indent=1, sort_keys=True) + "\n")
        report.say(f"wrote {REFERENCE}")
        return 0
    worse, remarks = judge(found, load_reference())
    for line in (*worse, *remarks):
        report.say(line)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
