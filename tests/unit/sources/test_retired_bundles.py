"""What was in force is freed bit by bit, and only when nobody holds it any more."""

import gc
import sys
import threading
import time
import weakref

import pytest

from extauthz.bundle import read_bundle
from extauthz.model.ports import NoTokenCache
from extauthz.policy import PolicySet
from extauthz.policy.index import RouteIndex
from extauthz.sources.bundles.retired import Retired, parts_of
from tests.unit.bundle.small_bundle import files


@pytest.fixture
def retired() -> Retired:
    """Looks only when it is told to: a thread would make it chance when something is freed."""
    return Retired()


class Member:
    """Something that can be seen to be freed."""


def test_what_somebody_else_holds_stays_whole(retired: Retired) -> None:
    members = [Member() for _ in range(300)]
    holder = dict(enumerate(members))
    retired.hold([holder])
    retired.look()
    assert len(holder) == 300
    del members
    retired.look()
    assert len(holder) == 300


@pytest.mark.parametrize("kind", [list, tuple, lambda found: dict(enumerate(found))])
def test_what_nobody_else_holds_is_freed(retired: Retired, kind: type) -> None:
    members = [Member() for _ in range(300)]
    watched = [weakref.ref(member) for member in members]
    holder = kind(members)
    retired.hold([holder])
    del members, holder
    assert watched[0]() is not None
    retired.look()
    assert not [one for one in watched if one() is not None]


def test_the_members_of_what_is_freed_may_live_on_elsewhere(retired: Retired) -> None:
    members = [Member() for _ in range(300)]
    retired.hold([tuple(members)])
    retired.look()
    assert len({id(member) for member in members}) == 300


def test_a_set_of_policies_is_freed_with_its_index_and_without_the_collector(retired: Retired) -> None:
    gc.collect()
    gc.disable()
    try:
        built = read_bundle(files(), NoTokenCache())
        retired.hold(parts_of(built))
        policies = weakref.ref(built.snapshot.policies)
        retired.look()
        assert built.snapshot.policies.evaluate is not None
        del built
        assert policies() is None
        retired.look()
        assert not _all(RouteIndex, retired)
    finally:
        gc.enable()


def test_sets_that_share_an_index_keep_it_until_the_last_is_gone(retired: Retired) -> None:
    built = read_bundle(files(), NoTokenCache())
    retired.hold(parts_of(built))
    first: PolicySet = built.snapshot.policies
    other = first.over(first._facts)
    index = first._routes
    nodes = len([*index.parts()])
    del built, first, index
    retired.look()
    assert len([*other._routes.parts()]) == nodes


class Below:
    """A member that holds the next one, as places of an index do, and notes the function that freed it."""

    def __init__(self, below: object, freed: list[str]) -> None:
        self.below, self.freed = below, freed

    def __del__(self) -> None:
        """The last reference was let go of one frame above."""
        self.freed.append(sys._getframe(1).f_code.co_name)


class Tower:
    """Something large of members that hold each other, in a dictionary with less than is freed by its entries."""

    def __init__(self, members: list[Below]) -> None:
        self._top = {"top": members[0]}
        self._members = [weakref.ref(member) for member in members]

    def parts(self) -> list[object]:
        """The upper ones first."""
        return [self._top, *(member() for member in self._members)]


def test_members_that_hold_each_other_are_freed_a_few_at_a_time(retired: Retired) -> None:
    freed: list[str] = []
    members = [Below(None, freed)]
    while len(members) < 50:
        members.insert(0, Below(members[0], freed))
    retired.hold([Tower(members)])
    del members
    retired.look()
    assert freed == ["let_go"] * 50


def test_the_parts_of_an_index_are_all_of_it_the_upper_before_the_lower() -> None:
    index = read_bundle(files(), NoTokenCache()).snapshot.policies._routes
    parts = [*index.parts()]
    place = {id(part): number for number, part in enumerate(parts)}
    assert len(place) == len(parts)
    for number, part in enumerate(parts):
        for below in getattr(part, "children", {}).values():
            assert place[id(below)] > number


def test_it_frees_in_a_thread_of_its_own_and_ends_with_its_source() -> None:
    retired = Retired()
    freed = Member()
    gone = weakref.ref(freed)
    retired.hold([[freed] * 300])
    del freed
    retired.start()
    try:
        until = time.monotonic() + 10
        while gone() is not None and time.monotonic() < until:
            time.sleep(0.01)
        assert gone() is None
    finally:
        retired.stop()
    assert "retired-bundles" not in {thread.name for thread in threading.enumerate()}


def _all(kind: type, retired: Retired) -> list[object]:
    return [part for part in retired._held if isinstance(part, kind)]
