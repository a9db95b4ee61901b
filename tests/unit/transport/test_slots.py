"""Who decides, who queues, who waits aside: counted in real threads."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from extauthz.transport.slots import Slots, is_overflow


class Crowd:
    """Calls that work while `gate` is closed, or wait aside while `outside` is silent."""

    def __init__(self, threads: int, limit: int, waiting: int) -> None:
        self.slots = Slots(threads, limit, waiting)
        self.gate, self.outside = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.working = self.most = 0

    def work(self) -> str:
        if is_overflow():
            return "overflow"
        self._enter()
        self.gate.wait(10)
        self._leave()
        return "worked"

    def ask(self) -> str:
        if is_overflow():
            return "overflow"
        self._enter()
        self._leave()
        with self.slots.aside() as may:
            if may:
                self.outside.wait(10)
        self._enter()
        time.sleep(0.002)
        self._leave()
        return "answered" if may else "crowded"

    def _enter(self) -> None:
        with self.lock:
            self.working += 1
            self.most = max(self.most, self.working)

    def _leave(self) -> None:
        with self.lock:
            self.working -= 1


@pytest.fixture
def made() -> Iterator[list[Crowd]]:
    crowds: list[Crowd] = []
    yield crowds
    for crowd in crowds:
        crowd.gate.set()
        crowd.outside.set()
        crowd.slots.shutdown()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return bool(found)


def test_those_who_wait_leave_their_places_to_others(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=2, limit=4, waiting=8))
    asking = [crowd.slots.submit(crowd.ask) for _ in range(8)]
    assert until(lambda: crowd.slots.waiting == 8)
    crowd.gate.set()
    assert ["worked"] * 4 == [crowd.slots.submit(crowd.work).result(5) for _ in range(4)]
    assert 8 == crowd.slots.taken
    crowd.outside.set()
    assert ["answered"] * 8 == [future.result(5) for future in asking]
    assert until(lambda: (crowd.slots.taken, crowd.slots.waiting) == (0, 0))


def test_no_more_than_threads_work_at_once_however_many_come_back_together(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=2, limit=64, waiting=32))
    crowd.gate.set()
    futures = [crowd.slots.submit(crowd.ask if number % 2 else crowd.work) for number in range(64)]
    crowd.outside.set()
    assert {"worked", "answered"} == {future.result(10) for future in futures}
    assert crowd.most <= 2


def test_beyond_the_bound_nobody_waits(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=2, limit=16, waiting=3))
    asking = [crowd.slots.submit(crowd.ask) for _ in range(5)]
    assert until(lambda: sum(future.done() for future in asking) == 2)
    assert {"crowded"} == {future.result() for future in asking if future.done()}
    assert 3 == crowd.slots.waiting
    crowd.outside.set()
    assert ["answered"] * 3 == sorted(future.result(5) for future in asking)[:3]


def test_waiting_takes_no_place_in_the_queue_and_the_queue_keeps_its_bound(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=1, limit=2, waiting=2))
    asking = [crowd.slots.submit(crowd.ask) for _ in range(2)]
    assert until(lambda: crowd.slots.waiting == 2)
    working = [crowd.slots.submit(crowd.work) for _ in range(2)]
    assert "overflow" == crowd.slots.submit(crowd.work).result(5)
    crowd.outside.set()
    time.sleep(0.05)
    assert not any(future.done() for future in asking)  # the one place is taken
    crowd.gate.set()
    assert ["answered"] * 2 + ["worked"] * 2 == [future.result(5) for future in asking + working]


def test_those_who_have_waited_go_before_the_queue(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=1, limit=8, waiting=1))
    order: list[str] = []
    asking = crowd.slots.submit(crowd.ask)
    asking.add_done_callback(lambda _: order.append("waited"))
    assert until(lambda: crowd.slots.waiting == 1)
    first = crowd.slots.submit(crowd.work)
    queued = crowd.slots.submit(crowd.work)
    queued.add_done_callback(lambda _: order.append("queued"))
    crowd.outside.set()
    assert until(lambda: len(crowd.slots._returning) == 1)
    crowd.gate.set()
    assert "worked" == first.result(5)
    assert until(lambda: order == ["waited", "queued"])


def test_an_error_in_the_body_gives_the_place_back(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=1, limit=4, waiting=1))

    def fails() -> None:
        with crowd.slots.aside():
            raise KeyError

    with pytest.raises(KeyError):
        crowd.slots.submit(fails).result(5)
    crowd.gate.set()
    assert "worked" == crowd.slots.submit(crowd.work).result(5)
    assert 0 == crowd.slots.waiting


def test_what_is_queued_at_a_hard_stop_is_cancelled(made: list[Crowd]) -> None:
    made.append(crowd := Crowd(threads=1, limit=4, waiting=1))
    first, second = crowd.slots.submit(crowd.work), crowd.slots.submit(crowd.work)
    crowd.slots.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled()
    crowd.gate.set()
    assert "worked" == first.result(5)
