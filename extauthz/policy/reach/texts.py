"""One field of a rule as a set of values, and what two such sets have to do with each other.

Rule 1: `within` may say no where the answer is yes, `meet` yes where it is no.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from msgspec import Struct

from extauthz.policy.matchers import AddressSet, address_set

ADDRESSES: Final = frozenset({"ip_blocks", "remote_ip_blocks", "destination_ip"})
# Of these a request has at most one value.
_SINGLE: Final = frozenset(
    {
        "tenants",
        "clients",
        "issuers",
        "actors",
        "request_principals",
        "principals",
        "namespaces",
        "service_accounts",
        "methods",
        "hosts",
        "ports",
        "sni",
    }
)
# Known of a connection without HTTP, too.
_CONNECTION: Final = frozenset({"principals", "namespaces", "service_accounts", "ports", "sni"}) | ADDRESSES
_SINGLE_KEYS: Final = ("request.headers[", "request.query[")
# What may have no single reading: a deny rule then takes it for matching.
_UNCERTAIN_KEYS: Final = (*_SINGLE_KEYS, "request.auth.claims[", "audiences", "params[")
# Whoever has one of these is somebody.
IDENTITY: Final = frozenset(
    {"roles", "scopes", "tenants", "clients", "issuers", "actors", "subject.actors", "request_principals"}
)


class Texts(Struct, frozen=True):
    """What a field demands of an attribute: one of these patterns, or (negative) none of them."""

    attribute: str  # e.g. `roles`, the same for `from.roles` and `when: subject.roles`
    patterns: frozenset[str]  # exact, `prefix*`, `*suffix`, `*`; address blocks for ADDRESSES
    negative: bool
    field: str  # as written, e.g. `from[0].notRoles`

    @property
    def single(self) -> bool:
        """Whether a request has at most one value of the attribute."""
        return self.attribute in _SINGLE or self.attribute in ADDRESSES or self.attribute.startswith(_SINGLE_KEYS)

    @property
    def certain(self) -> bool:
        """Whether the attribute can always be told."""
        return self.attribute not in ADDRESSES and not self.attribute.startswith(_UNCERTAIN_KEYS)

    @property
    def http(self) -> bool:
        """Whether a connection without HTTP lacks the attribute."""
        return self.attribute not in _CONNECTION

    @property
    def exact(self) -> bool:
        """Whether only the values listed satisfy it."""
        return (
            not self.negative
            and self.attribute not in ADDRESSES
            and not any(pattern.startswith("*") or pattern.endswith("*") for pattern in self.patterns)
        )

    def implies(self, other: "Texts") -> bool:
        """Whether a request that satisfies this satisfies `other`, a demand on the same attribute."""
        if not other.negative:
            return not self.negative and _all_within(self.attribute, self.patterns, other.patterns)
        if self.negative:
            return _all_within(self.attribute, other.patterns, self.patterns)
        return self.single and not _any_meet(self.attribute, self.patterns, other.patterns)

    def contradicts(self, other: "Texts") -> bool:
        """Whether no request satisfies both, demands on the same attribute that can be told."""
        if self.negative and other.negative:
            return False
        if self.negative:
            return _all_within(self.attribute, other.patterns, self.patterns)
        if other.negative:
            return _all_within(self.attribute, self.patterns, other.patterns)
        return self.single and not _any_meet(self.attribute, self.patterns, other.patterns)


def _all_within(attribute: str, inner: Iterable[str], outer: frozenset[str]) -> bool:
    if attribute in ADDRESSES:
        return _blocks_within(_blocks(frozenset(inner)), _blocks(outer))
    return all(text_within(one, outer) for one in inner)


def _any_meet(attribute: str, one: frozenset[str], other: frozenset[str]) -> bool:
    if attribute in ADDRESSES:
        return _blocks_meet(_blocks(one), _blocks(other))
    return any(texts_meet(a, b) for a in one for b in other)


def text_within(inner: str, outer: frozenset[str]) -> bool:
    """Whether one of the patterns `outer` covers whatever `inner` covers."""
    if inner in outer or "*" in outer:
        return True
    for pattern in outer:
        if pattern.endswith("*"):
            if inner.startswith(pattern[:-1]):
                return True
        elif pattern.startswith("*") and inner.endswith(pattern[1:]):
            return True
    return False


def texts_meet(one: str, other: str) -> bool:
    """Whether some value is covered by both patterns."""
    if text_within(one, frozenset({other})) or text_within(other, frozenset({one})):
        return True
    # A prefix and a suffix meet in the one followed by the other.
    return (one.endswith("*") and other.startswith("*")) or (one.startswith("*") and other.endswith("*"))


@lru_cache(maxsize=256)
def _blocks(blocks: frozenset[str]) -> AddressSet:
    return address_set(blocks)


def _blocks_within(inner: AddressSet, outer: AddressSet) -> bool:
    return all(
        any(
            wide_low <= low and high <= wide_high
            for wide_low, wide_high in zip(outer.lows[version], outer.highs[version], strict=True)
        )
        for version, lows in inner.lows.items()
        for low, high in zip(lows, inner.highs[version], strict=True)
    )


def _blocks_meet(one: AddressSet, other: AddressSet) -> bool:
    return any(
        low <= other_high and other_low <= high
        for version, lows in one.lows.items()
        for low, high in zip(lows, one.highs[version], strict=True)
        for other_low, other_high in zip(other.lows[version], other.highs[version], strict=True)
    )
