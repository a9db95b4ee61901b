"""Questions between two processes over one socket, whatever the other side does."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import extauthz.workers.channel
from extauthz.workers.channel import Channel, ChannelError


class Ends:
    """Two ends, and what the second has heard."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.heard: list[bytes] = []
        self.gate = threading.Event()
        ours, theirs = socket.socketpair()
        self.left = Channel(ours, {"twice": lambda body: body * 2}, {}, lambda: self.ended.append("left"))
        self.right = Channel(
            theirs,
            {"echo": lambda body: body, "note": self._note, "fail": self._fail},
            {"slow": self._slow, "back": lambda body: self.right.ask("twice", body)},
            lambda: self.ended.append("right"),
        )
        self.left.start()
        self.right.start()

    def _note(self, body: bytes) -> bytes:
        self.heard.append(body)
        return b""

    def _slow(self, body: bytes) -> bytes:
        self.gate.wait(10)
        return body

    def _fail(self, _: bytes) -> bytes:
        message = "it cannot be done"
        raise ChannelError(message)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.gate.set()
    made.left.close()
    made.right.close()


def test_answers_find_their_questions_also_when_many_ask_at_once(ends: Ends) -> None:
    bodies = [str(number).encode() * 50 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert bodies == list(pool.map(lambda body: ends.left.ask("echo", body), bodies))


def test_a_slow_answer_holds_up_no_other(ends: Ends) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ends.left.ask, "slow", b"late")
        assert b"at once" == ends.left.ask("echo", b"at once")
        ends.gate.set()
        assert b"late" == slow.result(10)


def test_whoever_answers_may_ask_first(ends: Ends) -> None:
    assert b"abab" == ends.left.ask("back", b"ab")


def test_thirty_megabytes_arrive_whole(ends: Ends) -> None:
    body = bytes(range(256)) * 120_000
    assert body == ends.left.ask("echo", body, 30)


def test_what_is_told_arrives_without_an_answer(ends: Ends) -> None:
    ends.left.tell("note", b"something")
    ends.left.ask("echo")
    assert [b"something"] == ends.heard


@pytest.mark.parametrize(
    ("kind", "why"), [("fail", "it cannot be done"), ("nothing", "`nothing` is nothing that can be asked here")]
)
def test_no_answer_is_an_error_that_says_why(ends: Ends, kind: str, why: str) -> None:
    with pytest.raises(ChannelError, match=why):
        ends.left.ask(kind)
    assert b"still here" == ends.left.ask("echo", b"still here")


def test_an_answer_that_comes_too_late_is_nobody_s(ends: Ends) -> None:
    with pytest.raises(ChannelError, match="no answer to `slow` within"):
        ends.left.ask("slow", b"late", 0.05)
    ends.gate.set()
    assert b"in time" == ends.left.ask("echo", b"in time")


def test_the_end_of_one_side_ends_every_question_of_the_other(ends: Ends) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ends.left.ask, "slow", b"", 20)
        time.sleep(0.1)
        ends.right.close()
        with pytest.raises(ChannelError, match="gone"):
            waiting.result(10)
    ends.left._reader.join(5)
    assert ["left"] == ends.ended  # who closed knows it already
    with pytest.raises(ChannelError):
        ends.left.ask("echo")


def test_a_partner_that_takes_nothing_is_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process must not hold up whoever tells it something."""
    monkeypatch.setattr(
        extauthz.workers.channel, "_SEND_TIMEOUT", (0).to_bytes(8, "little") + (50_000).to_bytes(8, "little")
    )
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    channel = Channel(ours, {}, {}, ended.set)
    channel.start()
    with pytest.raises(ChannelError, match="takes nothing"):
        channel.tell("note", bytes(10 << 20))
    assert ended.wait(5)
    channel.close()
    theirs.close()


def test_a_frame_that_is_no_frame_ends_the_channel() -> None:
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    channel = Channel(ours, {}, {}, ended.set)
    channel.start()
    theirs.sendall(b"\x00\x00\x00\x03abc")
    assert ended.wait(5)
    channel.close()
    theirs.close()
