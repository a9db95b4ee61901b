"""What the server keeps about DPoP proofs, as its options have it: the replay store and the keys of nonces."""

import logging
from collections.abc import Callable

from extauthz.sources.nonce_keys import DpopOptions
from extauthz.sources.redis_replay import RedisReplayStore
from extauthz.sources.replay_store import MemoryReplayStore
from extauthz.sources.told_replay import ToldReplayStore

log = logging.getLogger("extauthz.app")

SharedStore = RedisReplayStore | ToldReplayStore  # what is asked outside


def open_replay_store(options: DpopOptions, clock: Callable[[], float]) -> MemoryReplayStore | SharedStore:
    """The store that the options name; nothing is connected yet."""
    replay = options.replay
    return RedisReplayStore(replay, clock) if replay.store == "redis" else MemoryReplayStore(replay.capacity, clock)


def probe(store: MemoryReplayStore | SharedStore) -> None:
    """Say in the log what is wrong with a shared store; it may come right later, so that nothing ends for it."""
    if isinstance(store, RedisReplayStore) and (wrong := store.probe()):
        log.warning(wrong)
