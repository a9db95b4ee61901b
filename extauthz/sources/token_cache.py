"""Verified tokens in memory, bounded. What another thread overtakes costs at most a second verification."""

from sys import getsizeof
from typing import Annotated, Final

from msgspec import Meta, Struct

from extauthz.model.memo import Memo
from extauthz.model.subject import Subject

# Under a fifth of the 512 MiB that a pod is given; with 20,000 entries a token may take 3.3 KiB, a usual one takes 2.
# Without this bound 20,000 tokens of 8 KiB with hundreds of roles took 800 MiB (measured).
MAX_BYTES: Final = 96 << 20
_ENTRY_BYTES: Final = 1400  # Subject, key, short strings, place in the table: 1,165 measured with long ids


class TokenOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is kept of tokens that were verified."""

    cache_entries: Annotated[int, Meta(ge=0, le=10_000_000)] = 20_000  # about 2 KiB each; 0 verifies every time
    # all of them together; a token that takes more than a third of it is verified every time
    cache_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = MAX_BYTES


class GenerationalTokenCache(Memo[bytes, Subject]):
    """Implements `model.ports.TokenCache`; entries are bytes and a Subject, neither tracked by the collector."""

    __slots__ = ()

    def __init__(self, max_entries: int, max_bytes: int = MAX_BYTES) -> None:
        """At most `max_entries` are kept, about 1.5 KiB each with a usual token, and at most `max_bytes` of memory."""
        super().__init__(max_entries, max_bytes, _bytes_of)


def _bytes_of(_: bytes, subject: Subject) -> int:
    """What an entry takes in memory, near enough and rather too much."""
    lists = (subject.roles, subject.scopes, subject.confirmation, subject.actors)
    texts = sum(getsizeof(text) for texts in lists for text in texts) + sum(map(getsizeof, lists))
    return _ENTRY_BYTES + len(subject.claims) + texts
