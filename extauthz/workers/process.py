"""One worker process and the channel to it: started, told what it is, asked, ended.

Rule 1: it is started by exec and inherits two sockets and nothing else.
Rule 2: it is ended by the pid that was started, and always awaited.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from extauthz.workers.channel import Channel, ChannelError, Handler
from extauthz.workers.plan import Beat, Boot, Failed, Listening

T = TypeVar("T")

_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerProcess:
    """From exec to exit."""

    def __init__(self) -> None:
        """Start it; it loads its modules and waits for `boot`. Raises OSError."""
        self.listening: Listening | None = None
        self.failed: Failed | None = None
        self.last: Beat | None = None  # of one that ended as it should
        self._settled, self._ended = threading.Event(), threading.Event()
        ours, theirs = socket.socketpair()
        # Whole messages, so that a passed connection and its byte stay together.
        self._passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._passing.settimeout(0)
        with theirs, passed:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-m", "extauthz", "serve", "--worker", f"{theirs.fileno()},{passed.fileno()}"],
                    pass_fds=(theirs.fileno(), passed.fileno()),
                    stdin=subprocess.DEVNULL,
                    process_group=0,  # Ctrl-C reaches the supervisor, which ends its workers in order
                )
            except OSError:
                ours.close()
                self._passing.close()
                raise
        own: dict[str, Handler] = {"listening": self._on_listening, "failed": self._on_failed, "last": self._on_last}
        self._channel = Channel(ours, own, {}, self._on_channel_end)
        self._channel.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def memory(self) -> int:
        """Resident bytes; 0 when it is gone."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            return 0

    def boot(self, boot: Boot, slow: Mapping[str, Handler], fast: Mapping[str, Handler]) -> None:
        """Tell it what it is; from now on it may ask. Raises ChannelError."""
        self._channel.slow.update(slow)
        self._channel.fast.update(fast)
        self._channel.tell("boot", msgspec.json.encode(boot))

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until it listens, has said why it does not, or ended; False when time is up."""
        return self._settled.wait(seconds)

    def ended(self, seconds: float) -> bool:
        """Whether its channel ended within so many seconds, and it with it."""
        return self._ended.wait(seconds)

    def beat(self, seconds: float) -> Beat:
        """How it fares. Raises ChannelError."""
        return _decoded(self._channel.ask("beat", seconds=seconds), Beat)

    def status(self, seconds: float) -> bytes:
        """Its status page as JSON. Raises ChannelError."""
        return self._channel.ask("status", seconds=seconds)

    def follow(self, news: bytes, seconds: float) -> None:
        """Hand over run-time state; on return it is in force. Raises ChannelError."""
        self._channel.ask("follow", news, seconds)

    def order(self, ordered: bytes, seconds: float) -> None:
        """Tell of an order about bundles; on return it is carried out. Raises ChannelError."""
        self._channel.ask("order", ordered, seconds)

    def hand_over(self, connection: socket.socket) -> bool:
        """Let it serve a connection of the control socket; False when it takes none."""
        try:
            socket.send_fds(self._passing, [b"c"], [connection.fileno()])
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Ask it to drain and end; asked twice, it makes haste."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status, negative for a signal; None when it still runs. Whoever gets it closes the channel."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Give back what was open for it."""
        self._channel.close()
        self._passing.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _on_listening(self, body: bytes) -> bytes:
        self.listening = _decoded(body, Listening)
        self._settled.set()
        return b""

    def _on_last(self, body: bytes) -> bytes:
        self.last = _decoded(body, Beat)
        return b""

    def _on_channel_end(self) -> None:
        self._ended.set()
        self._settled.set()

    def _on_failed(self, body: bytes) -> bytes:
        self.failed = _decoded(body, Failed)
        return b""


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        message = f"the answer is garbled: {error}"
        raise ChannelError(message) from error
