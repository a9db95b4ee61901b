"""Every text that a bundle can compare with what a request says: those whose pseudonyms are looked for in a record.

Rule: a text too many costs a pseudonym; one that is missing would be a wrong answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from extauthz.bundle.read import Opened
from extauthz.model.paths import parse_pattern


def bundle_texts(opened: Opened) -> frozenset[str]:
    """Texts of documents, data and expressions, their parts, and all of them case-folded."""
    found: set[str] = set()
    for documents in opened.documents.by_kind.values():
        for document in documents:
            for text in _texts(document.tree.value):
                found.update(parts_of(text))
    found.update(_texts(opened.documents.data))
    snapshot = opened.built.snapshot
    for text in snapshot.policies.texts:
        found.update(parts_of(text))
    for profile in snapshot.profiles.profiles:
        for rule in profile.fapi.rules if profile.fapi is not None else ():
            found.update(rule.values)
    for blocks in snapshot.policies.reads.blocks.values():
        found.update(_addresses(blocks))
    found |= {text.casefold() for text in found}
    return frozenset(found)


def parts_of(text: str) -> Iterator[str]:
    """A text, its segments, and what follows each `/`: of `<issuer>/<subject>` the subject."""
    yield text
    if "/" in text:
        yield from text.split("/")
        position = text.find("/")
        while position >= 0:
            yield text[position + 1 :]
            position = text.find("/", position + 1)
        pattern = parse_pattern(text)
        if not isinstance(pattern, str):
            yield from pattern.tokens  # decoded


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 - any YAML value
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _texts(name)
            yield from _texts(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)


def _addresses(blocks: Iterable[tuple[int, tuple[int, int]]]) -> Iterator[str]:
    """Of blocks that hold one address alone."""
    for version, (low, high) in blocks:
        if low == high:
            yield str(IPv4Address(low) if version == 4 else IPv6Address(low))  # noqa: PLR2004 - the IP version
