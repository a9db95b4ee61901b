"""The transport contract, through a real gRPC client: what Envoy and a hostile peer see."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2

from extauthz.model.reasons import Reason
from extauthz.transport import METHOD, SERVICE, Arrival, ListenOptions, LoopTransport, TransportOptions
from extauthz.transport.stock import StockTransport

CHECK = f"/{SERVICE}/{METHOD}"
LAST_RESORT = b"last resort"


class HealthStub:
    """grpc.health.v1's client; the generated one refuses to work with an older grpcio, which is under test here too."""

    def __init__(self, channel: grpc.Channel) -> None:
        encode, decode = health_pb2.HealthCheckRequest.SerializeToString, health_pb2.HealthCheckResponse.FromString
        self.Check = channel.unary_unary("/grpc.health.v1.Health/Check", encode, decode)
        self.Watch = channel.unary_stream("/grpc.health.v1.Health/Watch", encode, decode)


class Echo:
    """Answers with what it was given; can be made to wait or fail."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, float | None, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.seconds = 0.0
        self.price = 0.0  # of what costs much

    def answer(self, arrival: Arrival) -> bytes:
        self.seen.append((arrival.raw, arrival.deadline, arrival.traceparent))
        self.gate.wait(20)
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return b"answer:" + arrival.raw[:64]

    def answer_all(self, arrivals: Sequence[Arrival]) -> list:
        return [self.begin(arrival) for arrival in arrivals]

    def begin(self, arrival: Arrival):
        """A Check that begins with `slow` must wait for the outside, one with `forged` costs much."""
        if arrival.raw.startswith((b"slow", b"forged")):
            return Patient(self, arrival, waits=arrival.raw.startswith(b"slow"))
        return self.answer(arrival)

    def whose(self, raw: bytes) -> str:
        return raw[:1].decode()

    def needs_verifying(self, raw: bytes) -> bool:
        return raw.startswith(b"forged")

    def refuse(self, reason: Reason) -> bytes:
        return b"refused:" + reason.code.encode()


class Patient:
    """A Check that is not decided at once, as Later."""

    def __init__(self, echo: Echo, arrival: Arrival, *, waits: bool) -> None:
        self.echo, self.arrival, self.waits = echo, arrival, waits

    def __call__(self) -> bytes:
        if not self.waits:
            time.sleep(self.echo.price)
        return self.echo.answer(self.arrival)


TRANSPORTS = {"stock": StockTransport, "loop": LoopTransport}


class Served:
    """A transport under test on a free port, its answerer and a client."""

    def __init__(self, kind: str, address: str = "127.0.0.1:0", **options) -> None:
        self.echo = Echo()
        self.shed: list[str] = []
        self.transport = TRANSPORTS[kind](
            ListenOptions(address=address), TransportOptions(**options), LAST_RESORT, self.shed.append
        )
        self.address = self.transport.bind()
        self.transport.start(self.echo)
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def check(self, raw: bytes, timeout: float | None = 5.0, metadata=None) -> bytes:
        return self.channel.unary_unary(CHECK)(raw, timeout=timeout, metadata=metadata)

    def close(self, grace: float = 0.0) -> None:
        self.echo.gate.set()
        self.channel.close()
        self.transport.stop(grace)


@pytest.fixture(params=list(TRANSPORTS))
def kind(request) -> str:
    return request.param


@pytest.fixture
def served(kind: str) -> Iterator[Served]:
    server = Served(kind)
    yield server
    server.close()


def until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(found)


def test_a_check_is_answered_with_the_answerers_bytes(served: Served) -> None:
    assert b"answer:any \x00 bytes" == served.check(b"any \x00 bytes")


def test_the_deadline_and_the_traceparent_of_the_call_reach_the_answerer(served: Served) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    before = time.time()
    served.check(b"x", timeout=3.0, metadata=[("traceparent", trace)])
    _, deadline, traceparent = served.echo.seen[-1]
    assert deadline is not None
    assert before + 2.5 < deadline < time.time() + 3.1
    assert trace == traceparent


def test_a_call_without_deadline_has_none(served: Served) -> None:
    served.check(b"x", timeout=None)
    assert [(b"x", None, "")] == served.echo.seen


def test_t60_a_check_with_a_body_of_8_mib_arrives(served: Served) -> None:
    assert b"answer:" + b"b" * 64 == served.check(b"b" * ((8 << 20) + 200_000), timeout=20)


def test_t59_an_exception_in_the_answerer_is_an_explicit_answer_not_a_grpc_error(served: Served, caplog) -> None:
    served.echo.error = RuntimeError("bug")
    assert LAST_RESORT == served.check(b"x")
    assert "failed outside of the handler" in caplog.text


def test_t13_an_unknown_method_is_unimplemented(served: Served) -> None:
    for path in (f"/{SERVICE}/Other", "/other.Service/Check", "/x"):
        with pytest.raises(grpc.RpcError) as error:
            served.channel.unary_unary(path)(b"x", timeout=5)
        assert grpc.StatusCode.UNIMPLEMENTED == error.value.code()
    assert [] == served.echo.seen


def test_an_empty_message_is_given_to_the_answerer(served: Served) -> None:
    assert b"answer:" == served.check(b"")


def test_a_call_without_any_message_is_refused_explicitly(served: Served) -> None:
    assert b"refused:request_malformed" == served.channel.stream_unary(CHECK)(iter(()), timeout=5)
    assert [] == served.echo.seen


@pytest.fixture
def sleep_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of these tests shares the interpreter: what is to be costly leaves that to it."""
    monkeypatch.setattr(time, "thread_time", time.perf_counter)


