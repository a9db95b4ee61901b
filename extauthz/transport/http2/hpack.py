"""Header blocks (HPACK, RFC 7541), as one connection's peer writes them.

Rule 1: every error is one of the connection: the table of both sides would no longer be the same.
Rule 2: a field is judged when it is read for the first time; from the table it costs next to nothing.
"""

from collections import deque
from typing import Final

from extauthz.transport.http2 import huffman
from extauthz.transport.http2.fields import Field, field
from extauthz.transport.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PeerError
from extauthz.transport.http2.static_table import STATIC

TABLE_SIZE: Final = 4096  # what a peer may assume, and we never say otherwise
_FIRST_DYNAMIC: Final = len(STATIC)
_MOST_OCTETS: Final = 4  # of an integer after its prefix: nothing here comes near to 2**28


class Decoder:
    """Reads the blocks of one connection, in their order. `generation` changes with the table."""

    def __init__(self) -> None:
        self.generation = 0
        self._table: deque[Field] = deque()  # the newest first
        self._size, self._most = 0, TABLE_SIZE
        self._block, self._place = b"", 0

    def decode(self, block: bytes, most: int) -> tuple[list[Field], int]:
        """The fields and their size. Raises PeerError, also where the size is beyond `most`."""
        self._block, self._place = block, 0
        found: list[Field] = []
        size, end = 0, len(block)
        while (place := self._place) < end:
            first = block[place]
            if first & 0x80:
                if first == 0xFF:  # noqa: PLR2004 - all bits of the prefix are set
                    index = self._integer(0x7F)
                else:
                    index = first & 0x7F
                    self._place = place + 1
                one = STATIC[index] if 0 < index < _FIRST_DYNAMIC else self._look_up(index)
            elif first & 0x60 == 0x20:  # noqa: PLR2004 - the bits of section 6.3
                if found:
                    raise PeerError(COMPRESSION_ERROR, "a change of the table's size after a field")
                self._resize(self._integer(0x1F))
                continue
            else:
                one = self._literal(0x3F if first & 0x40 else 0x0F)
                if first & 0x40:
                    self._insert(one)
            size += one.size
            if size > most:
                raise PeerError(ENHANCE_YOUR_CALM, "headers beyond all measure")
            found.append(one)
        return found, size

    def _look_up(self, index: int) -> Field:
        if 0 < index < _FIRST_DYNAMIC:
            return STATIC[index]
        try:
            if index:
                return self._table[index - _FIRST_DYNAMIC]
        except IndexError:
            pass
        raise PeerError(COMPRESSION_ERROR, "an index that is not in the table")

    def _literal(self, prefix: int) -> Field:
        index = self._integer(prefix)
        name = self._look_up(index).name if index else self._string()
        return field(name, self._string())

    def _insert(self, one: Field) -> None:
        self.generation += 1
        self._table.appendleft(one)
        self._size += one.size
        self._evict()

    def _resize(self, most: int) -> None:
        if most > TABLE_SIZE:
            raise PeerError(COMPRESSION_ERROR, "a table larger than agreed")
        self.generation += 1
        self._most = most
        self._evict()

    def _evict(self) -> None:
        while self._size > self._most:
            self._size -= self._table.pop().size

    def _integer(self, prefix: int) -> int:
        """RFC 7541 section 5.1; `prefix` has the bits that the first octet gives to it."""
        block, place = self._block, self._place
        try:
            value = block[place] & prefix
            place += 1
            if value == prefix:
                shift = 0
                while True:
                    octet = block[place]
                    place += 1
                    value += (octet & 0x7F) << shift
                    if octet < 0x80:  # noqa: PLR2004 - the last one
                        break
                    shift += 7
                    if shift >= 7 * _MOST_OCTETS:
                        raise PeerError(COMPRESSION_ERROR, "an integer beyond all measure")
        except IndexError:
            raise PeerError(COMPRESSION_ERROR, "a block that ends within an integer") from None
        self._place = place
        return value

    def _string(self) -> bytes:
        if self._place >= len(self._block):
            raise PeerError(COMPRESSION_ERROR, "a block that ends before a string")
        huffman_coded = self._block[self._place] & 0x80
        length = self._integer(0x7F)
        start = self._place
        self._place = stop = start + length
        if stop > len(self._block):
            raise PeerError(COMPRESSION_ERROR, "a block that ends within a string")
        raw = self._block[start:stop]
        if not huffman_coded:
            return raw
        try:
            return huffman.decode(raw)
        except huffman.HuffmanError as error:
            raise PeerError(COMPRESSION_ERROR, f"a string in a bad Huffman code: {error}") from None
