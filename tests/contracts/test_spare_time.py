"""What no answer waits for is done when the answers have left, and holds up no Check that comes meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from extauthz.transport import Arrival, ListenOptions, LoopTransport, TransportOptions
from extauthz.transport.stock import StockTransport
from tests.contracts.test_transport import CHECK, LAST_RESORT, TRANSPORTS, Echo, until


class Work:
    """Units of a millisecond each; what was done when, and in which thread."""

    def __init__(self) -> None:
        self.left = 0
        self.done: list[str] = []
        self.error: Exception | None = None

    @property
    def is_there(self) -> bool:
        return self.left > 0

    def do(self) -> None:
        self.left -= 1
        self.done.append(threading.current_thread().name)
        time.sleep(0.001)
        if self.error:
            raise self.error


class Served:
    def __init__(self, kind: str) -> None:
        self.echo, self.work = Echo(), Work()
        self.transport: LoopTransport | StockTransport = TRANSPORTS[kind](
            ListenOptions(address="127.0.0.1:0"), TransportOptions(), LAST_RESORT, lambda _: None
        )
        address = self.transport.bind()
        self.transport.start(self.echo, self.work)
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])

    def check(self, raw: bytes) -> bytes:
        answer: bytes = self.channel.unary_unary(CHECK)(raw, timeout=10)
        return answer


@pytest.fixture
def serve() -> Iterator[Callable[[str], Served]]:
    served: list[Served] = []

    def begin(kind: str) -> Served:
        served.append(Served(kind))
        return served[-1]

    yield begin
    for each in served:
        each.channel.close()
        each.transport.stop(0)


@pytest.mark.parametrize("kind", list(TRANSPORTS))
def test_it_is_done_to_its_end_beside_checks(serve, kind: str) -> None:
    served = serve(kind)
    assert b"answer:first" == served.check(b"first")
    assert [] == served.work.done
    served.work.left = 3
    for number in range(3):  # the stock transport does some after each answer
        assert b"answer:%d" % number == served.check(b"%d" % number)
        assert until(lambda number=number: len(served.work.done) > number)
    assert until(lambda: served.work.left == 0)
    assert 3 == len(served.work.done)


@pytest.mark.parametrize("kind", list(TRANSPORTS))
def test_when_it_fails_checks_are_answered_on(serve, kind: str) -> None:
    served = serve(kind)
    served.work.error, served.work.left = RuntimeError("a bug"), 5
    for number in range(10):
        assert b"answer:%d" % number == served.check(b"%d" % number)
    assert served.work.done


def test_the_loop_looks_for_checks_between_any_two_units(serve) -> None:
    """Work without an end, and every Check that comes meanwhile is answered."""
    served = serve("loop")
    served.check(b"first")
    served.work.left = 1_000_000
    for number in range(5):
        assert b"answer:%d" % number == served.check(b"%d" % number)
        assert until(lambda number=number: len(served.work.done) > 10 * number)
    assert {"checks"} == set(served.work.done)
    served.work.left = 0


def test_the_loop_answers_what_is_here_first(serve) -> None:
    """Sixteen Checks come while one is decided: hardly a unit is done before all of them are answered."""
    served = serve("loop")
    done: list[int] = []  # units, when each was answered
    answer = served.echo.answer

    def noted(arrival: Arrival) -> bytes:
        found: bytes = answer(arrival)
        done.append(len(served.work.done))
        return found

    served.echo.answer = noted
    served.check(b"first")
    with ThreadPoolExecutor(17) as pool:
        served.echo.gate.clear()
        asked = [pool.submit(served.check, b"held")]
        assert until(lambda: len(served.echo.seen) == 2)
        served.work.left = 1000
        asked += [pool.submit(served.check, b"%d" % number) for number in range(16)]
        time.sleep(0.5)  # until they have come as far as they can
        served.echo.gate.set()
        assert 17 == len([each.result() for each in asked])
        assert done[-1] <= 50
    served.work.left = 0
