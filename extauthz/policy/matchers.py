"""Compiled forms of the values in rules: texts, addresses, paths. Each is made once and answers in linear time.

Rule 1: an empty text is the absence of an attribute and matches no pattern, `*` included.
Rule 2: no pattern looks for text in the middle of a value (T-32, T-65).
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NetmaskValueError,
    ip_address,
    ip_network,
    summarize_address_range,
)

from msgspec import Struct

from extauthz.model.paths import MANY, ONE, PathPattern

SCHEME = "spiffe://"
_KEPT = 4096  # sets of texts
_MAPPED = IPv6Network("::ffff:0:0/96")


class TextSet(Struct, frozen=True, gc=False):
    """Istio's string match: exact, `prefix*`, `*suffix`, and `*` for any value that is present."""

    exact: frozenset[str]
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    present: bool = False
    wild: bool = False  # there is more than `exact`

    def has(self, value: str) -> bool:
        """Whether `value` is not empty and matches."""
        return bool(value) and (
            value in self.exact or self.present or value.startswith(self.prefixes) or value.endswith(self.suffixes)
        )

    def has_any(self, values: Collection[str]) -> bool:
        """Whether one of `values` matches."""
        if not self.exact.isdisjoint(values):
            return True
        return self.wild and any(self.has(value) for value in values)

    def patterns(self) -> list[str]:
        """The patterns it was made of."""
        wild = [*(f"{prefix}*" for prefix in self.prefixes), *(f"*{suffix}" for suffix in self.suffixes)]
        return [*sorted(self.exact), *wild, *(["*"] if self.present else [])]


def text_set(patterns: Iterable[str], *, fold: bool = False) -> TextSet:
    """Compile patterns that `text_problem` accepted. With `fold`, callers compare case-folded values.

    The same patterns make the same object: thousands of policies name the same methods and roles.
    """
    return _text_set(tuple(patterns), fold)


@lru_cache(maxsize=_KEPT)
def _text_set(patterns: tuple[str, ...], fold: bool) -> TextSet:  # noqa: FBT001 - a cache tells no names apart
    exact, prefixes, suffixes, present = [], [], [], False
    for written in patterns:
        pattern = written.casefold() if fold else written
        if pattern == "*":
            present = True
        elif pattern.endswith("*"):
            prefixes.append(pattern[:-1])
        elif pattern.startswith("*"):
            suffixes.append(pattern[1:])
        else:
            exact.append(pattern)
    wild = bool(present or prefixes or suffixes)
    return TextSet(frozenset(exact), tuple(prefixes), tuple(suffixes), present, wild)


def text_problem(pattern: str) -> str:
    """What is wrong with a text pattern, "" when nothing is."""
    if not pattern:
        return "an empty value never matches: leave it out"
    if "*" in pattern[1:-1] or (len(pattern) > 1 and pattern[0] == pattern[-1] == "*"):
        return f"`{pattern}`: `*` stands only at the beginning or at the end, once"
    return ""


def principal_pattern(written: str) -> str:
    """Istio's syntax leaves the scheme out; what is compared always has it (T-32). Suffixes have no beginning."""
    if written.startswith((SCHEME, "*")):
        return written
    return SCHEME + written


def principal_problem(written: str) -> str:
    """What is wrong with a pattern for principals, "" when nothing is."""
    if problem := text_problem(written):
        return problem
    if written == "*":
        return ""
    if written.startswith("*"):
        if not written.startswith("*/"):
            return f"`{written}` would match the end of a name: a suffix begins with `*/`"
        return ""
    name = written.removeprefix(SCHEME)
    if "://" in name or (":" in name.partition("/")[0]):
        return f"`{written}` has another scheme: write `spiffe://<trust domain>/<path>`"
    domain, slash, _ = name.partition("/")
    if not slash or not domain:
        return f"`{written}` does not end the trust domain: write `spiffe://{domain.rstrip('*') or 'cluster.local'}/…`"
    if "*" in domain:
        return f"`{written}`: a trust domain is exact"
    return ""


class AddressSet(Struct, frozen=True, gc=False):
    """Disjoint, sorted address ranges per IP version."""

    lows: dict[int, list[int]]
    highs: dict[int, list[int]]

    def has(self, address: tuple[int, int]) -> bool:
        """Whether (version, number) lies in one of the ranges."""
        version, number = address
        position = bisect_right(self.lows[version], number) - 1
        return position >= 0 and number <= self.highs[version][position]

    def ranges(self) -> list[tuple[int, tuple[int, int]]]:
        """(version, (first, last)) of every range."""
        return [
            (version, pair) for version in (4, 6) for pair in zip(self.lows[version], self.highs[version], strict=True)
        ]

    def blocks(self) -> list[str]:
        """The fewest CIDR blocks that cover the same addresses."""
        pairs = {version: zip(self.lows[version], self.highs[version], strict=True) for version in (4, 6)}
        fours = [summarize_address_range(IPv4Address(low), IPv4Address(high)) for low, high in pairs[4]]
        sixes = [summarize_address_range(IPv6Address(low), IPv6Address(high)) for low, high in pairs[6]]
        return [str(block) for blocks in (*fours, *sixes) for block in blocks]


