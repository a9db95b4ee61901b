"""What may wait: bursts are taken in; of a standing queue more is read than can be done, to choose fairly."""

from extauthz.transport.admission import Queue


def work(queue: Queue, calls: int, seconds: float) -> None:
    """All of it processor time."""
    queue.worked(calls, seconds, seconds)


def a_queue(cost: float, *, choosing: bool = False) -> Queue:
    """5 ms of work may stand, at `cost` seconds a call; empty."""
    queue = Queue(0.005, 1024, cost, choosing=choosing)
    for _ in range(200):
        work(queue, 1, cost)
        queue.emptied()
    return queue


def most(queue: Queue) -> int:
    return next(waiting for waiting in range(2000) if queue.is_full(waiting))


def test_a_burst_may_be_longer_than_what_can_be_done_where_the_queue_stands() -> None:
    queue = a_queue(0.000099)
    assert (False, 202, 50) == (queue.stands, most(queue), queue.places)
    work(queue, 210, 210 * 0.000099)
    assert (True, 50, 50) == (queue.stands, most(queue), queue.places)


def test_where_there_is_a_choice_to_make_more_are_looked_at_than_can_be_served() -> None:
    queue = a_queue(0.000099, choosing=True)
    work(queue, 210, 210 * 0.000099)
    assert (True, 174, 50) == (queue.stands, most(queue), queue.places)


def how_often_empty(queue: Queue) -> int:
    """Until it stands no longer."""
    return next(times for times in range(1000) if not queue.stands or queue.emptied())


def test_a_moment_of_emptiness_is_the_end_of_a_burst() -> None:
    queue = a_queue(0.0001)
    work(queue, 160, 0.016)
    queue.emptied()
    work(queue, 160, 0.016)
    assert not queue.stands


def test_a_queue_that_stood_is_trusted_when_it_was_found_empty_some_dozen_times() -> None:
    queue = a_queue(0.0001)
    work(queue, 400, 0.04)
    assert queue.stands
    assert 55 == how_often_empty(queue)


def test_a_queue_that_is_empty_because_many_were_refused_still_stands() -> None:
    queue = a_queue(0.0001)
    work(queue, 400, 0.04)
    for _ in range(100):
        assert queue.is_full(100)
        queue.emptied()
        queue.turned_away()
        queue.emptied()
    assert queue.stands
    assert 55 == how_often_empty(queue)


def test_however_long_it_stood_it_is_trusted_as_soon() -> None:
    queue = a_queue(0.0001)
    work(queue, 100_000, 10.0)
    assert 55 == how_often_empty(queue)


def test_what_gathers_during_a_pause_of_the_machine_is_a_burst() -> None:
    queue = a_queue(0.0001)
    work(queue, 1, 0.5)
    assert not queue.stands


def test_the_dearer_the_work_the_fewer_may_wait_but_never_less_than_a_few() -> None:
    assert [505, 50, 16, 16] == [a_queue(cost).places for cost in (0.0000099, 0.000099, 0.001, 0.1)]


def test_one_pause_of_the_machine_does_not_change_the_price_of_work() -> None:
    queue = a_queue(0.0001)
    work(queue, 1, 0.5)
    assert 43 <= queue.places <= 50


def test_no_queue_is_longer_than_its_bound_in_calls() -> None:
    queue = a_queue(1e-9, choosing=True)
    assert 1024 == most(queue)
    work(queue, 10**9, 1.0)
    assert (True, 1024) == (queue.stands, most(queue))


def test_what_waits_for_a_core_is_a_burst_however_long_that_takes() -> None:
    queue = a_queue(0.0001)
    for _ in range(40):
        queue.worked(2, 0.2, 0.0002)
    assert (False, 200) == (queue.stands, most(queue))


def test_what_came_while_the_machine_stood_still_for_a_fifth_of_a_second_is_all_answered() -> None:
    """At 1,000 a second; with work for two beside, so that each takes twice as long."""
    queue = a_queue(0.00005)
    waiting = 250
    assert not queue.is_full(waiting)
    while waiting > 0:
        queue.worked(25, 25 * 0.0001, 25 * 0.00005)
        assert not queue.stands
        waiting -= 25
    queue.emptied()
    assert not queue.stands
