"""What workers must agree on: what is revoked at run time, and which proofs were used.

Rule 1: an order is in force on every worker before it is answered; a worker that does not follow is ended.
Rule 2: the state outlives every worker that changed it: who starts takes it from here, not from the disk.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Raw

from extauthz.sources.replay_store import MemoryReplayStore
from extauthz.workers.channel import ChannelError
from extauthz.workers.plan import FirstUse, News
from extauthz.workers.seat import Seat

log = logging.getLogger("extauthz.workers")

FOLLOW_SECONDS = 5.0
ORDER_SECONDS = 40.0  # for a bundle of 10,000 policies that has to be compiled anew
ANSWERS = {True: b"first", False: b"used", None: b"full"}

Tell = Callable[[bytes], None]  # hand over news and wait until they are in force; raises ChannelError
End = Callable[[], None]  # end the worker at once


class SharedState:
    """The latest run-time state, and the workers that follow it."""

    def __init__(self, state: Raw) -> None:
        self._latest = News(state)
        self._followers: dict[int, tuple[Tell, End]] = {}
        self._turn = threading.Lock()

    def join(self, worker: int, tell: Tell, end: End) -> bytes:
        """The state as of now; whatever changes from now on is told to this worker, perhaps before it has read this."""
        with self._turn:
            self._followers[worker] = (tell, end)
            return msgspec.json.encode(self._latest)

    def leave(self, worker: int) -> None:
        """It ended."""
        self._followers.pop(worker, None)

    def publish(self, worker: int, body: bytes) -> bytes:
        """One worker changed it: tell the others, and return when all follow or are ended."""
        news = msgspec.json.decode(body, type=News)
        with self._turn:
            news = News(news.state, news.change, self._latest.version + 1)
            self._latest = News(news.state, version=news.version)
            told = msgspec.json.encode(news)
            others = [number for number in self._followers if number != worker]
            if others:
                with ThreadPoolExecutor(len(others), thread_name_prefix="follow") as pool:
                    list(pool.map(lambda number: self._tell(number, told), others))
        return b""

    def _tell(self, worker: int, body: bytes) -> None:
        follower = self._followers.get(worker)
        if follower is None:
            return  # it ended meanwhile; the next one takes the state as it is now
        tell, end = follower
        try:
            tell(body)
        except ChannelError as error:
            log.error("worker does not follow and is ended", extra={"worker": worker, "why": str(error)})  # noqa: TRY400 - the text says it all
            end()


def spread(order: bytes, seats: Sequence[Seat]) -> bytes:
    """Tell these workers of an order about bundles, and return when all follow or are ended.

    What it changed is on the disk that they share: who does not run yet reads it there, and who is ended does so anew.
    """

    def tell(seat: Seat) -> None:
        process = seat.process
        if process is None:
            return
        try:
            process.order(order, ORDER_SECONDS)
        except ChannelError as error:
            log.error("worker does not follow and is ended", extra={"worker": seat.worker, "why": str(error)})  # noqa: TRY400 - the text says it all
            process.kill()

    if seats:
        with ThreadPoolExecutor(len(seats), thread_name_prefix="order") as pool:
            list(pool.map(tell, seats))
    return b""


class SharedProofs:
    """Used proofs of all workers, in the supervisor's memory."""

    def __init__(self, capacity: int) -> None:
        self._store = MemoryReplayStore(capacity, time.time)

    def first_use(self, body: bytes) -> bytes:
        """Answer one question. Called on the threads that read, so two may come at once; the store allows it."""
        asked = msgspec.msgpack.decode(body, type=FirstUse)
        return ANSWERS[self._store.first_use(asked.key, asked.expires)]


def no_proofs(_body: bytes) -> bytes:
    """The workers have a store of their own choice."""
    return ANSWERS[None]
