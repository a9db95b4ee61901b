"""One place for a worker: how long is waited for the next, and what becomes of one that hangs. With real processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import extauthz.workers.seat
from extauthz.app.launch import make_plan
from extauthz.settings import load_settings
from extauthz.workers.process import WorkerProcess
from extauthz.workers.seat import Seat, pause_after
from extauthz.workers.spare import Spare
from extauthz.workers.supervisor import Supervisor


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Seat]:
    """The first seat of a server that has no bundle: it serves, undecided."""
    values = {
        "workers.count": 2,
        "listen.address": f"unix:{tmp_path}/s",
        "admin.address": "127.0.0.1:0",
        "bundle.directory": tmp_path / "bundle",
        "journal.directory": tmp_path / "journal",
        "transport.drainDelaySeconds": 0,
    }
    plan = make_plan(load_settings(None, {}, [f"{key}={value}" for key, value in values.items()]))
    found = Supervisor(plan)._seats[0]
    found.start()
    assert found.settled(60)
    yield found
    found.stop()
    assert found.join(30)


def test_the_first_end_is_answered_at_once_and_the_next_with_ever_more_patience() -> None:
    assert 0 == pause_after(1, 0.5)
    longest = [pause_after(ends, 0) for ends in range(2, 20)]
    assert [0.25, 0.5, 1.0, 2.0] == longest[:4]
    assert longest == sorted(longest)
    assert {30.0} == set(longest[8:])


def test_attempts_of_several_workers_spread() -> None:
    """Jitter takes up to half of a pause away."""
    assert (1.0, 0.5) == (pause_after(4, 0), pause_after(4, 1))


def test_a_worker_that_hangs_is_ended_and_replaced(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extauthz.workers.seat, "HUNG_SECONDS", 1.0)
    monkeypatch.setattr(extauthz.workers.seat, "ANSWER_SECONDS", 0.2)
    assert seat.process
    stopped = seat.process.pid
    os.kill(stopped, signal.SIGSTOP)
    assert until(lambda: seat.ends["hung"] == 1)
    assert until(lambda: seat.serves and seat.process is not None and seat.process.pid != stopped)
    assert (0, "it answered nothing and was ended") == (seat.ends["signal"], seat.last.detail if seat.last else "")


def test_a_worker_without_a_bundle_serves_and_says_why_it_is_not_ready(seat: Seat) -> None:
    assert (True, False) == (seat.serves, seat.ready)
    assert ("no bundle is in force",) == seat.not_ready


def test_a_spare_is_taken_once_and_a_dead_one_not_at_all() -> None:
    spare = Spare()
    taken: list[WorkerProcess] = []
    spare.prepare()
    spare.prepare()
    taken += [spare.take(), spare.take()]
    assert taken[0].pid != taken[1].pid
    spare.prepare()
    (waiting,) = spare._waiting
    waiting.kill()
    assert waiting.ended(10)
    taken.append(spare.take())
    assert taken[-1] is not waiting
    for process in taken:
        process.kill()
        assert -signal.SIGKILL == process.wait(10)
        process.close()
    spare.stop()
    spare.prepare()
    assert [] == spare._waiting
