"""Which attributes of a Check the journal keeps for replay: the compiler says, for it knows what the bundle reads."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

Range = tuple[int, int]
_BITS: Final = {4: 32, 6: 128}
# A range that is narrower than a network of this size could be somebody's home.
_NARROWEST: Final = {4: 1 << 8, 6: 1 << 64}


class Ranges(Struct, frozen=True):
    """The addresses as a bundle tells them apart: by IP version the numbers at which something begins or ends."""

    edges: Mapping[int, tuple[int, ...]]

    def around(self, version: int, number: int) -> Range | None:
        """First and last of the addresses that the bundle takes for this one; None: all of them, or too few to say."""
        edges = self.edges[version]
        if not edges:
            return None
        position = bisect_right(edges, number)
        low = edges[position - 1] if position else 0
        high = edges[position] - 1 if position < len(edges) else (1 << _BITS[version]) - 1
        return (low, high) if high - low + 1 >= _NARROWEST[version] else None


def ranges_of(blocks: Iterable[tuple[int, Range]]) -> Ranges:
    """Of (version, first and last address) of every block that is named."""
    edges: dict[int, set[int]] = {4: set(), 6: set()}
    for version, (low, high) in blocks:
        edges[version] |= {low, high + 1}
    return Ranges({version: tuple(sorted(found - {0, 1 << _BITS[version]})) for version, found in edges.items()})


class Keeping(Struct, frozen=True):
    """What one bundle reads, by name."""

    headers: tuple[str, ...] = ()
    marked: frozenset[str] = frozenset()  # headers of which only whether they are there
    names: tuple[str, ...] = ()  # of both
    query: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    ranges: Mapping[str, Ranges] = {}  # by attribute that is an address
    literals: frozenset[str] = frozenset()  # segments that patterns name
    profiles: Mapping[str, str] = {}  # by name: `KeptProfile` as JSON; "" for requests without one
    issuers: Mapping[str, str] = {}  # by name: `KeptCaller.issuer`


NOTHING_KEPT: Final = Keeping()
