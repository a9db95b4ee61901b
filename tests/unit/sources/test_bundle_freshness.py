"""How old the bundle may become: counted from when its source was last heard, and across restarts."""

import pytest

from extauthz.sources.bundles.freshness import Freshness


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_grows_old_and_is_fresh_again(clock: Clock) -> None:
    noted: list[float] = []
    fresh = Freshness(3600, clock, noted.append)
    fresh.contact()
    clock.now += 3600
    assert ("", 3600.0, 0.0) == (fresh.look(), fresh.age, fresh.left)
    clock.now += 1
    assert ["too_old", ""] == [fresh.look(), fresh.look()], "told once"
    fresh.contact()
    assert ["fresh_again", ""] == [fresh.look(), fresh.look()]


def test_a_restart_does_not_make_it_younger(clock: Clock) -> None:
    fresh = Freshness(3600, clock, lambda _: None, heard=clock.now - 4000)
    assert "too_old" == fresh.look()
    assert (True, 4000.0) == (fresh.heard, fresh.age)


def test_a_source_that_was_never_heard_counts_from_the_start(clock: Clock) -> None:
    fresh = Freshness(3600, clock, lambda _: None)
    assert ("", False) == (fresh.look(), fresh.heard)
    clock.now += 3601
    assert "too_old" == fresh.look()


def test_without_a_limit_it_never_is(clock: Clock) -> None:
    fresh = Freshness(0, clock, lambda _: pytest.fail("nothing is written down"))
    fresh.contact()
    clock.now += 10**9
    assert ("", float("inf"), 10.0**9) == (fresh.look(), fresh.left, fresh.age)


def test_the_disk_hears_of_a_contact_once_a_minute_or_more_seldom(clock: Clock) -> None:
    for max_age, pause in ((60, 60), (7200, 360)):
        noted: list[float] = []
        fresh = Freshness(max_age, clock, noted.append)
        for _ in range(1000):
            fresh.contact()
            clock.now += 1
        assert len(noted) == -(-1000 // pause)


def test_a_clock_that_was_set_back_does_not_hide_contacts(clock: Clock) -> None:
    noted: list[float] = []
    fresh = Freshness(3600, clock, noted.append)
    fresh.contact()
    clock.now -= 86400
    fresh.contact()
    assert (2, 0.0, "") == (len(noted), fresh.age, fresh.look())
