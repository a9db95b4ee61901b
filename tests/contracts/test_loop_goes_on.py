"""The loop transport when something fails that must not: every Check gets its explicit answer, and the loop goes on.

A loop that ends is a server that takes calls and answers none; it could not even be stopped.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import grpc
import pytest

from extauthz.model.reasons import Reason
from extauthz.transport import METHOD, SERVICE, Arrival, ListenOptions, LoopTransport, TransportOptions

CHECK = f"/{SERVICE}/{METHOD}"
LAST_RESORT = b"last resort"


class BrokenError(Exception):
    """What a bug raises."""


class Continues:
    """A Later as a bug may make it: `waits` and what comes of the call may be errors."""

    def __init__(self, waits: object, outcome: object) -> None:
        self._waits, self._outcome = waits, outcome

    @property
    def waits(self) -> object:
        return self._give(self._waits)

    def __call__(self) -> object:
        return self._give(self._outcome)

    @staticmethod
    def _give(what: object) -> object:
        if isinstance(what, BaseException):
            raise what
        return what


class Faulty:
    """Answers with what it was asked, but for what a test breaks."""

    def __init__(self) -> None:
        self.answers: object = None
        self.each: dict[bytes, object] = {}
        self.glance: Exception | None = None
        self.refusal: Exception | None = None

    def answer(self, arrival: Arrival) -> bytes:
        return arrival.raw

    def answer_all(self, arrivals: Sequence[Arrival]) -> object:
        if isinstance(self.answers, BaseException):
            raise self.answers
        if self.answers is not None:
            return self.answers
        return [self.each.get(arrival.raw, arrival.raw) for arrival in arrivals]

    def whose(self, raw: bytes) -> str:
        if self.glance:
            raise self.glance
        return raw.decode()

    def needs_verifying(self, raw: bytes) -> bool:
        if self.glance:
            raise self.glance
        return raw == b"nobody"

    def refuse(self, reason: Reason) -> bytes:
        if self.refusal:
            raise self.refusal
        return reason.code.encode()


class Served:
    def __init__(self, **options: object) -> None:
        self.answerer = Faulty()
        self.shed: list[str] = []
        self.count_error: Exception | None = None
        self.transport = LoopTransport(
            ListenOptions(address="127.0.0.1:0"), TransportOptions(**options), LAST_RESORT, self._count
        )
        self.address = self.transport.bind()
        self.transport.start(self.answerer)
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def _count(self, cause: str) -> None:
        self.shed.append(cause)
        if self.count_error:
            raise self.count_error

    def ask(self, raw: bytes) -> Future:
        return self.channel.unary_unary(CHECK).future(raw, timeout=10.0)

    def check(self, raw: bytes) -> bytes:
        return self.ask(raw).result()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.channel.close()
    server.transport.stop(5.0)


def goes_on(served: Served) -> bool:
    """Whether the next Check is answered as ever, and nothing is left over of those before."""
    served.answerer.__init__()
    answered = served.check(b"the next") == b"the next"
    end = time.monotonic() + 5
    while served.transport.inflight and time.monotonic() < end:
        time.sleep(0.01)
    return answered and served.transport.inflight == 0


@pytest.mark.parametrize(
    "answers",
    [[], [b"1", b"2"], 7, [None], ["text"], BrokenError(), SystemExit(1), MemoryError()],
    ids=["too few", "too many", "no list", "None", "text", "error", "exit", "memory"],
)
def test_t59_answers_that_are_none_become_the_last_resort_and_the_next_check_is_answered(
    served: Served, answers: object
) -> None:
    served.answerer.answers = answers
    assert served.check(b"x") == LAST_RESORT
    assert goes_on(served)


@pytest.mark.parametrize("waits", [True, False], ids=["aside", "costly"])
@pytest.mark.parametrize("outcome", [BrokenError(), None, SystemExit(1)], ids=["error", "None", "exit"])
def test_t59_what_is_gone_on_with_and_fails_becomes_the_last_resort(
    served: Served, outcome: object, *, waits: bool
) -> None:
    served.answerer.each[b"x"] = Continues(waits, outcome)
    assert served.check(b"x") == LAST_RESORT
    assert goes_on(served)


def test_what_is_gone_on_with_may_have_to_wait_again_and_again(served: Served) -> None:
    for waits in (True, False):
        served.answerer.each[b"x"] = Continues(waits, Continues(False, Continues(True, b"at last")))
        assert served.check(b"x") == b"at last"
    assert goes_on(served)


def test_one_answer_that_cannot_be_given_costs_the_others_of_its_batch_nothing(served: Served) -> None:
    began, go = threading.Event(), threading.Event()

    def hold() -> bool:
        began.set()
        return go.wait(10)

    class Held(Continues):
        @property
        def waits(self) -> bool:
            hold()
            return True

    served.answerer.each = {b"held": Held(True, b"held"), b"bad": Continues(BrokenError(), b"never")}
    first = served.ask(b"held")  # the loop stands, so that the others come as one batch
    assert began.wait(10)
    others = [served.ask(raw) for raw in (b"good 1", b"bad", b"good 2")]
    time.sleep(0.2)
    go.set()
    assert [first.result(), *(other.result() for other in others)] == [b"held", b"good 1", LAST_RESORT, b"good 2"]
    assert goes_on(served)


def test_a_refusal_is_given_although_nobody_can_count_it_or_word_it(served: Served, monkeypatch) -> None:
    monkeypatch.setattr(served.transport._desk._queue, "is_full", lambda _waiting: True)
    served.count_error = BrokenError()
    assert served.check(b"x") == Reason.OVERLOADED.code.encode()
    served.answerer.refusal = BrokenError()
    assert served.check(b"x") == LAST_RESORT
    assert served.shed == ["queue", "queue"]
    monkeypatch.undo()
    assert goes_on(served)


def test_a_glance_that_fails_turns_nobody_away_and_keeps_nobody_waiting(served: Served, monkeypatch) -> None:
    desk = served.transport._desk
    monkeypatch.setattr(desk._costly_queue, "is_full", lambda _waiting: True)
    monkeypatch.setattr(desk._costly_queue, "room", 0)
    assert served.check(b"nobody") == Reason.OVERLOADED.code.encode()
    served.answerer.glance = BrokenError()
    assert served.check(b"nobody") == b"nobody"
    monkeypatch.undo()
    assert goes_on(served)


def test_where_the_machine_gives_no_thread_a_check_goes_on_without_waiting(served: Served, monkeypatch) -> None:
    def refuse() -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    may_wait: list[bool] = []

    class Asks(Continues):
        def __call__(self) -> bytes:
            with served.transport.aside() as may:
                may_wait.append(may)
            return b"done"

    served.answerer.each[b"x"] = Asks(True, None)
    monkeypatch.setattr(served.transport._desk.aside._pool, "_adjust_thread_count", refuse)
    call = served.ask(b"x")
    deadline = time.monotonic() + 5
    while not may_wait and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.undo()
    assert call.result() == b"done"
    assert may_wait == [False]
    assert served.check(b"x") == b"done"  # the thread that can be had now finds nothing left of the first
    assert may_wait == [False, True]
    assert goes_on(served)


def test_t64_checks_are_decided_although_events_never_end(served: Served, monkeypatch) -> None:
    """As long as somebody sends faster than the loop looks, there is always something to look at."""
    poll = served.transport._poller.poll

    class Endless:
        def poll(self, _timeout: float, most: int) -> list[tuple[int, int]]:
            return poll(0, most) or [(-1, 0)]

        def __getattr__(self, name: str) -> object:
            return getattr(poller, name)

    poller = served.transport._poller
    monkeypatch.setattr(served.transport, "_poller", Endless())
    monkeypatch.setattr(served.transport._desk, "is_due", lambda *, more_may_come: more_may_come)  # the queue stands
    half_open = threading.Event()

    def never() -> Iterator[bytes]:
        half_open.wait(30)
        yield from ()

    abandoned = served.channel.stream_unary(CHECK).future(never(), timeout=30)
    end = time.monotonic() + 10
    while not served.transport.inflight and time.monotonic() < end:
        time.sleep(0.01)
    assert served.check(b"x") == b"x"
    assert abandoned.exception(timeout=10).code() is grpc.StatusCode.CANCELLED
    half_open.set()
    monkeypatch.undo()


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", CHECK])
def test_t64_calls_that_never_send_their_message_are_bounded_and_given_up(method: str) -> None:
    served = Served(message_timeout_seconds=0.5)
    served.transport._hub.most_coming = 5
    gate = threading.Event()

    def never() -> Iterator[bytes]:
        gate.wait(30)
        yield from ()

    begin = served.channel.stream_unary(method)
    try:
        calls = [begin.future(never(), timeout=30) for _ in range(60)]
        codes = [error.code() if (error := call.exception(timeout=20)) else None for call in calls]
        refused = None if method == CHECK else grpc.StatusCode.UNAVAILABLE  # a Check gets an explicit answer
        assert codes.count(grpc.StatusCode.CANCELLED) == 16  # a few any connection may have
        assert codes.count(refused) == 44
        assert served.transport.inflight == 0
    finally:
        gate.set()
        served.channel.close()
        served.transport.stop(5.0)


def test_a_connection_that_breaks_the_code_ends_alone(served: Served, monkeypatch, caplog) -> None:
    """A bug in what reads one connection costs that connection, and the next is served."""
    assert served.check(b"x") == b"x"
    link = next(iter(served.transport._links))

    def broken(_chunk: bytes) -> None:
        raise BrokenError

    monkeypatch.setattr(link.connection, "receive", broken)
    assert served.check(b"x") == b"x"  # grpc's client asks again where it was told that nobody has looked at it
    assert link.is_closed or link.over_since
    assert "a connection failed" in caplog.text
    assert goes_on(served)


def test_t64_checks_that_are_reset_before_their_turn_are_not_decided(served: Served) -> None:
    began, go, decided = threading.Event(), threading.Event(), []
    answer_all = served.answerer.answer_all

    def noted(arrivals: Sequence[Arrival]) -> object:
        decided.extend(arrival.raw for arrival in arrivals)
        if arrivals[0].raw == b"first":
            began.set()
            go.wait(10)
        return answer_all(arrivals)

    served.answerer.answer_all = noted
    first = served.ask(b"first")
    assert began.wait(10)
    calls = [served.ask(b"%d" % number) for number in range(20)]
    time.sleep(0.2)
    for call in calls[::2]:
        call.cancel()
    time.sleep(0.2)
    go.set()
    assert first.result() == b"first"
    assert [call.result() for call in calls[1::2]] == [b"%d" % number for number in range(1, 20, 2)]
    assert decided == [b"first", *(b"%d" % number for number in range(1, 20, 2))]
    assert served.transport.inflight == 0


def test_stop_may_be_called_from_several_threads_in_the_middle_of_a_flood() -> None:
    for grace in (0.0, 0.2):
        served = Served()
        served.answerer.each[b"slow"] = Continues(True, b"slow")
        calls = [served.ask(b"slow" if number % 7 == 0 else b"x") for number in range(200)]
        threads = [threading.Thread(target=served.transport.stop, args=(grace,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
        answers = {call.result() for call in calls if not call.exception()}
        assert answers <= {b"slow", b"x", Reason.OVERLOADED.code.encode()}
        assert not served.transport._thread.is_alive()
        served.channel.close()
