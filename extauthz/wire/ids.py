"""Random ids for answers, drawn from the kernel many at a time.

Rule 1: an id is given out once: taking one from the store is a single step under the interpreter's lock.
Rule 2: a process that is forked off throws away what it was born with.
"""

import os

# One call takes 0.5 us, whether for one id or for some.
_DRAWN_AT_ONCE = 64
_BYTES = 16

_store: list[str] = []


def decision_id() -> str:
    """128 random bits as 32 hex digits."""
    try:
        return _store.pop()
    except IndexError:
        drawn = os.urandom(_BYTES * _DRAWN_AT_ONCE)
        _store.extend([drawn[at : at + _BYTES].hex() for at in range(_BYTES, len(drawn), _BYTES)])
        return drawn[:_BYTES].hex()


def interaction_id() -> str:
    """A UUID version 4 (RFC 9562 section 5.4)."""
    text = decision_id()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


os.register_at_fork(after_in_child=_store.clear)
