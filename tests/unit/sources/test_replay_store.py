"""Used proofs in memory: once is once, whoever asks and however many."""

import gc
import sys
import threading
from collections.abc import Iterator

import pytest

from extauthz.sources.replay_store import MemoryReplayStore

NOW = 1_800_000_000


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def key(number: int) -> bytes:
    return number.to_bytes(32)


def test_dp_17_a_first_use_is_one_and_a_second_is_none(clock: Clock) -> None:
    store = MemoryReplayStore(1000, clock)
    assert [True, False, False] == [store.first_use(key(1), NOW + 90) for _ in range(3)]
    assert store.first_use(key(2), NOW + 90) is True
    assert (2, 2) == (store.status().entries, store.status().replayed)


def test_dp_17_a_use_is_found_until_its_end_whatever_the_copy_says(clock: Clock) -> None:
    """A jti that is used again with a later iat ends later, and is a second use all the same."""
    store = MemoryReplayStore(1000, clock)
    store.first_use(key(1), NOW + 90)
    for age in range(0, 90, 5):
        clock.now = NOW + age
        assert store.first_use(key(1), NOW + 90 + age) is False, age


def test_what_ended_makes_room_within_a_minute_and_a_few_uses(clock: Clock) -> None:
    store = MemoryReplayStore(1000, clock)
    for number in range(100):
        store.first_use(key(number), NOW + 90)
    clock.now = NOW + 90 + 60
    for number in range(100, 130):
        store.first_use(key(number), NOW + 300)
    assert 30 == len(store)
    assert store.first_use(key(1), NOW + 300) is True


def test_dp_18_a_full_store_lets_nothing_more_in_and_forgets_nothing(clock: Clock) -> None:
    store = MemoryReplayStore(1000, clock)
    assert all(store.first_use(key(number), NOW + 90) for number in range(1000))
    assert store.first_use(key(5000), NOW + 90) is None
    assert store.first_use(key(7), NOW + 90) is False
    assert (1000, 1) == (store.status().entries, store.status().refused_full)
    clock.now = NOW + 200
    for number in range(2000, 2300):
        store.first_use(key(number), NOW + 290)
    assert store.first_use(key(5000), NOW + 290) is True


def race(store: MemoryReplayStore, keys: range, threads: int = 8) -> int:
    """How many first uses all threads together were told of, each asking about every key."""
    barrier, told = threading.Barrier(threads), [0] * threads

    def ask(index: int) -> None:
        barrier.wait()
        for number in keys:
            told[index] += store.first_use(key(number), NOW + 61 + number % 60) is True

    workers = [threading.Thread(target=ask, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(told)


@pytest.mark.usefixtures("hasty_threads")
def test_dp_17_of_many_threads_with_one_proof_exactly_one_is_the_first(clock: Clock) -> None:
    store = MemoryReplayStore(100_000, clock)
    assert 5000 == race(store, range(5000))
    assert 5000 == len(store)


@pytest.mark.usefixtures("hasty_threads")
def test_dp_17_threads_that_clear_away_while_others_ask_lose_nothing(clock: Clock) -> None:
    store = MemoryReplayStore(100_000, clock)
    for number in range(10_000, 20_000):
        store.first_use(key(number), NOW + 10)
    clock.now = NOW + 60
    store.first_use(key(0), NOW + 180)
    assert 2999 == race(store, range(3000))


def test_entries_are_not_tracked_by_the_garbage_collector(clock: Clock) -> None:
    store = MemoryReplayStore(1000, clock)
    store.first_use(key(1), NOW + 90)
    gc.collect()
    assert not any(gc.is_tracked(stretch) for stretch in store._stretches.values())


def test_dp_17_what_ended_while_its_check_waited_was_used_for_all_that_is_known(clock: Clock) -> None:
    """A Check is decided by the time it came: behind a slow issuer its proof may end, and a first use be forgotten."""
    store = MemoryReplayStore(1000, clock)
    assert store.first_use(key(1), NOW + 90) is True
    clock.now = NOW + 90 + 60
    assert [False, False] == [store.first_use(key(1), NOW + 90), store.first_use(key(2), NOW + 90)]
