"""An archive at an HTTPS address as a source of bundles: asked with its ETag, and held until there is something new.

RFC 9110 section 13.1.2 (If-None-Match), RFC 7240 section 4.3 (Prefer: wait), RFC 3229 (A-IM: only what changed).
"""

import time
from random import uniform
from typing import Final

import httpx

from extauthz.sources.bundles.download import Downloads, refused
from extauthz.sources.bundles.options import FetchOptions
from extauthz.sources.bundles.origin import Brought

DELTA: Final = "extauthz-files"  # the instance manipulation: files that did not change are left out of the archive
_MAX_TAG: Final = 1024
_JITTER: Final = 0.1  # servers of a fleet do not ask in step


class HttpsOrigin:
    """Implements `Origin`."""

    def __init__(self, url: str, options: FetchOptions) -> None:
        self.where = url
        self._options = options
        self._downloads = Downloads(options)
        self._tag = ""
        self._held = False  # whether the server held the last question until there was something new, or long enough

    def check(self) -> None:
        """Read certificates, keys and tokens once. Raises UnreachableError."""
        self._downloads.check()

    def fetch(self, patience: float) -> Brought | None:
        """The archive, or None for 304. Raises UnreachableError."""
        wait = int(min(self._options.wait_seconds, patience)) if self._tag else 0
        headers = {"accept": "application/gzip, application/octet-stream", **self._downloads.bearer()}
        headers |= self._downloads.basic()
        if self._tag:
            headers["if-none-match"] = self._tag
            headers["a-im"] = DELTA
        if wait:
            headers["prefer"] = f"wait={wait}"
        began = time.monotonic()
        answer = self._downloads.get(self.where, headers, max_bytes=self._options.max_bytes, wait=wait)
        applied = answer.headers.get("preference-applied", "").replace(" ", "").lower()
        self._held = bool(wait) and (applied.startswith("wait") or time.monotonic() - began >= wait / 2)
        if answer.status == httpx.codes.NOT_MODIFIED and self._tag:
            return None
        is_delta = answer.status == httpx.codes.IM_USED and bool(self._tag) and answer.headers.get("im", "") == DELTA
        if answer.status != httpx.codes.OK and not is_delta:
            raise refused(self.where, answer)
        tag = answer.headers.get("etag", "")
        self._tag = tag if len(tag) <= _MAX_TAG and tag.isascii() and tag.isprintable() else ""
        if not wait:  # the first answer: from now on the server can be asked to wait
            self._held = bool(self._tag and self._options.wait_seconds)
        return Brought(self.where, archive=answer.body, tag=self._tag, is_delta=is_delta)

    def knows(self, tag: str) -> None:
        """Ask whether it is still this one."""
        self._tag = tag

    def forget(self) -> None:
        """Ask for the whole."""
        self._tag = ""

    def wait(self, seconds: float) -> None:
        """Not at all when the server does the waiting."""
        if not self._held:
            pause = self._options.poll_seconds * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load
            self._downloads.pause(min(seconds, pause))

    def stop(self) -> None:
        """Cut off a question that is under way."""
        self._downloads.stop()
