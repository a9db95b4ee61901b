"""h2load (Debian: nghttp2-client) as the closed-loop client, or our own where it is not installed.

Rule 1: an answer counts only if it is one: every response must be 200, and as long as the one that was read before.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from loadtest.header_blocks import Header
from loadtest.http2 import Question
from loadtest.openloop import Client, always

INSTALL = "h2load is not installed (Debian: apt-get install nghttp2-client): using the client of loadtest/openloop.py"


class Run(NamedTuple):
    """What a closed loop did."""

    answered: int
    body_bytes: int  # DATA payload of all answers
    seconds: float
    latencies: list[float]  # seconds


class Shape(NamedTuple):
    """How many questions, how many of them at a time on each connection, and on which core the client runs."""

    streams: int
    total: int
    connections: int = 1
    core: int | None = None


class LoadError(Exception):
    """The client failed, or answers were missing."""


def available() -> bool:
    """Whether h2load is there."""
    return shutil.which("h2load") is not None


def closed_loop(address: tuple[str, int], constant: Sequence[Header], body: bytes, shape: Shape, work: Path) -> Run:
    """Keep the questions of `shape` in flight; raises LoadError unless each is answered with 200."""
    if not available():
        return _ours(address, constant, body, shape)
    question, log = work / "question.bin", work / "h2load.log"
    question.write_bytes(body)
    log.unlink(missing_ok=True)
    path = dict(constant)[":path"]
    headers = [part for name, value in constant if name[0] != ":" for part in ("-H", f"{name}: {value}")]
    command = [
        "h2load",
        "-n",
        str(shape.total),
        "-c",
        str(shape.connections),
        "-m",
        str(shape.streams),
        "-d",
        str(question),
    ]
    command += ["--log-file", str(log), *headers, f"http://{address[0]}:{address[1]}{path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - our own command
    try:
        if shape.core is not None:
            os.sched_setaffinity(process.pid, {shape.core})
        text, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return _read(text, log, shape.total)


def _read(text: str, log: Path, count: int) -> Run:
    finished = re.search(r"finished in ([0-9.]+)(us|ms|s)", text)
    succeeded = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", text)
    data = re.search(r"\((\d+)\) data", text)
    if not (finished and succeeded and data and int(succeeded[1]) == count):
        message = f"h2load: not all of {count} answers came:\n{text}"
        raise LoadError(message)
    seconds = float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[finished[2]]
    latencies = [int(line.split("\t")[2]) / 1e6 for line in log.read_text().splitlines()]
    return Run(count, int(data[1]), seconds, latencies)


def _ours(address: tuple[str, int], constant: Sequence[Header], body: bytes, shape: Shape) -> Run:
    before = os.sched_getaffinity(0)
    if shape.core is not None:
        os.sched_setaffinity(0, {shape.core})
    client = Client(address, constant, connections=shape.connections, timeout=10)
    try:
        places = shape.streams * shape.connections
        asked = client.closed_loop(places, shape.total, always(Question(b"", body)))
        answers = [each for some in asked for each in some]
    finally:
        client.close()
        os.sched_setaffinity(0, before)
    if missing := sum(each.kind < 0 for each in answers):
        message = f"{missing} of {shape.total} answers did not come"
        raise LoadError(message)
    seconds = max(each.ended for each in answers) - min(each.due for each in answers)
    size = sum(len(each.body) for each in answers)
    return Run(shape.total, size, seconds, [each.ended - each.due for each in answers])


def say_if_absent() -> None:
    """Name what is missing."""
    if not available():
        print(INSTALL, file=sys.stderr)
