"""What the parts of one policy share, and what becomes of a field whose values cannot all be said.

Rule 1: what is lost leaves an alternative of an allow rule out, and takes a restriction from a deny rule.
"""

from typing import Final

from msgspec import Struct

from extauthz.mesh.claims import Words
from extauthz.mesh.documents import Document
from extauthz.mesh.report import Report
from extauthz.mesh.values import Field, Value, negative, positive
from extauthz.model.problems import Location

Numbered = list[tuple[int, Value]]  # values with their positions; a principal may become several

_UNSAID: Final = "it is left out of this rule, which allows less"
MORE: Final = "without it this rule denies more than in Istio"


class Context(Struct, frozen=True):
    """What all parts of a policy share."""

    document: Document
    report: Report
    denies: bool  # a deny rule that is enforced: what is lost must not let anything pass
    trust_domains: tuple[str, ...]
    words: Words
    issuers: tuple[str, ...] = ()  # whose tokens are taken

    def lose(self, location: Location, message: str, instead: str, *, denial: bool) -> None:
        """Note what is not carried over."""
        self.report.add(self.document, location, "lost", message, instead, denial=denial)


def leaves_out(unknown: list[str], location: Location, context: Context) -> bool:
    """Whether fields that nobody here knows leave a part of an allow rule out; a deny rule denies more without them."""
    for name in unknown:
        context.lose(
            (*location, name),
            f"`{name}` is not known to extauthz; {MORE if context.denies else _UNSAID}",
            "write the rule by hand, or leave the field out if it restricts nothing",
            denial=context.denies,
        )
    return bool(unknown) and not context.denies


def read_field(numbered: Numbered, location: Location, context: Context, *, negated: bool) -> Field | None:
    """What the values of a field become; None when what is lost leaves the whole alternative out."""
    lost = [(at, value) for at, value in numbered if value.lost]
    for at, value in lost:
        effect = MORE if context.denies else _UNSAID
        context.lose((*location, at), f"{value.lost}; {effect}", value.instead, denial=context.denies)
    for at, value in numbered:
        if value.never:
            context.report.add(context.document, (*location, at), "note", value.never, value.instead)
        if value.note:
            context.report.add(context.document, (*location, at), "note", value.note)
        if value.narrower:
            context.report.add(context.document, (*location, at), "narrower", value.narrower, value.instead)
        if value.refused and context.denies == negated:  # where Istio would let it pass
            context.report.add(context.document, (*location, at), "narrower", value.refused, value.instead)
    values = [value for _, value in numbered]
    if negated:
        return None if lost and not context.denies else negative(values)
    if lost and context.denies:
        return Field()  # any: it denies more, if it is written at all
    return positive(values, keep=context.denies)
