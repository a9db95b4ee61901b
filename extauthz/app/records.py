"""What happens to a server → events of its journal, from the moment that one is open.

Rule: it is told on the threads of the rooms where things happen; none of them runs before the journal is open.
"""

from extauthz.admin import OpenGlass
from extauthz.app.emergency_record import record_change, record_document, record_refusal
from extauthz.guards import Summary
from extauthz.journal import Journal, LifecycleKind
from extauthz.sources import Change, Operator


class Records:
    """The journal, for those who have to say something about the server itself."""

    def __init__(self) -> None:
        self.journal: Journal | None = None

    def note(self, kind: LifecycleKind, detail: dict[str, str]) -> None:
        """One event."""
        if self.journal is not None:
            self.journal.event(kind, detail)

    def ordered(self, change: Change) -> None:
        """What was ordered at run time has changed."""
        if self.journal is not None:
            record_change(change, self.journal)

    def refused(self, order: OpenGlass, operator: Operator, why: str) -> None:
        """Break glass that was asked for and stays shut."""
        if self.journal is not None:
            record_refusal(order, operator, why, self.journal)

    def document(self, kind: LifecycleKind, found: Summary, revision: str) -> None:
        """An Emergency of the bundle has begun or is over."""
        if self.journal is not None:
            record_document(kind, found, revision, self.journal)
