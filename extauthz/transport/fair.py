"""Who gives way when more waits than can be done: whoever has most waiting.

Rule 1: max-min fairness: nobody gives way while another has more waiting, so a flood of one costs the others nothing.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def share_out(waiting: Iterable[T], places: int, whose: Callable[[T], Hashable]) -> tuple[list[T], list[T]]:
    """Who stays and who gives way, both in the order they came; of one party the first stay."""
    owned = [(whose(one), one) for one in waiting]
    counts = Counter(owner for owner, _ in owned)
    level, spare = _level(sorted(counts.values()), places)
    allowed: Counter[Hashable] = Counter()
    for owner, count in counts.items():
        allowed[owner] = min(count, level)
        if count > level and spare:
            allowed[owner] += 1
            spare -= 1
    stay: list[T] = []
    give_way: list[T] = []
    for owner, one in owned:
        (stay if allowed[owner] > 0 else give_way).append(one)
        allowed[owner] -= 1
    return stay, give_way


def _level(counts: list[int], places: int) -> tuple[int, int]:
    """How many each party may have, given ascending `counts`, and how many places that leaves over."""
    for done, count in enumerate(counts):
        parties = len(counts) - done
        if count * parties > places:
            return places // parties, places % parties
        places -= count
    return counts[-1] if counts else 0, 0
