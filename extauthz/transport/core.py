"""grpc's own core without the threads that `grpc.server` puts before it: a server and one queue of its events.

Rule 1: the only module that touches what grpcio does not promise (`grpc._cython`), and only what its own
`grpc._server` uses too. The contract tests run it on the oldest and the newest grpcio that we accept.
Rule 2: no decision here, and no thread; whoever owns the queue polls it, answers may come from any thread.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no type stubs

_NO_FLAGS: Final = 0
_INITIAL_METADATA: Final = cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)
_CLOSE: Final = cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)
_OK: Final = cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", _NO_FLAGS)
_CLOSING_SECONDS = 1.0
_NEVER = 1e11  # grpc says "no deadline" with one beyond all years

# The operations above are shared by all calls: they carry nothing of one. A message in or out has its own.

# What must be there; another grpcio may have moved it.
_SERVER_NEEDS = (
    "add_http2_port",
    "cancel_all_calls",
    "register_completion_queue",
    "register_method",
    "request_call",
    "request_registered_call",
    "shutdown",
    "start",
)


class UnfitCoreError(Exception):
    """This grpcio cannot be driven so; the message says what is missing."""


class Call:
    """One call, from its beginning to its answer. `raw` is its message once `received`, None when none came."""

    __slots__ = ("_handle", "begun", "deadline", "metadata", "method", "raw", "received")

    def __init__(
        self,
        handle: Any,  # noqa: ANN401 - grpc's own call
        method: str,
        deadline: float | None,
        metadata: Sequence[tuple[str, str | bytes]],
    ) -> None:
        self._handle, self.method, self.deadline, self.metadata = handle, method, deadline, metadata
        self.begun = time.monotonic()
        self.raw: bytes | None = None
        self.received = False

    def receive(self) -> None:
        """Ask for the message; `CoreServer.poll` returns this call again, `received`."""
        self._handle.start_server_batch((_RECEIVE(_NO_FLAGS),), self)

    def reply(self, message: bytes) -> None:
        """End the call with `message` and status OK."""
        self._handle.start_server_batch((_INITIAL_METADATA, _SEND(message, _NO_FLAGS), _OK, _CLOSE), _NOTHING)

    def fail(self, code: grpc.StatusCode, words: str) -> None:
        """End the call with a status of grpc's own."""
        status = cygrpc.SendStatusFromServerOperation(None, code.value[0], words.encode(), _NO_FLAGS)
        self._handle.start_server_batch((_INITIAL_METADATA, status, _CLOSE), _NOTHING)

    def cancel(self) -> None:
        """End the call as cancelled."""
        self._handle.cancel()

    def begin_stream(self, message: bytes) -> None:
        """Send the first message of many: Progress comes when it has left, and when the call has ended."""
        self._handle.start_server_batch((_CLOSE,), Progress(self, ended=True))
        opening = _INITIAL_METADATA, _SEND(message, _NO_FLAGS)
        self._handle.start_server_batch(opening, Progress(self, ended=False))

    def send(self, message: bytes) -> None:
        """Send one more message; only after Progress of the one before."""
        self._handle.start_server_batch((_SEND(message, _NO_FLAGS),), Progress(self, ended=False))

    def end_stream(self) -> None:
        """End a call that `begin_stream` began."""
        self._handle.start_server_batch((_OK,), _NOTHING)


class Progress(NamedTuple):
    """A message of a stream has left, or the stream has ended."""

    call: Call
    ended: bool


class Stopped(NamedTuple):
    """After `shutdown`: every call has ended."""


class Nothing(NamedTuple):
    """Something ended that nobody waits for, such as the sending of an answer."""


Event = Call | Progress | Stopped | Nothing | None
_STOPPED: Final = Stopped()
_NOTHING: Final = Nothing()
_RECEIVE: Final = cygrpc.ReceiveMessageOperation
_SEND: Final = cygrpc.SendMessageOperation


class CoreServer:
    """One server of grpc's core, its methods and its queue."""

    def __init__(self, methods: Sequence[str], arguments: Sequence[tuple[str, int]], outstanding: int) -> None:
        """`outstanding` calls of a method may begin before `poll` has to see one. Raises UnfitCoreError."""
        missing = [name for name in _SERVER_NEEDS if not hasattr(cygrpc.Server, name)]
        if missing:
            message = f"grpcio {grpc.__version__} has no `cygrpc.Server.{missing[0]}`"
            raise UnfitCoreError(message)
        self._queue = cygrpc.CompletionQueue()
        self._poll = self._queue.poll
        self._server = cygrpc.Server(tuple(arguments), False)  # noqa: FBT003 - not for xDS
        self._server.register_completion_queue(self._queue)
        self._methods, self._outstanding = tuple(methods), outstanding
        for method in methods:
            self._server.register_method(method)
        self._accepting = False

    def add_port(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Bind `address`; the port, or 0 where it cannot be had."""
        if credentials is None:
            port: int = self._server.add_http2_port(address.encode())
        else:
            inner = credentials._credentials  # type: ignore[attr-defined]  # noqa: SLF001 - as grpc itself does
            port = self._server.add_http2_port(address.encode(), inner)
        return port

    def start(self) -> None:
        """Take connections and calls."""
        self._server.start()
        self._accepting = True
        for method in self._methods:
            for _ in range(self._outstanding):
                self._server.request_registered_call(self._queue, self._queue, method, method)
        self._server.request_call(self._queue, self._queue, "")

    def poll(self, until: float | None) -> Event:
        """The next event, None when there is none by `until`.

        `until` is in seconds since the epoch: 0 does not wait at all, None waits for ever. Drop what was returned
        before the next poll: grpc spins on calls that have ended but are still held.
        """
        event = self._poll(until)
        tag = event.tag
        kind = tag.__class__
        if kind is Call:
            tag.raw = event.batch_operations[0].message()
            tag.received = True
        elif kind is str:
            return self._begin(event, tag)
        return tag  # type: ignore[no-any-return]

    def _begin(self, event: Any, method: str) -> Call | Nothing:  # noqa: ANN401 - grpc's own event
        if self._accepting:
            self._ask_for_another(method)
        if event.call is None or not event.success:
            return _NOTHING
        deadline: float = event.call_details.deadline
        return Call(event.call, method, deadline if deadline < _NEVER else None, event.invocation_metadata)

    def _ask_for_another(self, method: str) -> None:
        try:
            if method:
                self._server.request_registered_call(self._queue, self._queue, method, method)
            else:
                self._server.request_call(self._queue, self._queue, "")
        except ValueError:  # grpc refuses while it shuts down, which another thread may have begun just now
            if self._accepting:
                raise

    def shutdown(self) -> None:
        """Take no new connections and calls; Stopped comes when those that run have ended."""
        self._accepting = False
        self._server.shutdown(self._queue, _STOPPED)

    def cancel_all(self) -> None:
        """End what still runs."""
        self._server.cancel_all_calls()

    def close(self) -> None:
        """Let go of server and queue, after Stopped.

        No call may be touched from now on, and `shutdown` and `cancel_all` must have returned: grpc would crash.
        """
        self._server.destroy()
        self._queue.shutdown()
        while (
            self._queue.poll(time.time() + _CLOSING_SECONDS).completion_type == cygrpc.CompletionType.operation_complete
        ):
            pass  # what was asked for and never came
