"""What every transport does: bytes of a CheckRequest in, bytes of a CheckResponse out.

Rule 1: a Check that reaches the server is answered with a CheckResponse, never with a gRPC error: Envoy may let
errors through (T-59).
Rule 2: no protobuf here; what a refusal looks like is the answerer's business.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from extauthz.model.reasons import Reason

SERVICE = "envoy.service.auth.v3.Authorization"
METHOD = "Check"

# Envoy caps a request body at `max_request_bytes`; 8 MiB is more than any sensible policy reads. Headers, certificate
# and metadata come on top. With grpcio's default of 4 MiB a bigger Check never arrives and is an error to Envoy (T-60).
MAX_MESSAGE = (8 << 20) + (256 << 10)

Seconds = Annotated[float, Meta(ge=0, le=3600)]
OnShed = Callable[[str], None]  # called with the cause: "queue", "tenant", "verification", "deadline" or "draining"


class Arrival(Struct, frozen=True, gc=False):
    """One Check as it came."""

    raw: bytes
    deadline: float | None = None  # in seconds since the epoch
    traceparent: str = ""  # gRPC metadata as sent
    waited: float = 0.0  # seconds since it came


class Later(Protocol):
    """A Check that has not been decided because that takes more than memory holds; call it to go on. Total."""

    @property
    def waits(self) -> bool:
        """Whether the call may wait for the outside; otherwise it only costs much, such as a signature."""
        ...

    def __call__(self) -> "bytes | Later":
        """The answer, or what is still in its way."""
        ...


class Answerer(Protocol):
    """Who decides. All methods are total: they answer whatever happens."""

    def answer(self, arrival: Arrival) -> bytes:
        """Answer one Check, however long that takes."""
        ...

    def answer_all(self, arrivals: Sequence[Arrival]) -> "list[bytes | Later]":
        """Answer those that memory suffices for, with one write to the journal for all; in the order they came."""
        ...

    def whose(self, raw: bytes) -> str:
        """Whose Check it seems to be, at next to no cost and for fairness alone; "" where that is not known."""
        ...

    def needs_verifying(self, raw: bytes) -> bool:
        """Whether it seems to bring a signature that was not verified before; as cheap, and as rough."""
        ...

    def refuse(self, reason: Reason) -> bytes:
        """An explicit Undecided without having looked at the Check; costs next to nothing."""
        ...


class Spare(Protocol):
    """Work that no answer waits for, done when nothing else is to be done. Both are total."""

    @property
    def is_there(self) -> bool:
        """Whether there is any."""
        ...

    def do(self) -> None:
        """Do some of it, for no longer than a Check that comes meanwhile may have to wait."""
        ...


class TransportOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How many Checks are taken in, how large they may be, how long connections live and how a drain goes."""

    # loop: one thread that decides inline, at a fraction of the cost; stock: grpc's own server with threads;
    # auto: loop where it passes its self-check at the start, else stock, which is logged, counted and shown
    kind: Literal["auto", "loop", "stock"] = "auto"
    # loop: a queue that stands holds this much work, shared fairly between tenants; the rest is refused at once as
    # `overloaded`. A burst may be 20 ms of work.
    max_queue_seconds: Annotated[float, Meta(gt=0, le=1)] = 0.003
    threads: Annotated[int, Meta(ge=1, le=64)] = 4  # stock: more threads fight over one interpreter lock
    # stock: Checks at work or waiting; what comes on top is refused at once as `overloaded`
    max_concurrent: Annotated[int, Meta(ge=1, le=4096)] = 32
    # Checks that wait for an issuer or a shared store, beside those; what comes on top is answered without the outside
    max_waiting: Annotated[int, Meta(ge=0, le=1024)] = 32
    # Of a Check with its body; a larger one is an error of gRPC.
    max_message_bytes: Annotated[int, Meta(ge=64 << 10, le=64 << 20)] = MAX_MESSAGE
    # Of a call's own headers, which are few.
    max_metadata_bytes: Annotated[int, Meta(ge=8 << 10, le=1 << 20)] = 16 << 10
    # loop: an Envoy has one or two for each of its threads; beyond, the longest without a call gives way
    max_connections: Annotated[int, Meta(ge=1, le=65536)] = 1024
    # Envoy assumes a large limit until SETTINGS arrive, so a small one fails calls
    max_concurrent_streams: Annotated[int, Meta(ge=100, le=65536)] = 1024
    # a call that has sent its headers but not its message holds a thread, or a place in the queue, only this long
    message_timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 2.0
    # clients must not ping more often than this; Envoy's usual interval is 30 s
    min_ping_interval_seconds: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    # with a jitter of a tenth, so that Envoy's long-lived connections spread over new pods; 0 is for ever
    max_connection_age_seconds: Seconds = 60.0
    max_connection_age_grace_seconds: Seconds = 10.0  # for calls in flight on a connection that is that old
    drain_delay_seconds: Seconds = 5.0  # between NOT_SERVING and the closing of the listener
    drain_grace_seconds: Seconds = 10.0  # for Checks in flight after the listener closed


class Transport(Protocol):
    """A listener and what runs behind it. The order is bind, start, serving, drain."""

    @property
    def inflight(self) -> int:
        """Checks at work or waiting now."""
        ...

    @property
    def waiting(self) -> int:
        """Checks that wait for an answer from outside, among those in flight."""
        ...

    def aside(self) -> AbstractContextManager[bool]:
        """While open, the calling Check waits for the outside and another may be decided; False: it may not wait."""
        ...

    def bind(self) -> str:
        """Take the address, without serving yet; returns it with the actual port. Raises OSError."""
        ...

    def start(self, answerer: Answerer, spare: Spare | None = None) -> None:
        """Begin to answer; health is NOT_SERVING until told otherwise. `spare` is done in spare time."""
        ...

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """What grpc.health.v1 answers from now on."""
        ...

    def stop(self, grace: float) -> None:
        """Close the listener, let Checks in flight finish for `grace` seconds, cancel the rest."""
        ...
