"""What time does to a connection: handshakes that do not end, peers that vanish or do not read, and old age.

Rule 1: looked at a few times a second; nothing here is exact.
"""

import random
from typing import Final

from extauthz.transport.http2 import frames
from extauthz.transport.http2.link import Link

_GREETING_SECONDS: Final = 10.0  # for preface and SETTINGS
_KEEPALIVE_SECONDS, _ANSWER_SECONDS = 30.0, 10.0
_SLOW_SECONDS: Final = 10.0  # in which a peer that does not read must begin to
_LINGER_SECONDS: Final = 1.0  # for the peer to close, once all is said
_PONG_SECONDS: Final = 1.0  # between the two GOAWAYs, where the peer does not answer
_JITTER: Final = 0.1
_ALIVE, _LEAVING = b"alive?..", b"leaving."


class Clocks:
    """Of one connection."""

    def __init__(self, link: Link) -> None:
        self._link, self._hub = link, link.connection.hub
        options, now = self._hub.options, self._hub.now
        age = options.max_connection_age_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        self._old = now + age if age else 0.0
        self._asked = 0.0  # since when an answer to our PING is waited for
        self._leaving = 0.0  # since when new calls are asked to go elsewhere
        self._last_said = False  # whether the peer knows which call was the last
        self._ends = 0.0  # when the calls that are left are cancelled
        self._looked = now

    def look(self) -> None:
        """Do what is due."""
        link, now = self._link, self._hub.now
        link.connection.budget.refill(now - self._looked)
        self._looked = now
        if link.over_since:
            if now - link.over_since > (_SLOW_SECONDS if link.unsent else _LINGER_SECONDS):
                link.close()
        elif not link.connection.settled:
            if now - link.began > _GREETING_SECONDS:
                link.end(frames.SETTINGS_TIMEOUT, "no SETTINGS")
        elif link.unsent and now - link.unsent_since > _SLOW_SECONDS:
            link.close()
        else:
            self._look_at_calls(now)
            self._look_at_peer(now)
            self._look_at_age(now)

    def leave(self, grace: float) -> None:
        """Take no new calls as soon as the peer knows, and end with the last that runs, or after `grace` seconds."""
        now = self._hub.now
        self._ends = min(self._ends or now + grace, now + grace)
        if not self._leaving:
            self._leaving = now
            self._link.sender.write(frames.goaway(frames.MAX_STREAM, frames.NO_ERROR) + frames.ping(_LEAVING))

    def _look_at_calls(self, now: float) -> None:
        sender = self._link.sender
        since = now - self._hub.options.message_timeout_seconds
        for call in [call for call in sender.streams.values() if not call.complete and call.begun < since]:
            call.cancel()
        sender.cancel_stalled(now - _SLOW_SECONDS)

    def _look_at_peer(self, now: float) -> None:
        link = self._link
        if self._asked:
            if link.heard > self._asked:
                self._asked = 0.0
            elif now - self._asked > _ANSWER_SECONDS:
                link.close()
        elif now - link.heard > _KEEPALIVE_SECONDS:
            self._asked = now
            link.sender.write(frames.ping(_ALIVE))

    def _look_at_age(self, now: float) -> None:
        link = self._link
        if self._old and now > self._old and not self._leaving:
            self.leave(self._hub.options.max_connection_age_grace_seconds)
        if self._leaving and not self._last_said:
            self._last_said = link.connection.pong == _LEAVING or now - self._leaving > _PONG_SECONDS
            if self._last_said:
                link.connection.goodbye = link.connection.last
                link.sender.write(frames.goaway(link.connection.last, frames.NO_ERROR))
        if self._leaving and now > self._ends:
            for call in list(link.sender.streams.values()):
                call.cancel()
        if (self._last_said or link.connection.peer_leaves) and not link.sender.streams and not link.unsent:
            link.end(frames.NO_ERROR)
