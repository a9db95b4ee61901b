"""Nonces for DPoP proofs that servers share without talking to each other (RFC 9449 sections 8, 9 and 11.3).

A nonce is the MAC of a stretch of time, so that whoever has the key knows it, and nobody else can tell the next one.
Rule 1: a nonce is accepted in its own stretch and in the following one: for at least `lifetime`, at most twice that.
"""

from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as mac

from msgspec import Struct

from extauthz.identity import base64url

_LENGTH = 18  # bytes, 24 characters: 144 bits that nobody can guess


class NonceKeys(Struct, frozen=True):
    """Keys that all replicas have. The first makes nonces, all of them recognise one, so that keys can be replaced."""

    keys: tuple[bytes, ...] = ()

    def issue(self, now: int, lifetime: int) -> str:
        """The nonce of this moment, "" when there is no key."""
        return _nonce(self.keys[0], lifetime, now // lifetime) if self.keys else ""

    def expiry(self, nonce: str, now: int, lifetime: int, skew: int) -> int | None:
        """When `nonce` ends, in seconds since the epoch; None when it is not one that is accepted now.

        A replica whose clock is ahead by at most `skew` may already have issued the next one.
        """
        current = now // lifetime
        stretches = dict.fromkeys((current, current - 1, (now + skew) // lifetime))
        found = None
        for stretch in stretches:
            for key in self.keys:
                if compare_digest(_nonce(key, lifetime, stretch).encode(), nonce.encode()):
                    found = (stretch + 2) * lifetime
        return found


NO_NONCE_KEYS = NonceKeys()


@lru_cache(maxsize=64)  # a few keys and lifetimes, and now
def _nonce(key: bytes, lifetime: int, stretch: int) -> str:
    return base64url.encode(mac(key, f"dpop-nonce {lifetime} {stretch}".encode(), sha256)[:_LENGTH])