def read_address(text: str) -> tuple[int, int] | None:
    """(version, number) of an IP address; IPv4 inside IPv6 counts as IPv4, a zone makes it unreadable (T-34)."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if address.version == 6 and (mapped := address.ipv4_mapped) is not None:  # noqa: PLR2004 - the IP version
        return 4, int(mapped)
    return address.version, int(address)


def address_set(blocks: Iterable[str]) -> AddressSet:
    """Compile blocks that `address_problem` accepted."""
    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for block in blocks:
        network = _network(block)
        ranges[network.version].append((int(network.network_address), int(network.broadcast_address)))
    lows: dict[int, list[int]] = {4: [], 6: []}
    highs: dict[int, list[int]] = {4: [], 6: []}
    for version, found in ranges.items():
        for low, high in sorted(found):
            if highs[version] and low <= highs[version][-1]:
                highs[version][-1] = max(high, highs[version][-1])
            else:
                lows[version].append(low)
                highs[version].append(high)
    return AddressSet(lows, highs)


def _network(block: str) -> IPv4Network | IPv6Network:
    network = ip_network(block, strict=True)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def address_problem(block: str) -> str:
    """What is wrong with an address block, "" when nothing is."""
    try:
        _network(block)
    except (AddressValueError, NetmaskValueError, ValueError):
        try:
            meant = ip_network(block, strict=False)
        except ValueError:
            return f"`{block}` is not an IP address or CIDR block such as `10.0.0.0/8`"
        return f"`{block}` has bits set behind its prefix: write `{meant}`"
    return ""


class PathMatcher(Struct, frozen=True, gc=False):
    """A path pattern, and where it captures segments."""

    text: str
    head: tuple[tuple[int, str], ...]  # literals by position from the front
    tail: tuple[tuple[int, str], ...]  # literals by position from the end, behind `**`
    captures: tuple[tuple[str, int], ...]
    least: int  # segments that are needed
    open: bool  # has `**`: more segments may come
    folded: bool  # compares case-folded segments

    def covers(self, segments: tuple[str, ...], folded: tuple[str, ...]) -> bool:
        """Whether the pattern covers the path. `folded` are the case-folded segments."""
        compared = folded if self.folded else segments
        if len(compared) != self.least and (not self.open or len(compared) < self.least):
            return False
        for position, literal in self.head:
            if compared[position] != literal:
                return False
        return all(compared[position] == literal for position, literal in self.tail)


# What stands for the patterns of a rule that names none.
EVERY_PATH = PathMatcher(text="", head=(), tail=(), captures=(), least=0, open=True, folded=False)


class Way(Struct, frozen=True, gc=False):
    """One combination of patterns that covers a request, and where it captures what."""

    route: str = ""  # text of the path pattern, "" when none is named
    labels: tuple[tuple[str, str], ...] = ()  # captured of the host: name and label
    places: tuple[tuple[str, int], ...] = ()  # captured of the path: name and number of the segment

    def params(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The captures by name; None when one name captured two different texts."""
        captured: dict[str, str] = dict(self.labels)
        for name, place in self.places:
            if captured.setdefault(name, segments[place]) != segments[place]:
                return None
        return captured


def path_matcher(pattern: PathPattern, *, fold: bool) -> PathMatcher:
    """Compile a parsed pattern; with `fold` its literals match in any case (T-11)."""
    tokens = pattern.tokens
    cut = tokens.index(MANY) if MANY in tokens else len(tokens)
    places = [(at if at < cut else at - len(tokens), at) for at in range(len(tokens)) if at != cut]
    literals = [(place, tokens[at].casefold() if fold else tokens[at]) for place, at in places if tokens[at] != ONE]
    return PathMatcher(
        text=pattern.text,
        head=tuple(literal for literal in literals if literal[0] >= 0),
        tail=tuple(literal for literal in literals if literal[0] < 0),
        captures=tuple((pattern.names[at], place) for place, at in places if pattern.names[at]),
        least=len(places),
        open=cut < len(tokens),
        folded=fold,
    )
