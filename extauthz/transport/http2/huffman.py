"""The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B), an octet at a time.

Rule 1: what an octet means in a state is worked out once; states and octets are few, so what is kept is bounded.
"""

from typing import Final

# The code is canonical: the lengths in bits and the order of the symbols say it all. 256 is the end of string.
_SYMBOLS: Final = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: bytes((92, 195, 208)),
    20: bytes((128, 130, 131, 162, 184, 194, 224, 226)),
    21: bytes((153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
    22: bytes((129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190))
    + bytes((196, 198, 228, 232, 233)),
    23: bytes((1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175))
    + bytes((180, 182, 183, 188, 191, 197, 231, 239)),
    24: bytes((9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
    25: bytes((199, 207, 234, 235)),
    26: bytes((192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
    27: bytes((203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254)),
    28: bytes((*range(2, 9), 11, 12, *range(14, 22), *range(23, 32), 127, 220, 249)),
    30: (10, 13, 22, 256),
}
_END_OF_STRING: Final = 256
_MOST_PADDING: Final = 7  # bits, all ones


class HuffmanError(Exception):
    """Not a string in this code."""


def _grow() -> list[list[int]]:
    """The tree: for each inner node its two children; a leaf is the symbol, as -1 - symbol."""
    nodes = [[0, 0]]
    code, length = 0, 0
    for bits, symbols in _SYMBOLS.items():
        code <<= bits - length
        length = bits
        for symbol in symbols:
            _plant(nodes, code, bits, symbol)
            code += 1
    return nodes


def _plant(nodes: list[list[int]], code: int, bits: int, symbol: int) -> None:
    node = 0
    for place in range(bits - 1, 0, -1):
        child = nodes[node][code >> place & 1]
        if not child:
            child = len(nodes)
            nodes.append([0, 0])
            nodes[node][code >> place & 1] = child
        node = child
    nodes[node][code & 1] = -1 - symbol


_NODES: Final = _grow()


def _endings() -> frozenset[int]:
    """The states in which a string may end: after nothing but ones, too few for the end of string."""
    node, found = 0, [0]
    for _ in range(_MOST_PADDING):
        node = _NODES[node][1]
        found.append(node)
    return frozenset(found)


_ENDINGS: Final = _endings()
_known: Final[dict[int, tuple[int, bytes]]] = {}  # by state and octet: the state after it, and what it completes


def decode(data: bytes) -> bytes:
    """Raises HuffmanError."""
    node, found = 0, []
    for octet in data:
        step = _known.get(node << 8 | octet) or _learn(node, octet)
        node = step[0]
        found.append(step[1])
    if node not in _ENDINGS:
        message = "padding that is none"
        raise HuffmanError(message)
    return b"".join(found)


def _learn(start: int, octet: int) -> tuple[int, bytes]:
    node, text = start, bytearray()
    for place in range(7, -1, -1):
        node = _NODES[node][octet >> place & 1]
        if node < 0:
            symbol = -1 - node
            if symbol == _END_OF_STRING:
                message = "the end of string within a string"
                raise HuffmanError(message)
            text.append(symbol)
            node = 0
    step = _known[start << 8 | octet] = node, bytes(text)
    return step
