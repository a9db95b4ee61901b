"""How long Checks stand still because a new bundle has the interpreter: `make pauses`.

A real `extauthz serve` keeps the revisions of a directory. What changes is one policy of 10 and of 10,000, all of them,
and data of 100,000 entries, the file and a patch beside it; then orders go back and forward. A thread inside of the
server asks for its turn every 0.2 ms and notes who kept it waiting, for how long and where (`holds.py`); collections of
the garbage collector are noted apart (`pauses.py`).

A place is counted where it was met in half of the repetitions or more: what is met once is as a rule the machine's
own, which takes a core from whoever has it. The longest of all is shown beside it.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from extauthz.cli.control import ask
from extauthz.cli.demo_stack import start_server
from loadtest import pauses, report, scale
from loadtest.activation import FRAME, HOST, PROBE, TENANTS, Prober
from loadtest.data import ENTRIES, owners
from loadtest.servers import RESULTS

LIMIT_MS = 1.0
_WHO = {"operator": "load", "reason": "make pauses"}
_OFTEN = 0.5  # of the repetitions
_SHOWN = 8  # places of a change
_SETTLE = 0.8  # seconds behind a change: what was in force before is freed then
# Where the kernel works for a thread that gave the interpreter back; on a busy machine others wait for it all the same.
_OF_THE_KERNEL = ("BundleStore._write", "_read", "Path.read_bytes", "CoreServer.poll")
# Threads that bring bundles into force or free them; those that decide are told apart by what they decide.
_BESIDE = ("bundle-source", "retired-bundles", "Thread-", "control", "bundle-orders")


class Change(Struct, frozen=True):
    """One kind of change: how it is made for the n-th time."""

    name: str
    make: Callable[[int], None]


class Site:
    """A bundle on the disk, and the server that follows it."""

    def __init__(self, policies: int, entries: int, root: Path, stack: ExitStack) -> None:
        self.noted = stack.enter_context(pauses.watched(root / "noted", "loadtest.holds"))
        self._bundle, self._control = root / "site" / "bundle", str(root / "control.sock")
        self._owners = owners(entries)
        files = scale.bundle(policies, TENANTS.get(policies, 3))
        files |= {"probe-profile.yaml": FRAME.encode(), "probe.yaml": PROBE.format(number=0, host=HOST).encode()}
        for name, content in files.items():
            self._write(name, content)
        if entries:
            self._write("data/portfolio.json", json.dumps(self._owners).encode())
        settings = {
            "admin.controlSocket": self._control,
            "revocations.file": root / "revoked",
            "bundle.stateDirectory": root / "state",
            "bundle.pollSeconds": 0.1,
        }
        server = start_server(root, stack, self._bundle, [f"{name}={value}" for name, value in settings.items()])
        self._prober = Prober(self._bundle, f"127.0.0.1:{server.port}", stack)
        self._number = 0
        self.policy(0)
        time.sleep(2 * _SETTLE)

    def policy(self, _: int) -> None:
        """One policy is another."""
        self._number += 1
        self._prober.change(self._number)

    def every_policy(self, number: int) -> None:
        """All policies are others."""
        for file in sorted(self._bundle.glob("policies/*.yaml")):
            text = file.read_text()
            self._write(file.relative_to(self._bundle), text.replace("name: staff", f"name: staff{number}x").encode())
        self.policy(number)

    def whole_data(self, number: int) -> None:
        """The large file, with one entry changed."""
        self._owners["user-1"] = [str(number)]
        self._write("data/portfolio.json", json.dumps(self._owners).encode())
        self.policy(number)

    def patched_data(self, number: int) -> None:
        """One entry, by a small file."""
        self._write("data/portfolio.patch.json", json.dumps({"user-2": [str(number)]}).encode())
        self.policy(number)

    def orders(self, _: int) -> None:
        """Two revisions back, which is read from the disk, and forward again."""
        ask(self._control, "POST", "/bundle/rollback", {"steps": 2, **_WHO})
        ask(self._control, "POST", "/bundle/unpin", _WHO)

    def _write(self, name: str | Path, content: bytes) -> None:
        file = self._bundle / name
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}")  # hidden files are not looked at
        fresh.write_bytes(content)
        fresh.replace(file)


def measure(policies: int, entries: int, times: int) -> Iterator[dict[str, Any]]:
    """Every change to one bundle."""
    with tempfile.TemporaryDirectory(prefix="extauthz-pauses-") as work, ExitStack() as stack:
        site = Site(policies, entries, Path(work), stack)
        changes = [Change("one policy", site.policy)]
        if entries:
            changes += [Change("data, the whole file", site.whole_data), Change("data, a patch", site.patched_data)]
        else:
            changes += [Change("every policy", site.every_policy), Change("two back and forward", site.orders)]
        for change in changes:
            began = time.time()
            for number in range(times):
                change.make(number)
                time.sleep(_SETTLE)
            found = _found(site.noted, began, times)
            size = f"{policies:,} policies" + (f", {entries:,} entries" if entries else "")
            report.say(f"{size}, {change.name}: {found['held_ms']} ms held, collector {found['collector_ms']} ms")
            yield {"size": size, "change": change.name, "times": times, **found}


def _found(noted: Path, since: float, times: int) -> dict[str, Any]:
    """What was noted since then: places with the interpreter held, the longest first, and collections."""
    places: dict[tuple[str, str], list[float]] = defaultdict(list)
    for file in noted.glob("*.holds"):
        for line in file.read_text().splitlines():
            hold = json.loads(line)
            if hold["at"] >= since and hold["thread"].startswith(_BESIDE) and hold["stack"]:
                thread = "order" if hold["thread"].startswith("Thread-") else hold["thread"]
                places[thread, " < ".join(hold["stack"][:3])].append(hold["ms"])
    rows = [
        {
            "thread": thread,
            "place": place,
            "met": len(held),
            "median_ms": round(median(held), 2),
            "longest_ms": round(max(held), 2),
            "kernel": place.partition(" < ")[0].endswith(_OF_THE_KERNEL),
        }
        for (thread, place), held in places.items()
    ]
    rows.sort(key=lambda row: -row["median_ms"])
    often = [row for row in rows if row["met"] >= _OFTEN * times]
    own = [row for row in often if not row["kernel"]]
    return {
        "held_ms": own[0]["median_ms"] if own else 0.0,
        "where": own[0]["place"].partition(" < ")[0] if own else "",
        "longest_ms": max((row["longest_ms"] for row in rows), default=0.0),
        "kernel_ms": max((row["median_ms"] for row in often if row["kernel"]), default=0.0),
        "collector_ms": round(max(pauses.longest(noted, since).values(), default=0.0), 2),
        "places": often[:_SHOWN],
    }


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """Limits that were not kept."""
    return [
        f"{row['size']}, {row['change']}: {what} {row[name]} ms, at most {LIMIT_MS:g} ms are wanted"
        for row in rows
        for name, what in (("held_ms", f"{row['where']} held the interpreter"), ("collector_ms", "the collector took"))
        if row[name] > LIMIT_MS
    ]


def main() -> int:
    """Measure, write, judge; 1 when a limit was not kept."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--times", type=int, default=8, help="of each change (8)")
    cli.add_argument("--policies", type=int, nargs="+", default=[10, 10_000], help="of the bundles (10 10000)")
    cli.add_argument("--entries", type=int, default=ENTRIES, help="of data, beside 10 policies (100000)")
    given = cli.parse_args()
    sizes = [(policies, 0) for policies in given.policies] + ([(10, given.entries)] if given.entries else [])
    rows = [row for policies, entries in sizes for row in measure(policies, entries, given.times)]
    head = ("bundle", "change", "held", "where", "longest once", "in the kernel", "collector")
    names = ("size", "change", "held_ms", "where", "longest_ms", "kernel_ms", "collector_ms")
    table = report.Table(
        "Milliseconds in which no Check is decided", head, [[row[name] for name in names] for row in rows]
    )
    verdict = missed(rows)
    result = {"environment": report.environment(), "limit_ms": LIMIT_MS, "changes": rows}
    report.say_files(report.write(RESULTS, "pauses", result, {}, [table], verdict))
    for line in verdict:
        report.say(f"MISSED: {line}")
    return int(bool(verdict))


if __name__ == "__main__":
    sys.exit(main())
