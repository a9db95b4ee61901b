"""A memo forgets, but never lies, never grows beyond its bound and never lets much go at once."""

from itertools import pairwise

from extauthz.model.memo import Memo


def memo_of(entries, size=1 << 30):
    return Memo(entries, size, lambda key, value: 1)


def test_what_is_asked_for_again_stays_while_strangers_come_and_go():
    memo = memo_of(100)
    memo.put("mine", 1)
    for number in range(1000):
        memo.put(f"stranger-{number}", number)
        assert 1 == memo.get("mine")
    assert len(memo) <= 100


def test_what_nobody_asks_for_is_forgotten():
    memo = memo_of(100)
    memo.put("once", 1)
    for number in range(100):
        memo.put(f"other-{number}", number)
    assert memo.get("once") is None


def test_a_bound_of_nothing_still_works():
    memo = memo_of(0)
    for number in range(10):
        memo.put(number, number)
        assert number == memo.get(number)
    assert len(memo) <= 2


def test_forgotten_entries_are_let_go_a_few_at_a_time():
    """A whole generation freed at once would hold up the check that happens to come."""
    memo = memo_of(1000)
    for number in range(1001):
        memo.put(number, number)
    left = []
    for number in range(1001, 1501):
        memo.put(number, number)
        left.append(len(memo._dropped))
    assert max(before - after for before, after in pairwise(left)) <= 2


def test_large_entries_are_bounded_by_their_bytes_and_too_large_ones_not_kept():
    memo = Memo(1000, 300, lambda key, value: value)
    for number in range(100):
        memo.put(number, 20)
    assert 5 <= len(memo) <= 10
    memo.put("huge", 101)
    assert memo.get("huge") is None
