"""The smallest pieces of a rule: one field, its test, and what `explain` may show of the value that was found.

Rule 1: what cannot be told is answered against the caller: NO in an allow rule, YES in a deny rule.
"""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from extauthz.model.codes import Code
from extauthz.model.problems import Location, Problem
from extauthz.policy.asked import Asked
from extauthz.policy.document import Effect
from extauthz.policy.matchers import AddressSet, TextSet, address_problem, text_problem
from extauthz.policy.outcome import ERROR, NO, YES, Outcome

UNKNOWN: Final = "unknown"  # the attribute has no single readable value
FAILED: Final = "failed"  # its source cannot be read at all: a condition error
Severity = Literal["error", "warning"]
Found = tuple[str, ...] | str  # the attribute's values, or UNKNOWN or FAILED


class TextPart(Struct, frozen=True, gc=False):
    """Compares texts."""

    field: str  # as written, e.g. `roles` or `request.headers[x-channel]`
    texts: TextSet
    read: Callable[[Asked], Found]  # all values of the attribute; none is its absence
    against: Outcome  # when it cannot be told
    negative: bool = False
    fold: bool = False  # in any case
    http: bool = True  # names what a connection without HTTP does not have
    masked: bool = True

    def test(self, asked: Asked) -> Outcome:
        """Whether the attribute is as it should be."""
        found = self.read(asked)
        if isinstance(found, str):
            return ERROR if found is FAILED else self.against
        if self.fold:
            found = tuple(value.casefold() for value in found)
        return YES if self.texts.has_any(found) != self.negative else NO

    def seen(self, asked: Asked) -> str:
        """What was found, for `explain`."""
        return show(self.read(asked), masked=self.masked)

    @property
    def wanted(self) -> str:
        """What is asked for, as it is written."""
        return _wanted(self.texts.patterns(), negative=self.negative)


class AddressPart(Struct, frozen=True, gc=False):
    """Compares an IP address with blocks; an unreadable one cannot be told (T-34)."""

    field: str
    addresses: AddressSet
    read: Callable[[Asked], str]
    against: Outcome
    negative: bool = False
    http: bool = False

    def test(self, asked: Asked) -> Outcome:
        """Whether the address is where it should be."""
        address = asked.address(self.read(asked))
        if address is None:
            return self.against
        return YES if self.addresses.has(address) != self.negative else NO

    def seen(self, asked: Asked) -> str:
        """What was found, for `explain`."""
        text = self.read(asked)
        return mask(text) if asked.address(text) else "no readable address"

    @property
    def wanted(self) -> str:
        """What is asked for, in the fewest blocks."""
        return _wanted(self.addresses.blocks(), negative=self.negative)


Part = TextPart | AddressPart


class Draft(Struct, frozen=True):
    """What the compilers of one rule share."""

    effect: Effect
    problems: list[Problem]

    @property
    def against(self) -> Outcome:
        """The answer when a value cannot be told."""
        return YES if self.effect == "deny" else NO

    def fault(self, location: Location, message: str, code: Code = "invalid") -> None:
        """Note an error."""
        self.problems.append(Problem(location, message, "error", code))

    def note(self, location: Location, message: str, severity: Severity, code: Code) -> None:
        """Note an error or a warning."""
        self.problems.append(Problem(location, message, severity, code))


def check_values(
    draft: Draft,
    location: Location,
    values: tuple[str, ...],
    problem: Callable[[str], str] = text_problem,
) -> bool:
    """Whether all values are well formed; notes what is wrong with each that is not."""
    if not values:
        draft.fault(location, "an empty list matches nothing: leave the field out to match anything")
        return False
    faults = [(position, fault) for position, value in enumerate(values) if (fault := problem(value))]
    for position, fault in faults:
        draft.fault((*location, position), fault)
    return not faults


def check_addresses(draft: Draft, location: Location, blocks: tuple[str, ...]) -> bool:
    """Whether all blocks are well formed; notes what is wrong with each that is not."""
    return check_values(draft, location, blocks, address_problem)


def show(found: Found, *, masked: bool) -> str:
    """Values as `explain` prints them."""
    if isinstance(found, str):
        return "more than one value" if found is UNKNOWN else "not readable"
    present = [value for value in found if value]
    if not present:
        return "absent"
    return ", ".join(mask(value) if masked else value for value in present)


def _wanted(patterns: list[str], *, negative: bool) -> str:
    return ("none of " if negative else "") + ", ".join(patterns)


def mask(value: str) -> str:
    """Enough of a value to recognise it, not enough to use it."""
    shown = value[: min(2, len(value) // 4)]
    return f"{shown}… ({len(value)} characters)"
