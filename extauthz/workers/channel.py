"""Questions and answers between supervisor and worker, both ways over one socket.

Rule 1: a frame is read whole or the channel is at its end; a partner that does not take what is sent is at its end too.
Rule 2: the thread that reads never waits: what may take long is answered on a thread of its own.
Rule 3: the end of the channel is the end of the partner, however it came about: the kernel closes it.
"""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import suppress
from itertools import count

import msgspec

log = logging.getLogger("extauthz.workers")

Handler = Callable[[bytes], bytes]

_LENGTH = struct.Struct("!I")
_MAX_FRAME = 256 << 20  # as large as the file of run-time revocations may be
# A stopped partner leaves the buffer full; a busy one takes 30 MB in well under a second.
_SEND_TIMEOUT = struct.pack("ll", 5, 0)  # struct timeval
_THREADS = 4
_RESULT, _FAILURE = "=", "!"


class ChannelError(Exception):
    """No answer: the partner is gone, did not answer in time, or could not."""


class Channel:
    """One end. `fast` is answered by the thread that reads, `slow` beside it; both may be added to."""

    def __init__(
        self,
        end: socket.socket,
        fast: Mapping[str, Handler],
        slow: Mapping[str, Handler],
        on_end: Callable[[], None],
    ) -> None:
        """Nothing is read before `start`."""
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        self.fast, self.slow = dict(fast), dict(slow)
        self._end, self._on_end = end, on_end
        self._asked: dict[int, Future[bytes]] = {}
        self._numbers = count(1)
        self._sending = threading.Lock()
        self._ended = False
        self._beside = ThreadPoolExecutor(_THREADS, thread_name_prefix="channel")
        self._reader = threading.Thread(target=self._read, name="channel", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    def ask(self, kind: str, body: bytes = b"", seconds: float = 5.0) -> bytes:
        """The partner's answer. Raises ChannelError."""
        number, answer = next(self._numbers), Future[bytes]()
        self._asked[number] = answer
        try:
            if self._ended:
                raise ChannelError("the other process is gone")  # noqa: EM101, TRY003
            self._send(number, kind, body)
            return answer.result(seconds)
        except NoAnswer:
            message = f"no answer to `{kind}` within {seconds:g} s"
            raise ChannelError(message) from None
        finally:
            self._asked.pop(number, None)

    def tell(self, kind: str, body: bytes = b"") -> None:
        """Say something that needs no answer. Raises ChannelError."""
        self._send(0, kind, body)

    def close(self) -> None:
        """End the channel; `on_end` is not called for it."""
        self._on_end = _nothing
        self._hang_up()
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(1.0)
        self._end.close()

    def _send(self, number: int, kind: str, body: bytes) -> None:
        frame = msgspec.msgpack.encode((number, kind, body))
        try:
            with self._sending:
                self._end.sendall(_LENGTH.pack(len(frame)) + frame)
        except OSError as error:
            self._hang_up()  # half a frame may have gone
            message = f"the other process takes nothing: {(error.strerror or str(error)).lower()}"
            raise ChannelError(message) from error

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    # --- the thread that reads

    def _read(self) -> None:
        with suppress(OSError, msgspec.MsgspecError):
            while frame := self._receive():
                self._take(*msgspec.msgpack.decode(frame, type=tuple[int, str, bytes]))
        self._ended = True
        for answer in list(self._asked.values()):
            if not answer.done():
                answer.set_exception(ChannelError("the other process is gone"))
        self._beside.shutdown(wait=False)
        self._on_end()

    def _receive(self) -> bytes:
        head = self._receive_exactly(_LENGTH.size)
        if not head:
            return b""
        (length,) = _LENGTH.unpack(head)
        return self._receive_exactly(length) if length <= _MAX_FRAME else b""

    def _receive_exactly(self, wanted: int) -> bytes:
        """So many bytes; b"" at the end of the channel."""
        found = bytearray()
        while len(found) < wanted:
            part = self._end.recv(min(wanted - len(found), 1 << 20))
            if not part:
                return b""
            found += part
        return bytes(found)

    def _take(self, number: int, kind: str, body: bytes) -> None:
        if kind in {_RESULT, _FAILURE}:
            answer = self._asked.pop(number, None)
            if answer is None or answer.done():
                return  # nobody waits for it any more
            if kind == _RESULT:
                answer.set_result(body)
            else:
                answer.set_exception(ChannelError(body.decode("utf-8", "replace")))
        elif kind in self.fast:
            self._answer(number, kind, self.fast[kind], body)
        elif kind in self.slow:
            self._beside.submit(self._answer, number, kind, self.slow[kind], body)
        else:
            self._reply(number, _FAILURE, f"`{kind}` is nothing that can be asked here".encode())

    def _answer(self, number: int, kind: str, handler: Handler, body: bytes) -> None:
        try:
            self._reply(number, _RESULT, handler(body))
        except ChannelError as error:
            self._reply(number, _FAILURE, str(error).encode())
        except Exception as error:
            log.exception("an answer to the other process failed", extra={"asked": kind})
            self._reply(number, _FAILURE, f"`{kind}` failed: {type(error).__name__}".encode())

    def _reply(self, number: int, kind: str, body: bytes) -> None:
        if number:
            with suppress(ChannelError):  # it is gone; the thread that reads finds out
                self._send(number, kind, body)


def _nothing() -> None:
    """The end was asked for."""
