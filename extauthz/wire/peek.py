"""A glance at a CheckRequest that costs a fraction of reading it, for nothing but to tell callers apart under overload.

Rule 1: nothing is decided from it: it is not checked that these bytes are what they look like.
"""

# CheckRequest's headers, as map entries or as HeaderValue: field 1 is the name, field 2 or 3 the value.
_NAME = b"\x0a\x0dauthorization"
# Names of headers that carry a signature for this one request.
_OWN_SIGNATURES = (b"\x0a\x04dpop", b"\x0a\x0fsignature-input")
_VALUE_TAGS = frozenset(b"\x12\x1a")


def peek_credential(raw: bytes) -> bytes:
    """What seems to be the value of `authorization`; empty when there seems to be none."""
    at = raw.find(_NAME)
    if at < 0:
        return b""
    at += len(_NAME)
    if len(raw) < at + 3 or raw[at] not in _VALUE_TAGS:
        return b""
    length = raw[at + 1] & 0x7F
    start = at + 2
    if raw[at + 1] & 0x80:  # a varint of two bytes; a longer one is no header
        length |= raw[start] << 7
        start += 1
    return raw[start : start + length]


def peek_own_signature(raw: bytes) -> bool:
    """Whether there seems to be a DPoP proof or a message signature, which no cache can hold."""
    return any(name in raw for name in _OWN_SIGNATURES)
