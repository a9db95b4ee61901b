"""Whether grpc's core can be driven directly: a server of the loop is asked over a socket of its own, before any port.

Rule 1: it never raises and ends by itself; whatever is wrong with this grpcio is a line of text.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc

from extauthz.model.reasons import Reason
from extauthz.transport.contract import Arrival, Later, TransportOptions
from extauthz.transport.listen import ListenOptions
from extauthz.transport.loop import CHECK, LoopTransport
from extauthz.transport.loop_health import METHODS

_SECONDS = 5.0  # far more than it takes
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_CALLS = 3


class _Echo:
    """Answers with what it was asked; every second one later, in a thread that may wait."""

    def answer(self, arrival: Arrival) -> bytes:
        return arrival.raw

    def answer_all(self, arrivals: Sequence[Arrival]) -> list[bytes | Later]:
        return [_Waiting(arrival.raw) if arrival.raw.endswith(b"1") else arrival.raw for arrival in arrivals]

    def whose(self, raw: bytes) -> str:  # noqa: ARG002 - as Answerer says
        return ""

    def needs_verifying(self, raw: bytes) -> bool:  # noqa: ARG002
        return False

    def refuse(self, reason: Reason) -> bytes:
        return reason.code.encode()


class _Waiting:
    """An answer that is not there yet."""

    waits = True

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def __call__(self) -> bytes:
        return self._answer


def check_loop() -> str:
    """Why the loop cannot serve here, "" when it can."""
    try:
        with tempfile.TemporaryDirectory(prefix="extauthz-") as directory:
            return _ask(f"unix:{Path(directory, 'self-check')}")
    except Exception as error:  # noqa: BLE001 - that is the answer
        return f"{type(error).__name__}: {error}"


def _ask(address: str) -> str:
    server = LoopTransport(ListenOptions(address=address), TransportOptions(), b"last resort", lambda _cause: None)
    try:
        server.bind()
        server.start(_Echo())
        server.set_serving(serving=True)
        with grpc.insecure_channel(address) as channel:
            for number in range(_CALLS):
                sent = b"self-check %d" % number
                if _call(channel, CHECK, sent) != sent:
                    return "an answer is not what was sent"
            if _call(channel, METHODS[0], b"") != _SERVING:
                return "health does not follow its state"
            return _ask_unknown(channel)
    finally:
        server.stop(_SECONDS)


def _ask_unknown(channel: grpc.Channel) -> str:
    try:
        _call(channel, "/extauthz.SelfCheck/Unknown", b"")
    except grpc.RpcError as error:
        return "" if error.code() is grpc.StatusCode.UNIMPLEMENTED else f"an unknown method is {error.code().name}"
    return "an unknown method is answered"


def _call(channel: grpc.Channel, method: str, message: bytes) -> bytes:
    multicallable: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return multicallable(message, timeout=_SECONDS)
