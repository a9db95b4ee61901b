"""What the server keeps about DPoP proofs, as its options have it: the replay store and the keys of nonces."""

import logging
from collections.abc import Callable

from extauthz.sources.nonce_keys import DpopOptions
from extauthz.sources.replay_store import MemoryReplayStore, SharedStore

log = logging.getLogger("extauthz.app")


def open_replay_store(options: DpopOptions, clock: Callable[[], float]) -> MemoryReplayStore | SharedStore:
    """The store that the options name; nothing is connected yet."""
    replay = options.replay
    if replay.store == "memory":
        return MemoryReplayStore(replay.capacity, clock)
    from extauthz.sources.redis_replay import RedisReplayStore  # noqa: PLC0415 - the client takes 0.4 s to load

    return RedisReplayStore(replay, clock)


def probe(store: MemoryReplayStore | SharedStore) -> None:
    """Say in the log what is wrong with a shared store; it may come right later, so that nothing ends for it."""
    if isinstance(store, SharedStore) and (wrong := store.probe()):
        log.warning(wrong)
