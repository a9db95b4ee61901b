"""The token cache: bounded, keeps what is used, forgets what is not."""

import gc
import tracemalloc
from itertools import pairwise
from threading import Thread

from extauthz.model.subject import Subject
from extauthz.sources.token_cache import GenerationalTokenCache


def entry(number: int) -> tuple[bytes, Subject]:
    return number.to_bytes(64), Subject(issuer="https://login.bank.test", id=str(number))


def test_what_was_put_is_found_and_what_was_not_is_not() -> None:
    cache = GenerationalTokenCache(10)
    key, subject = entry(1)
    cache.put(key, subject)
    assert subject is cache.get(key)
    assert cache.get(b"other") is None


def test_it_never_holds_more_than_its_bound() -> None:
    cache = GenerationalTokenCache(100)
    for number in range(10_000):
        cache.put(*entry(number))
        assert len(cache) <= 100


def test_what_is_asked_for_stays_and_what_is_not_goes() -> None:
    cache = GenerationalTokenCache(100)
    used, unused = entry(1), entry(2)
    cache.put(*used)
    cache.put(*unused)
    for number in range(10, 1000):
        cache.put(*entry(number))
        assert cache.get(used[0]) is used[1]
    assert cache.get(unused[0]) is None


def large(number: int) -> tuple[bytes, Subject]:
    """What a token of 8 KiB with hundreds of roles becomes."""
    roles = tuple(f"role-{number}-{index}" for index in range(500))
    return number.to_bytes(64), Subject(
        issuer="https://login.bank.test", id=str(number), roles=roles, claims=bytes(8000)
    )


def test_large_tokens_never_take_more_memory_than_the_bound_in_bytes() -> None:
    """Who holds many valid tokens with many roles cannot fill the memory: measured, not estimated."""
    cache = GenerationalTokenCache(20_000, max_bytes=4 << 20)
    cache.put(*large(0))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, 400):
            cache.put(*large(number))
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 50 < len(cache)
    assert 2 << 20 < taken <= 4 << 20
    assert peak <= (4 << 20) + 100_000
    assert cache.get((399).to_bytes(64)) is not None


def test_usual_tokens_are_bounded_by_their_number_first() -> None:
    cache = GenerationalTokenCache(20_000)
    for number in range(20_000):
        cache.put(number.to_bytes(64), Subject(issuer="https://login.bank.test", id=str(number), claims=bytes(1000)))
    assert 20_000 == len(cache)


def test_a_token_larger_than_its_share_is_verified_each_time() -> None:
    cache = GenerationalTokenCache(10, max_bytes=30_000)
    small, huge = entry(1), large(2)
    cache.put(*small)
    cache.put(*huge)
    assert small[1] is cache.get(small[0])
    assert cache.get(huge[0]) is None


def test_a_bound_of_nothing_still_works() -> None:
    cache = GenerationalTokenCache(0)
    for number in range(10):
        cache.put(*entry(number))
    assert len(cache) <= 2


def test_forgotten_entries_are_let_go_a_few_at_a_time() -> None:
    """A whole generation freed at once would hold up the check that happens to come."""
    cache = GenerationalTokenCache(1000)
    for number in range(1001):
        cache.put(*entry(number))
    left = []
    for number in range(1001, 1501):
        cache.put(*entry(number))
        left.append(len(cache._dropped))
    assert max(before - after for before, after in pairwise(left)) <= 2


def test_entries_are_not_tracked_by_the_garbage_collector() -> None:
    cache = GenerationalTokenCache(10)
    cache.put(*entry(1))
    gc.collect()
    assert not any(gc.is_tracked(item) for pair in cache.young.items() for item in pair)


def test_threads_that_share_it_never_see_a_wrong_subject() -> None:
    cache = GenerationalTokenCache(64)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(5000):
            number = (seed * 31 + step) % 200
            found = cache.get(number.to_bytes(64))
            if found is None:
                cache.put(*entry(number))
            elif found.id != str(number):
                wrong.append(number)

    threads = [Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong
    assert len(cache) <= 64 + 8
