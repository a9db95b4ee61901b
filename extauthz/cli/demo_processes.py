"""Child processes of the demo and of the end-to-end tests: started, awaited, always ended.

Rule 1: every child leads its own session, so that Ctrl-C reaches the parent alone, which ends them in order.
Rule 2: a child is on a leash: if the parent is killed, the kernel ends it too.
Rule 3: children are ended by the pid that was started, never by name.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# prctl(PR_SET_PDEATHSIG, SIGTERM), then become the program: no Python runs between fork and exec.
# The leash is tied to the thread that starts the child, so start children from one that lasts.
_LEASH = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)
_POLL_SECONDS = 0.02


class StartError(Exception):
    """A child ended or did not become ready; the text names it and quotes the end of its log."""


class Child:
    """One running program with its log file."""

    def __init__(self, name: str, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it; stdout and stderr go to `log`."""
        self.name = name
        self.log = log
        command = [str(part) for part in argv]
        if sys.platform == "linux":
            command = [sys.executable, "-c", _LEASH, str(os.getpid()), *command]
        with log.open("ab") as file:
            self.process = subprocess.Popen(  # noqa: S603 - our own programs with our own arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        """The process id: the leash becomes the program, so it is the program's own."""
        return self.process.pid

    def await_ready(self, probe: Callable[[], T | None], seconds: float = 30.0) -> T:
        """What `probe` returns once it is not None. Raises StartError when the child ends or time is up."""
        deadline = time.monotonic() + seconds
        while (found := probe()) is None:
            if self.process.poll() is not None:
                raise StartError(self._failure(f"ended with status {self.process.returncode}"))
            if time.monotonic() > deadline:
                raise StartError(self._failure(f"was not ready after {seconds:g} s"))
            time.sleep(_POLL_SECONDS)
        return found

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, then SIGKILL when it takes too long. Returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(seconds)
            self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def _failure(self, what: str) -> str:
        return f"{self.name} {what}; the end of {self.log}:\n" + "\n".join(_tail(self.log, 15))


def _tail(file: Path, lines: int) -> Iterator[str]:
    text = file.read_text(errors="replace") if file.exists() else ""
    return (f"  {line}" for line in text.splitlines()[-lines:])


def read_port(file: Path) -> int | None:
    """The port a child wrote once it listens; None before."""
    return int(file.read_text()) if file.exists() else None
