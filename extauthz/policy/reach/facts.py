"""What a box already says about the terms of a condition.

Rule 1: only of what can be told: a deny rule also matches what it cannot tell.
"""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from extauthz.model.paths import PathPattern
from extauthz.policy.document import Effect
from extauthz.policy.matchers import text_set
from extauthz.policy.reach.boxes import Box
from extauthz.policy.reach.texts import Texts

_TERMS: Final = {
    "methods": "request.method",
    "hosts": "request.host",
    "tenants": "subject.tenant",
    "clients": "subject.client",
    "principals": "source.principal",
    "namespaces": "source.namespace",
    "sni": "connection.sni",
}
LISTS: Final = {"roles": "subject.roles", "scopes": "subject.scopes"}


class Fact(Struct, frozen=True):
    """What the value of a text term must be like. Of lists: what one member must be (`some`), and what none may be."""

    field: str  # as written, for messages
    values: frozenset[str]  # that it may have; all of them if `closed`
    closed: bool
    allows: Callable[[str], bool]
    negative: bool = False


Facts = Mapping[str, tuple[Fact, ...]]  # by term, or by the container of `in`
NO_FACTS: Facts = {}


def facts(box: Box, effect: Effect) -> dict[str, tuple[Fact, ...]]:
    """By the names that conditions use."""
    found: dict[str, tuple[Fact, ...]] = {}

    def add(name: str, fact: Fact) -> None:
        found[name] = (*found.get(name, ()), fact)

    for texts in box.all_texts:
        name = _TERMS.get(texts.attribute) or LISTS.get(texts.attribute) or _keyed(texts, effect)
        if name:
            add(name, _fact(texts))
    if box.tenant:
        add("resource.tenant", _one_of("tenant", frozenset({box.tenant})))
    for number, group in enumerate(box.paths):
        field = f"to[{box.operation}].paths" if box.operation >= 0 and number == len(box.paths) - 1 else "match.paths"
        add("request.path", Fact(field, frozenset(), closed=False, allows=_in_paths(group, fold=effect == "deny")))
    return found


def _keyed(texts: Texts, effect: Effect) -> str:
    """Headers and parameters have one value where an allow rule compares them, and a deny rule cannot be sure."""
    if effect == "allow" and texts.attribute.startswith(("request.headers[", "request.query[")):
        return texts.attribute
    return ""


def _fact(texts: Texts) -> Fact:
    listed = text_set(texts.patterns)
    if texts.negative:
        return Fact(texts.field, frozenset(), closed=False, allows=lambda value: not listed.has(value), negative=True)
    return Fact(texts.field, listed.exact, closed=texts.exact, allows=listed.has)


def _one_of(field: str, values: frozenset[str]) -> Fact:
    return Fact(field, values, closed=True, allows=values.__contains__)


def _in_paths(group: tuple[PathPattern, ...], *, fold: bool) -> Callable[[str], bool]:
    patterns = [path.folded() if fold else path for path in group]

    def allows(value: str) -> bool:
        if not value.startswith("/"):
            return False
        text = value.casefold() if fold else value
        segments = () if text == "/" else tuple(text[1:].split("/"))
        return any(pattern.match(segments) is not None for pattern in patterns)

    return allows
