"""What workers share: every one follows or is ended, and whoever starts takes the state as it is."""

import http.client
import socket
import threading
from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Raw

from extauthz.app.seated import Seated
from extauthz.model.decision import FirstUse as Question
from extauthz.sources import RuntimeEmergencies
from extauthz.sources.told_replay import ToldReplayStore
from extauthz.workers.channel import ChannelError
from extauthz.workers.plan import FirstUse, News
from extauthz.workers.relay import relay
from extauthz.workers.shared import ANSWERS, SharedProofs, SharedState


def news(state: str) -> bytes:
    return msgspec.json.encode(News(Raw(msgspec.json.encode([state])), Raw(b"{}")))


class Follower:
    """A worker that follows, or does not."""

    def __init__(self, *, follows: bool = True) -> None:
        self.heard: list[bytes] = []
        self.ended = False
        self._follows = follows

    def tell(self, body: bytes) -> None:
        if not self._follows:
            message = "no answer"
            raise ChannelError(message)
        self.heard.append(bytes(msgspec.json.decode(body, type=News).state))

    def end(self) -> None:
        self.ended = True


def joined(state: SharedState, *followers: Follower) -> None:
    for number, follower in enumerate(followers):
        state.join(number, follower.tell, follower.end)


def joining(state: SharedState, worker: int) -> tuple[bytes, int]:
    """What a worker is given that joins."""
    follower = Follower()
    found = msgspec.json.decode(state.join(worker, follower.tell, follower.end), type=News)
    return bytes(found.state), found.version


def test_what_one_changes_all_others_follow_before_it_returns() -> None:
    state, followers = SharedState(Raw(b"[]")), [Follower() for _ in range(3)]
    joined(state, *followers)
    state.publish(1, news("a"))
    assert [[b'["a"]'], [], [b'["a"]']] == [follower.heard for follower in followers]


def test_who_does_not_follow_is_ended_and_the_others_are_told_nevertheless() -> None:
    """A worker that goes on with an old list would let in what was revoked."""
    state, stuck, other = SharedState(Raw(b"[]")), Follower(follows=False), Follower()
    joined(state, Follower(), stuck, other)
    state.publish(0, news("a"))
    assert (True, False, 1) == (stuck.ended, other.ended, len(other.heard))


def test_who_joins_later_begins_with_the_latest() -> None:
    state = SharedState(Raw(b'["first"]'))
    assert (b'["first"]', 0) == joining(state, 0)
    state.publish(0, news("a"))
    assert (b'["a"]', 1) == joining(state, 1)


def test_what_is_told_late_does_not_undo_what_came_before_it() -> None:
    """A change may reach a worker before the answer to its joining does, which was given before the change."""
    told: list[list[str]] = []

    class Ordered:
        def adopt(self, entries: list[str], _change: object) -> None:
            told.append(entries)

    seat = Seated.__new__(Seated)
    seat._following, seat._version, seat._ordered = threading.Lock(), -1, cast(RuntimeEmergencies, Ordered())
    for version in (2, 1, 2, 3):
        seat.follow(News(Raw(b"[]"), version=version))
    assert 2 == len(told)


def test_who_left_is_told_nothing() -> None:
    state, gone = SharedState(Raw(b"[]")), Follower()
    joined(state, Follower(), gone)
    state.leave(1)
    state.publish(0, news("a"))
    assert ([], False) == (gone.heard, gone.ended)


def test_whoever_joins_while_a_change_is_under_way_gets_it_one_way_or_the_other() -> None:
    """No worker begins to serve with a list that is older than an order that was answered."""
    state, slow = SharedState(Raw(b"[]")), Follower()
    entered, gate = threading.Event(), threading.Event()

    def tell(body: bytes) -> None:
        entered.set()
        gate.wait(10)
        slow.tell(body)

    state.join(0, tell, slow.end)
    publishing = threading.Thread(target=state.publish, args=(1, news("a")))
    publishing.start()
    assert entered.wait(10)
    late: list[tuple[bytes, int]] = []
    comer = threading.Thread(target=lambda: late.append(joining(state, 2)))
    comer.start()
    gate.set()
    publishing.join(10)
    comer.join(10)
    assert [(b'["a"]', 1)] == late


def store(proofs: SharedProofs, capacity: int = 1000) -> ToldReplayStore:
    meaning = {answer: first for first, answer in ANSWERS.items()}

    def ask(key: bytes, expires: int, _seconds: float) -> bool | None:
        return meaning[proofs.first_use(msgspec.msgpack.encode(FirstUse(key, expires)))]

    return ToldReplayStore(ask, capacity, lambda: 1_000.0)


def test_dp_17_a_proof_is_good_once_over_all_workers() -> None:
    proofs = SharedProofs(1000)
    one, two = store(proofs), store(proofs)
    question = Question(b"k" * 16, 2_000_000_000)
    assert [None, None] == [each.first_use(question.key, question.expires) for each in (one, two)]  # both must ask
    assert [True, False, False] == [one.ask(question, 1_001.0), two.ask(question, 1_001.0), one.ask(question, 1_001.0)]
    assert [False, False] == [each.first_use(question.key, question.expires) for each in (one, two)]  # both know now
    assert 1 <= one.status().replayed


def test_dp_18_without_room_or_an_answer_nothing_is_let_in() -> None:
    def silent(_key: bytes, _expires: int, _seconds: float) -> bool | None:
        message = "no answer"
        raise OSError(message)

    lost = ToldReplayStore(silent, 1000, lambda: 1_000.0)
    assert lost.ask(Question(b"a", 2_000_000_000), 1_001.0) is None
    assert (1, False) == (lost.status().failures, lost.status().available)
    late = store(SharedProofs(1000))
    assert late.ask(Question(b"a", 2_000_000_000), 999.0) is None
    full = SharedProofs(1)
    full.first_use(msgspec.msgpack.encode(FirstUse(b"a", 2_000_000_000)))
    assert store(full).ask(Question(b"b", 2_000_000_000), 1_001.0) is None


class Place:
    """A seat as the relay sees it."""

    def __init__(self, *, serves: bool = True, takes: bool = True) -> None:
        self.serves = serves
        self.process: Any = self
        self.takes = takes
        self.taken = 0

    def hand_over(self, _connection: socket.socket) -> bool:
        self.taken += self.takes
        return self.takes


def hand(passing: Callable[[socket.socket], None]) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        passing(theirs)
    return ours


def test_one_worker_takes_all_orders_as_long_as_it_runs() -> None:
    """Also when one before it is back: two workers must not change one list at once."""
    first, second = Place(serves=False), Place()
    passing = relay([first, second])
    hand(passing).close()
    first.serves = True
    hand(passing).close()
    assert (0, 2) == (first.taken, second.taken)
    second.serves = False
    hand(passing).close()
    assert (1, 2) == (first.taken, second.taken)


def test_an_order_that_no_worker_takes_is_refused_with_a_word() -> None:
    with hand(relay([Place(serves=False), Place(takes=False)])) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert 503 == answer.status
        assert {"error": "no worker runs that could take an order"} == msgspec.json.decode(answer.read())
