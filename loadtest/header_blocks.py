"""HPACK as far as a load client needs it: blocks without Huffman to send, and of what comes only `:status`."""

from collections.abc import Sequence

Header = tuple[str, str]

# RFC 7541 appendix B: the codes of the digits, by their length in bits.
_DIGITS = {5: {0: "0", 1: "1", 2: "2"}, 6: {25 + number: str(3 + number) for number in range(7)}}
_STATIC_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_STATUS_NAMES = range(8, 15)  # static entries whose name is `:status`


def literal(headers: Sequence[Header], *, indexed: bool = False) -> bytes:
    """HPACK without Huffman; `indexed` adds each to the peer's table (RFC 7541 sections 6.2.1 and 6.2.2)."""
    parts = []
    for name, value in headers:
        parts.append(b"\x40" if indexed else b"\x00")
        for text in (name.encode(), value.encode()):
            parts += [_length(len(text)), text]
    return b"".join(parts)


def _length(number: int) -> bytes:
    """RFC 7541 section 5.1 with a prefix of seven bits."""
    if number < 127:  # noqa: PLR2004 - the prefix is full
        return bytes((number,))
    rest, found = number - 127, bytearray(b"\x7f")
    while rest > 127:  # noqa: PLR2004 - seven bits an octet
        found.append(rest & 127 | 128)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def status_of(block: bytes) -> int:
    """`:status`, which comes first, from a header block of an encoder without a table; 0 when it is not there."""
    block = block.lstrip(b"\x20")  # an encoder may say first that its table is empty (RFC 7541 section 6.3)
    if not block:
        return 0
    if block[0] in _STATIC_STATUS:
        return _STATIC_STATUS[block[0]]
    # A literal by the static entry's name: indexed (0x4.), not indexed (0x0.) or never (0x1.).
    if block[0] & 0xF0 not in {0x00, 0x10, 0x40} or block[0] & 0x0F not in _STATUS_NAMES:
        return 0
    size, text = block[1] & 0x7F, block[2 : 2 + (block[1] & 0x7F)]
    digits = _huffman_digits(text) if block[1] & 0x80 else text.decode("ascii", "replace")
    return int(digits) if size and digits.isdigit() else 0


def _huffman_digits(text: bytes) -> str:
    bits, found, code = "".join(f"{octet:08b}" for octet in text), "", ""
    for bit in bits:
        code += bit
        digit = _DIGITS.get(len(code), {}).get(int(code, 2))
        if digit is not None:
            found, code = found + digit, ""
    return found
