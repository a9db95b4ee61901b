"""Mutants: a bundle with one thing changed that a good test would notice, and what such a test would be.

Rule 1: documents are changed, not compiled rules, so that a mutant is what an author could have written by mistake.
Rule 2: the list is the same in every process: mutants are known by their number.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from extauthz.bundle.above import Above
from extauthz.bundle.change import Change
from extauthz.bundle.compile import Compiled
from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.mutate_guards import guard_changes
from extauthz.bundle.mutate_policies import policy_changes

KINDS: Final = ("AccessPolicy", "SecurityProfile", "Tenancy", "Revocation", "Emergency")


class Mutant(Struct, frozen=True):
    """One changed bundle."""

    kind: str
    document: int  # index among the documents of its kind
    name: str  # of the document
    file: str
    line: int
    change: Change

    @property
    def subject(self) -> str:
        """`policy/rule`, or the document."""
        return f"{self.name}/{self.change.rule}" if self.change.rule else f"{self.kind} {self.name}"


def mutants(documents: Documents, compiled: Compiled) -> list[Mutant]:
    """Every mutant of a bundle without errors."""
    above = Above(compiled.profiles)
    return [
        Mutant(kind, index, document.name, document.tree.file, document.tree.line(change.location), change)
        for kind in KINDS
        for index, document in enumerate(documents.by_kind[kind])
        for change in _changes(kind, document, above)
    ]


def _changes(kind: str, document: Document, above: Above) -> Iterator[Change]:
    if kind == "AccessPolicy":
        yield from policy_changes(document.name, document.spec, above)
    else:
        yield from guard_changes(kind, document.name, document.spec)
