"""What bundle data of 100,000 entries takes: memory, and processor time and pauses of updates beside 10,000 policies.

An update is read as a server reads it, with what it remembers of the state before. A pause is the longest stretch in
which the reading thread gave nobody else a turn, as far as the interpreter can tell: a call into C of which another
thread would have to wait for the end. `--json FILE` writes the figures.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from extauthz.bundle import Built, Memory, collector_paused, read_bundle
from extauthz.model.ports import NoTokenCache
from loadtest import scale

ENTRIES, POLICIES, TENANTS = 100_000, 10_000, 1_000
_RELEASED = ("openssl_sha256", "HASH.update")  # calls in which other threads run


def owners(entries: int) -> dict[str, list[str]]:
    """Five accounts of each customer."""
    return {f"user-{number}": [f"account-{number}-{at}" for at in range(5)] for number in range(entries)}


class Updates:
    """The states of one bundle, one after the other."""

    def __init__(self, policies: int, entries: int) -> None:
        self._files = scale.bundle(policies, TENANTS)
        self._owners = owners(entries)
        self._memory = Memory()
        self.write()

    def write(self) -> None:
        """The large file as a whole."""
        self._files["data/portfolio.json"] = json.dumps(self._owners).encode()

    @property
    def data_bytes(self) -> int:
        """Of the large file."""
        return len(self._files["data/portfolio.json"])

    def change_entry(self, number: int) -> None:
        """One entry of the large file."""
        self._owners["user-1"] = [str(number)]
        self.write()

    def change_patch(self, number: int) -> None:
        """One entry by a small file beside it."""
        self._files["data/portfolio.patch.json"] = json.dumps({"user-2": [str(number)]}).encode()

    def change_policy(self, number: int) -> None:
        """One file of a hundred policies."""
        self._files["policies/00000.yaml"] += f"\n# {number}\n".encode()

    def read(self) -> Built:
        """As a server does."""
        with collector_paused():
            return read_bundle(self._files, NoTokenCache(), self._memory)


def seconds(run: Callable[[], Built]) -> float:
    """Of processor time."""
    began = time.thread_time()
    run()
    return time.thread_time() - began


def longest_call(run: Callable[[], Built]) -> tuple[float, str]:
    """The longest call into C, in milliseconds of processor time, and what it was."""
    found, began, before = (0.0, ""), 0.0, ""

    def watch(frame: FrameType, event: str, called: object) -> None:
        nonlocal found, began, before
        took = (time.thread_time() - began) * 1e3
        name = getattr(called, "__qualname__", "")
        # A call that calls back into Python gives others a turn there.
        if event == "c_return" and before == "c_call" and name not in _RELEASED and took > found[0]:
            found = (took, f"{name} in {frame.f_code.co_qualname}")
        began, before = time.thread_time(), event

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--entries", type=int, default=ENTRIES)
    options.add_argument("--policies", type=int, default=POLICIES)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    updates = Updates(given.policies, given.entries)
    figures: dict[str, float | str] = {"entries": given.entries, "data_bytes": updates.data_bytes}
    figures["first_seconds"] = round(seconds(updates.read), 3)
    changes = {"entry": updates.change_entry, "patch": updates.change_patch, "policy": updates.change_policy}
    for name, change in changes.items():
        taken = []
        for number in range(given.rounds):
            change(number)
            taken.append(seconds(updates.read))
        change(-1)
        figures[f"{name}_seconds"] = round(min(taken[1:] or taken), 3)
        pause, where = longest_call(updates.read)
        figures[f"{name}_longest_call_ms"], figures[f"{name}_longest_call"] = round(pause, 2), where
    value = updates.read().data["portfolio"]
    sizes = sum(map(sys.getsizeof, value)) + sum(map(sys.getsizeof, value.values()))
    sizes += sum(sys.getsizeof(text) for each in value.values() for text in each)
    figures["bytes_an_entry"] = round((sizes + sys.getsizeof(value)) / given.entries)
    for name, figure in figures.items():
        print(f"{name:28} {figure}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
