"""How long the garbage collector stops a server that serves: every collection, by generation.

`watched` makes each `extauthz serve` that is started inside of it note its collections, by a `sitecustomize` of ours;
nothing of the server is changed. `longest` reads what was noted: processor time, for on a busy machine a collection
waits for others too.
"""

import gc
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent  # nothing else is imported: this runs inside of what is measured

LIMIT_MS = 1.0
_WORTH_NOTING = 50e-6  # seconds; shorter ones are told apart from none by nobody


def watch(directory: str) -> None:
    """Note this process's collections from now on, each as a line."""
    file = (Path(directory) / f"{os.getpid()}.jsonl").open("a", buffering=1)
    began, spent = 0.0, 0.0

    def note(phase: str, about: dict[str, int]) -> None:
        nonlocal began, spent
        now, used = time.perf_counter(), time.thread_time()
        if phase == "start":
            began, spent = now, used
        elif now - began >= _WORTH_NOTING:
            took = {"ms": (used - spent) * 1e3, "wall_ms": (now - began) * 1e3}
            file.write(json.dumps({"at": time.time(), **took, **about}) + "\n")

    gc.callbacks.append(note)


@contextmanager
def watched(directory: Path, *others: str) -> Iterator[Path]:
    """Inside, processes that are started note their collections below `directory`; `others` watch them, too."""
    directory.mkdir(parents=True)
    watchers = [f"from {name} import watch\nwatch({str(directory)!r})\n" for name in ("loadtest.pauses", *others)]
    (directory / "sitecustomize.py").write_text("".join(watchers))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join((str(directory), str(ROOT), *([before] if before else [])))
    try:
        yield directory
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def longest(directory: Path, since: float) -> dict[int, float]:
    """The longest collection of each generation since that time (seconds since the epoch), in milliseconds."""
    found: dict[int, float] = {}
    for file in directory.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            noted = json.loads(line)
            if noted["at"] >= since:
                found[noted["generation"]] = max(noted["ms"], found.get(noted["generation"], 0.0))
    return dict(sorted(found.items()))