@pytest.mark.usefixtures("sleep_is_work")
def test_loop_overload_is_answered_explicitly_and_counted() -> None:
    """More than `maxQueueSeconds` of work gets an Undecided at once instead of RESOURCE_EXHAUSTED, however large."""
    server = Served("loop", max_queue_seconds=1e-6)
    try:
        server.echo.gate.clear()
        server.echo.seconds = 0.001
        call = server.channel.unary_unary(CHECK)
        first = call.future(b"first", timeout=20)
        assert until(lambda: len(server.echo.seen) == 1)
        others = [call.future(b"x" * (10 if n else 1_000_000), timeout=20) for n in range(400)]
        time.sleep(0.3)
        server.echo.gate.set()
        assert b"answer:first" == first.result()
        answers = {future.result()[:12] for future in others}
        assert {b"answer:xxxxx", b"refused:over"} == answers
        assert {"queue", "tenant"} >= set(server.shed)
        assert len(server.echo.seen) + len(server.shed) == 401
        assert b"answer:after" == server.check(b"after")
        assert until(lambda: server.transport.inflight == 0)
    finally:
        server.close()


@pytest.mark.usefixtures("sleep_is_work")
def test_loop_overload_by_one_tenant_is_that_tenants_alone() -> None:
    """Tenant `a` floods, `b` asks now and then: those of `b` are answered, but for a stall of the machine."""
    server = Served("loop", max_queue_seconds=0.02)
    try:
        server.echo.seconds = 0.001
        call = server.channel.unary_unary(CHECK)
        flood, rare = [], []
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            if sum(not future.done() for future in flood) < 500:  # Envoy too has a bound on calls in flight
                flood += [call.future(b"a", timeout=20) for _ in range(30)]
            rare.append(call.future(b"b", timeout=20))
            time.sleep(0.01)
        of_b = [future.result() for future in rare]
        of_a = [future.result() for future in flood]
        assert {b"answer:a", b"refused:overloaded"} == set(of_a)
        assert of_b.count(b"answer:b") / len(of_b) > max(0.8, 1.3 * of_a.count(b"answer:a") / len(of_a))
        assert "tenant" in server.shed
    finally:
        server.close()


@pytest.mark.usefixtures("sleep_is_work")
def test_loop_flood_of_what_costs_much_does_not_cost_the_others_their_answers() -> None:
    server = Served("loop", max_queue_seconds=0.01)
    try:
        server.echo.price = 0.005
        call = server.channel.unary_unary(CHECK)
        flood, good = [], []
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            if sum(not future.done() for future in flood) < 500:
                flood += [call.future(b"forged", timeout=20) for _ in range(20)]
            good.append(call.future(b"good", timeout=20))
            time.sleep(0.01)
        assert {b"answer:good"} == {future.result() for future in good}
        assert {b"answer:forged", b"refused:overloaded"} == {future.result() for future in flood}
        assert {"verification"} == set(server.shed)
    finally:
        server.close()


def test_stock_overload_is_answered_explicitly_and_counted() -> None:
    """Beyond `maxConcurrent` a Check gets an Undecided at once instead of RESOURCE_EXHAUSTED, however large it is."""
    server = Served("stock", threads=2, max_concurrent=3)
    try:
        server.echo.gate.clear()
        call = server.channel.unary_unary(CHECK)
        admitted = [call.future(b"slow%d" % n, timeout=20) for n in range(3)]
        assert until(lambda: server.transport.inflight == 3)
        for raw in (b"x", b"x" * 1_000_000):
            assert b"refused:overloaded" == server.check(raw)
        assert ["queue", "queue"] == server.shed
        server.echo.gate.set()
        assert [b"answer:slow0", b"answer:slow1", b"answer:slow2"] == [future.result() for future in admitted]
        assert until(lambda: server.transport.inflight == 0)
        assert b"answer:after" == server.check(b"after")
    finally:
        server.close()


def test_health_is_answered_while_checks_wait_for_the_outside(kind: str) -> None:
    server = Served(kind, threads=1, max_concurrent=1)
    try:
        server.transport.set_serving(True)
        server.echo.gate.clear()
        slow = server.channel.unary_unary(CHECK).future(b"slow", timeout=20)
        assert until(lambda: server.transport.inflight == 1)
        stub = HealthStub(server.channel)
        assert 1 == stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        assert not slow.done()
    finally:
        server.close()


