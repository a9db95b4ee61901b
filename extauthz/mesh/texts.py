"""Istio's string match, and the same in CEL.

Rule 1: exactly what Istio documents: `abc` exact, `abc*` prefix, `*abc` suffix, `*` present. A `*` elsewhere is itself.
Rule 2: an empty text is the absence of an attribute and matches nothing.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct


class Match(Struct, frozen=True):
    """One value of a field, taken apart."""

    kind: Literal["exact", "prefix", "suffix", "present"]
    text: str = ""


class Text(Struct, frozen=True):
    """A text of CEL that is always there, or only where `guard` holds."""

    term: str
    guard: str = ""

    def test(self, found: Sequence[Match]) -> str:
        """Whether one of these matches."""
        return all_of([self.guard, matches(self.term, found)])


def read_match(value: str) -> Match:
    """As Istio reads it: a leading `*` is looked at first."""
    if value == "*":
        return Match("present")
    if value.startswith("*"):
        return Match("suffix", value[1:])
    if value.endswith("*"):
        return Match("prefix", value[:-1])
    return Match("exact", value)


def quoted(text: str) -> str:
    """A text literal of CEL."""
    return json.dumps(text, ensure_ascii=False)


def matches(term: str, found: Sequence[Match]) -> str:
    """A CEL expression: whether the text `term` is matched by one of these."""
    exact = [quoted(match.text) for match in found if match.kind == "exact"]
    tests = []
    if exact:
        tests.append(f"{term} == {exact[0]}" if len(exact) == 1 else f"{term} in [{', '.join(exact)}]")
    tests += [f"{term}.startsWith({quoted(match.text)})" for match in found if match.kind == "prefix"]
    tests += [f"{term}.endsWith({quoted(match.text)})" for match in found if match.kind == "suffix"]
    tests += [f'{term} != ""' for match in found if match.kind == "present"]
    return any_of(tests)


def any_of(tests: Iterable[str]) -> str:
    """One of several expressions."""
    return " || ".join(dict.fromkeys(tests))


def all_of(tests: Iterable[str]) -> str:
    """Several expressions at once."""
    distinct = [*dict.fromkeys(test for test in tests if test)]
    return distinct[0] if len(distinct) == 1 else " && ".join(map(grouped, distinct))


def none_of(test: str) -> str:
    """The opposite."""
    return f"!({test})"


def grouped(test: str) -> str:
    """In parentheses where `&&` would bind stronger."""
    return f"({test})" if " || " in test or " ? " in test else test
