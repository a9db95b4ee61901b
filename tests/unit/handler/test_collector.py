"""What Checks leave in memory is nothing that the garbage collector would walk: its pauses do not grow with traffic."""

import gc
from collections import Counter

from loadtest.points import BANK_CASES, bank, questions, token


def test_a_hundred_callers_more_are_no_objects_more_for_the_collector() -> None:
    """Cached tokens, callers, pseudonyms, routes and what else is remembered of each: measured at 0.1 ms with 100,000."""
    point = bank()
    try:
        tracked: list[Counter[str]] = []
        for first in (0, 100, 200):
            for number in range(first, first + 100):
                for case in BANK_CASES:
                    point.answer(questions(case, [token(case, number)], number, 1)[0])
            gc.collect()
            tracked.append(Counter(type(each).__name__ for each in gc.get_objects()))
        more = tracked[2] - tracked[1]
        assert sum(more.values()) < 50, more.most_common(5)
    finally:
        point.close()