def test_checks_that_were_cancelled_while_they_waited_do_no_harm(kind: str) -> None:
    """Stock does not even look at them; the loop's queue is too short for it to matter."""
    server = Served(kind, threads=1, max_concurrent=8)
    try:
        server.echo.gate.clear()
        call = server.channel.unary_unary(CHECK)
        first = call.future(b"first", timeout=20)
        assert until(lambda: len(server.echo.seen) == 1)
        gone = [call.future(b"gone", timeout=20) for _ in range(5)]
        assert kind == "loop" or until(lambda: server.transport.inflight == 6)
        time.sleep(0.3)
        for future in gone:
            future.cancel()
        time.sleep(0.3)
        server.echo.gate.set()
        assert b"answer:first" == first.result()
        assert until(lambda: server.transport.inflight == 0)
        assert kind == "loop" or [b"first"] == [raw for raw, _, _ in server.echo.seen]
        assert b"answer:next" == server.check(b"next")
    finally:
        server.close()


def test_t64_streams_that_never_send_their_message_do_not_hold_places(kind: str) -> None:
    server = Served(kind, threads=2, max_concurrent=64, message_timeout_seconds=0.3)
    try:
        stop = threading.Event()

        def nothing() -> Iterator[bytes]:
            stop.wait(10)
            yield from ()

        idle = [server.channel.stream_unary(CHECK).future(nothing()) for _ in range(4)]
        assert until(lambda: server.transport.inflight >= 4)
        assert b"answer:x" == server.check(b"x", timeout=5)
        assert until(lambda: all(future.done() for future in idle))
        assert {grpc.StatusCode.CANCELLED} == {future.code() for future in idle}
        stop.set()
    finally:
        server.close()


def test_t63_metadata_beyond_the_limit_is_refused_by_the_core(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as error:
        served.check(b"x", metadata=[("x-large", "v" * 40_000)])
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == error.value.code()
    assert b"answer:y" == served.check(b"y")


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_follows_the_state_for_the_server_and_the_service(served: Served, service: str) -> None:
    stub = HealthStub(served.channel)
    asked = health_pb2.HealthCheckRequest(service=service)
    assert health_pb2.HealthCheckResponse.NOT_SERVING == stub.Check(asked, timeout=5).status
    served.transport.set_serving(True)
    assert health_pb2.HealthCheckResponse.SERVING == stub.Check(asked, timeout=5).status


def test_health_of_an_unknown_service_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as error:
        HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(service="other"), timeout=5)
    assert grpc.StatusCode.NOT_FOUND == error.value.code()


def test_a_health_watch_sees_every_change_and_ends_with_the_drain(served: Served) -> None:
    states = []
    stream = HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    reader = threading.Thread(target=_read, args=(stream, states))
    reader.start()
    assert until(lambda: states == ["NOT_SERVING"])
    served.transport.set_serving(True)
    assert until(lambda: states == ["NOT_SERVING", "SERVING"])
    served.transport.stop(2.0)
    reader.join(5)
    assert ["NOT_SERVING", "SERVING", "NOT_SERVING"] == states


def _read(stream, states: list[str]) -> None:
    with suppress(grpc.RpcError):
        states.extend(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) for answer in stream)


def test_many_health_watchers_do_not_hold_up_checks(served: Served) -> None:
    stub = HealthStub(served.channel)
    streams = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(30)]
    assert b"answer:x" == served.check(b"x")
    served.transport.set_serving(True)
    assert 1 == stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    for stream in streams:
        stream.cancel()


def test_drain_lets_checks_in_flight_finish_and_takes_no_new_connections(kind: str) -> None:
    server = Served(kind)
    server.echo.gate.clear()
    inflight = server.channel.unary_unary(CHECK).future(b"slow", timeout=20)
    assert until(lambda: server.transport.inflight == 1)
    stopping = threading.Thread(target=server.transport.stop, args=(10.0,))
    stopping.start()
    with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
        assert until(lambda: _unavailable(other))
    server.echo.gate.set()
    assert b"answer:slow" == inflight.result()
    stopping.join(5)
    assert not stopping.is_alive()
    server.channel.close()


def _unavailable(channel: grpc.Channel) -> bool:
    try:
        channel.unary_unary(CHECK)(b"new", timeout=1)
    except grpc.RpcError as error:
        return error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    return False


def test_drain_does_not_wait_longer_than_its_grace(kind: str) -> None:
    server = Served(kind)
    server.echo.gate.clear()
    inflight = server.channel.unary_unary(CHECK).future(b"slow", timeout=20)
    assert until(lambda: server.transport.inflight == 1)
    before = time.monotonic()
    server.transport.stop(0.3)
    assert time.monotonic() - before < 3
    with pytest.raises(grpc.RpcError):
        inflight.result()
    server.close()


def test_connections_end_by_age_without_a_failed_check(kind: str) -> None:
    server = Served(kind, max_connection_age_seconds=0.5, max_connection_age_grace_seconds=2)
    try:
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            assert b"answer:x" == server.check(b"x")
    finally:
        server.close()


def test_what_is_said_to_a_transport_that_has_stopped_does_no_harm(served: Served) -> None:
    assert b"answer:x" == served.check(b"x")
    served.transport.stop(0.1)
    served.transport.set_serving(False)
    served.transport.stop(0.1)
    assert 0 == served.transport.inflight
