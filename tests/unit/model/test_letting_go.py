"""Large things are freed and put in order a few members at a time."""

import random

from extauthz.model.letting_go import in_order_of, let_go


def test_containers_are_empty_afterwards() -> None:
    some, others = list(range(1000)), dict.fromkeys(range(1000))
    let_go(some, others)
    assert some == []
    assert others == {}


def test_the_order_is_that_of_sorted_and_what_is_equal_keeps_its_place() -> None:
    random.seed(3)
    items = [(random.randrange(50), number) for number in range(3000)]
    assert [*in_order_of(items, lambda item: item[0])] == sorted(items, key=lambda item: item[0])
    assert [*in_order_of([], lambda item: item)] == []
