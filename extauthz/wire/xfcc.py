"""x-forwarded-client-cert: who held a certificate, one element for each proxy that forwarded it.

Rule 1: elements count from the right, where our own proxies write; what stands to their left came from outside (T-31).
Rule 2: one defect anywhere refuses the whole header, for a stray quote may hide where an element begins.
"""

import re
from functools import lru_cache

from extauthz.model.request import ForwardedCertificate

# One `key=value` and what follows it. A quoted value may hold anything, `"` and `\` behind a backslash. Linear: the
# classes exclude each other, so there is one way to match.
_PAIR = re.compile(r'[ \t]*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"[ \t]*|([^",;]*))([,;]|\Z)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{64}")
# A proxy writes about ten pairs an element and few proxies stand in a row: more would only cost time (30 ms at 60 KiB).
_MAX_PAIRS = 256
# The proxy writes each of these once for a certificate; a second one is somebody else's (T-32).
_ONCE = frozenset({"hash", "subject", "uri", "cert", "chain"})

Element = list[tuple[str, str]]  # lower-case key, value without quotes and escapes; keys may repeat


class MalformedError(ValueError):
    """The header does not follow its grammar, or the element in question is contradictory."""


def parse_elements(header: str) -> list[Element]:
    """All elements from left to right. Raises MalformedError."""
    elements: list[Element] = [[]]
    position, separator, pairs = 0, ",", 0
    while separator:
        pairs += 1
        if pairs > _MAX_PAIRS:
            message = f"more than {_MAX_PAIRS} pairs"
            raise MalformedError(message)
        pair = _PAIR.match(header, position)
        if pair is None:
            message = f"no key=value pair at character {position}"
            raise MalformedError(message)
        key, quoted, plain, separator = pair.groups()
        value = plain.rstrip(" \t") if quoted is None else _ESCAPED.sub(r"\1", quoted)
        elements[-1].append((key.lower(), value))
        position = pair.end()
        if separator == ",":
            elements.append([])
    return elements


def read_forwarded(header: str, trusted_hops: int) -> ForwardedCertificate | None:
    """The element that the outermost trusted hop wrote: the `trusted_hops`-th from the right, at least 1.

    None when there are fewer elements: that hop saw no certificate. Raises MalformedError.
    """
    return _read_once(header, trusted_hops) if len(header) <= _MAX_KEPT else _read(header, trusted_hops)


def _read(header: str, trusted_hops: int) -> ForwardedCertificate | None:
    elements = parse_elements(header)
    if len(elements) < trusted_hops:
        return None
    element = elements[-trusted_hops]
    values: dict[str, str] = {}
    for key, value in element:
        if key in values and key in _ONCE:
            message = f"more than one `{key}` in an element"
            raise MalformedError(message)
        values.setdefault(key, value)
    digest = values.get("hash", "")
    if not _HASH.fullmatch(digest):
        message = "the hash of an element is missing or not 64 lower-case hex digits"
        raise MalformedError(message)
    return ForwardedCertificate(
        by=values.get("by", ""),
        hash=digest,
        uri=values.get("uri", ""),
        subject=values.get("subject", ""),
        dns=tuple(value for key, value in element if key == "dns"),
        hop=trusted_hops,
    )


# A connection sends the same header with every request. With certificates in it, it is too long to keep.
_MAX_KEPT = 2 * 1024
_read_once = lru_cache(maxsize=1024)(_read)
