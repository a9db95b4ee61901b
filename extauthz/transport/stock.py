"""The transport on the public `grpc.server`: a few threads, bytes in, bytes out.

Rule 1: public API only: this is the oracle of other transports and what they fall back to.
Rule 2: a Check ends in bytes or, when the client has cancelled it, in nothing; never in a gRPC error.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import grpc

from extauthz.model.addresses import Address, parse_address
from extauthz.model.reasons import Reason
from extauthz.transport.arguments import channel_arguments
from extauthz.transport.contract import METHOD, SERVICE, Answerer, Arrival, OnShed, Spare, TransportOptions
from extauthz.transport.health import Health
from extauthz.transport.listen import ListenOptions, claim, socket_permissions
from extauthz.transport.slots import Slots, is_overflow
from extauthz.transport.stock_tls import server_credentials

log = logging.getLogger("extauthz.transport")

# Calls beyond this wait in no queue of ours: grpc ends them with RESOURCE_EXHAUSTED. It bounds memory, not work.
_LAST_BOUND = 512
_NO_DEADLINE_SECONDS = 1e9  # grpc says "none" with a deadline in the year 292 billion
_LOOK_SECONDS = 0.25  # how often calls are looked at whose message has not come


class StockTransport:
    """One gRPC server behind the transport contract."""

    def __init__(self, listen: ListenOptions, options: TransportOptions, last_resort: bytes, on_shed: OnShed) -> None:
        """Nothing is opened yet. Raises TlsError for bad TLS files."""
        self._address = parse_address(listen.address)
        self._credentials = server_credentials(listen.tls) if listen.tls else None
        self._options = options
        self._answerer: Answerer | None = None
        self._spare: Spare | None = None
        self._last_resort = last_resort
        self._on_shed = on_shed
        self._health = Health()
        self._slots = Slots(options.threads, max(options.max_concurrent, options.threads), options.max_waiting)
        self._patience = _Patience(options.message_timeout_seconds)
        self._server = grpc.server(
            self._slots,
            handlers=[
                grpc.method_handlers_generic_handler(
                    # Reading the message ourselves lets us give up on one that never comes; on the wire it is unary.
                    SERVICE,
                    {METHOD: grpc.stream_unary_rpc_method_handler(self._check)},
                ),
                self._health.handler(),
            ],
            options=channel_arguments(options),
            maximum_concurrent_rpcs=options.max_concurrent + options.max_waiting + _LAST_BOUND,
        )

    @property
    def inflight(self) -> int:
        """Checks at work or waiting now."""
        return self._slots.taken

    @property
    def waiting(self) -> int:
        """Checks that wait for an answer from outside."""
        return self._slots.waiting

    def aside(self) -> AbstractContextManager[bool]:
        """While open, the calling Check waits for the outside and another may be decided; False: it may not wait."""
        return self._slots.aside()

    def bind(self) -> str:
        """Take the address, without serving yet; returns it with the actual port. Raises OSError."""
        claim(self._address)
        try:
            with socket_permissions():
                port = self._add_port(str(self._address))
        except RuntimeError as error:  # taken between the claim and now
            message = f"cannot listen on `{self._address}`: address already in use"
            raise OSError(message) from error
        if self._address.path:
            return str(self._address)
        return str(Address(self._address.host, port))

    def start(self, answerer: Answerer, spare: Spare | None = None) -> None:
        """Begin to answer; health is NOT_SERVING until told otherwise. `spare` is done in spare time."""
        self._answerer, self._spare = answerer, spare
        self._patience.start()
        self._server.start()

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """What grpc.health.v1 answers from now on."""
        self._health.set(serving)

    def stop(self, grace: float) -> None:
        """Close the listener, let Checks in flight finish for `grace` seconds, cancel the rest."""
        self._health.set(serving=False)
        if self._answerer is None:
            self._server.start()  # grpc lets go of a bound address only when a server that ran stops
        stopped = self._server.stop(grace)
        self._health.close()
        stopped.wait(grace + 1.0)
        self._patience.stop()
        self._slots.shutdown(wait=False, cancel_futures=True)

    def _add_port(self, address: str) -> int:
        if self._credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._credentials)

    def _check(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        answerer = self._answerer
        if answerer is None:
            return self._last_resort
        if is_overflow():
            self._on_shed("queue")
            return answerer.refuse(Reason.OVERLOADED)
        try:
            with self._patience.waiting(context):
                raw = next(messages, None)
            if raw is None:
                return answerer.refuse(Reason.REQUEST_MALFORMED)
            answer = answerer.answer(Arrival(raw, _deadline(context), _traceparent(context)))
            if self._spare is not None and self._spare.is_there:
                context.add_callback(self._spare.do)  # when the answer has left, in the thread that takes calls
            return answer  # noqa: TRY300 - both ends are answers
        except grpc.RpcError:  # the client is gone: grpc sends nothing, whatever we return
            return self._last_resort
        except Exception:  # an answerer is total; should it fail all the same, Envoy still gets an explicit answer
            log.exception("a check failed outside of the handler")
            return self._last_resort


def _deadline(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    return time.time() + remaining if remaining < _NO_DEADLINE_SECONDS else None


def _traceparent(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "traceparent":
            return str(value)
    return ""


class _Patience:
    """Cancels calls whose message does not come, so that idle streams cannot hold the threads (T-64)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[int, tuple[float, grpc.ServicerContext]] = {}  # by thread
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="patience", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def waiting(self, context: grpc.ServicerContext) -> "_Wait":
        return _Wait(self._waiting, time.monotonic() + self._seconds, context)

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            now = time.monotonic()
            for until, context in list(self._waiting.values()):
                if until <= now:
                    context.cancel()


class _Wait:
    """Listed while a thread waits for a message."""

    __slots__ = ("_context", "_list", "_until")

    def __init__(
        self, waiting: dict[int, tuple[float, grpc.ServicerContext]], until: float, context: grpc.ServicerContext
    ) -> None:
        self._list, self._until, self._context = waiting, until, context

    def __enter__(self) -> None:
        self._list[threading.get_ident()] = (self._until, self._context)

    def __exit__(self, *_error: object) -> None:
        del self._list[threading.get_ident()]
