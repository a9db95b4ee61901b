"""Who gives way under overload: whoever has most waiting."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from extauthz.transport.fair import share_out


def test_a_flood_gives_way_and_a_few_others_stay() -> None:
    stay, give_way = share_out("aaaaaaaabaaacaaa", 6, str)
    assert ("aaaabc", {"a"}) == ("".join(stay), set(give_way))


def test_of_one_party_the_first_stay() -> None:
    assert ([1, 2, 3], [4, 5]) == share_out([1, 2, 3, 4, 5], 3, lambda _: "one")


def test_nobody_gives_way_where_there_is_room() -> None:
    assert (["a", "b"], []) == share_out(["a", "b"], 2, str)
    assert ([], []) == share_out([], 2, str)


@given(waiting=st.lists(st.sampled_from("abcdef")), places=st.integers(0, 40))
def test_no_place_is_wasted_and_who_gives_way_had_at_least_as_many_as_anybody(waiting: list[str], places: int) -> None:
    stay, give_way = share_out(waiting, places, str)
    assert min(places, len(waiting)) == len(stay)
    assert Counter(waiting) == Counter(stay) + Counter(give_way)
    kept = Counter(stay)
    for party in set(give_way):
        assert kept[party] >= max(kept.values(), default=0) - 1
