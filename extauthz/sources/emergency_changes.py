"""What happens to the run-time list, and by whom."""

from typing import Literal

from msgspec import Struct

from extauthz.sources.emergency_file import Kept
from extauthz.sources.operators import Operator, wrong_with


class Change(Struct, frozen=True):
    """One thing that happened to the list."""

    kind: Literal["added", "removed", "expired", "unapproved"]
    entry: Kept
    operator: Operator | None = None  # None: it ended by itself
    problem: str = ""  # why it will not survive a restart; "" when it will
    approvers: tuple[str, ...] = ()  # of break glass


class EmergencyError(Exception):
    """The change was refused; the list is as before."""


class UnknownEntryError(EmergencyError):
    """There is no such entry."""


def require_operator(operator: Operator) -> None:
    """Everything has somebody who did it, and a reason. Raises EmergencyError."""
    if wrong := wrong_with(operator):
        raise EmergencyError(wrong)
