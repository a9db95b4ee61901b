"""What a peer may have us do that leads to no answer: frames that cost it next to nothing, and us a little more.

Rule 1: whoever has calls answered earns it; a flood of anything else ends the connection (CVE-2019-9512 and its like,
CVE-2023-44487, CVE-2025-8671).
"""

from typing import Final

from extauthz.transport.http2.frames import ENHANCE_YOUR_CALM, PeerError

_MOST: Final = 10_000
_REFILL: Final = 2_000  # each second
EARNED: Final = 10  # by a call whose message has come
RESET: Final = 4  # a stream that ends without an answer
STREAMS: Final = 16  # that one frame has us look at
EARLY_PING: Final = 20  # a PING that comes sooner than agreed, when nothing was answered since the last


class Budget:
    """One connection's; in frames."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MOST

    def spend(self, frames: int = 1) -> None:
        """Raises PeerError when nothing is left."""
        self.left -= frames
        if self.left < 0:
            raise PeerError(ENHANCE_YOUR_CALM, "too much that leads to nothing")

    def refill(self, seconds: float) -> None:
        """So much time has gone by."""
        self.left = min(_MOST, self.left + int(_REFILL * seconds))
