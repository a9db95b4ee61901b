"""What one value of a field of Istio becomes, and what a field becomes of its values.

Rule 1: `native` never says less than Istio does; where it says more, an expression beside it says exactly the same.
Rule 2: what is lost makes an allow rule allow less; it never makes a deny rule deny less.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from extauthz.mesh.texts import Match, any_of, none_of


class Attribute(Protocol):
    """Something of a request that texts are compared with. Equal attributes share one expression."""

    def test(self, found: Sequence[Match]) -> str:
        """A CEL expression: whether one of these matches."""
        ...


class Value(Struct, frozen=True, kw_only=True):
    """One value."""

    native: str = ""  # a value of our field that covers at least as much, "" when there is none
    is_exact: bool = False  # `native` says what Istio says
    attribute: Attribute | None = None  # with `match`: exactly what Istio says
    match: Match | None = None
    cel: str = ""  # the same, where it is no plain comparison
    never: str = ""  # why nothing can ever match
    refused: str = ""  # why such a request never gets as far as a policy
    note: str = ""  # what to know about it
    narrower: str = ""  # how it says less than Istio does
    lost: str = ""  # why it cannot be said
    instead: str = ""  # what to do about it

    @property
    def can_match(self) -> bool:
        """Whether a request that gets to a policy may match."""
        return not self.never and not self.refused and not self.lost


class Field(Struct, frozen=True):
    """What a field becomes: values of our field and an expression, which must both hold."""

    native: tuple[str, ...] = ()
    cel: str = ""
    never: bool = False  # matches nothing


def positive(values: Sequence[Value], *, keep: bool) -> Field:
    """One of these values.

    `keep` those that no request matches, as a deny rule must: on a connection without HTTP, what names HTTP counts as
    matched.
    """
    able = [
        value
        for value in values
        if value.can_match or (keep and not value.lost and (value.attribute is not None or bool(value.cel)))
    ]
    if not able:
        return Field(never=True)
    native = tuple(dict.fromkeys(value.native for value in able)) if all(value.native for value in able) else ()
    if all(value.is_exact for value in able):
        return Field(native)
    cel = expression(able)
    return Field(native, cel) if cel else Field(never=True)


def negative(values: Sequence[Value]) -> Field:
    """None of these values. Those that nothing matches are named all the same: so a rule speaks about HTTP."""
    able = [value for value in values if not value.lost]
    native = tuple(dict.fromkeys(value.native for value in able if value.is_exact))
    cel = expression([value for value in able if not value.is_exact])
    return Field(native, none_of(cel) if cel else "")


def expression(values: Sequence[Value]) -> str:
    """One of these values in CEL."""
    attributes: list[tuple[Attribute, list[Match]]] = []
    for value in values:
        if value.attribute is None or value.match is None:
            continue
        known = next((found for attribute, found in attributes if attribute == value.attribute), None)
        if known is None:
            attributes.append((value.attribute, [value.match]))
        else:
            known.append(value.match)
    tests = [attribute.test(found) for attribute, found in attributes]
    return any_of([*tests, *(value.cel for value in values if value.cel)])
