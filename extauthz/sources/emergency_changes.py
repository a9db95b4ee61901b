"""What happens to the run-time list, and by whom."""

from typing import Literal

from msgspec import Struct

from extauthz.sources.emergency_file import Kept

MAX_REASON = 500  # characters
MAX_OPERATOR = 100


class Operator(Struct, frozen=True):
    """Who changes the list, and why."""

    name: str  # as they call themselves
    uid: int  # as the kernel calls them
    reason: str
    account: str = ""  # the name of that uid, where it has one


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
    for name, text, longest in (("operator", operator.name, MAX_OPERATOR), ("reason", operator.reason, MAX_REASON)):
        if not 0 < len(text.strip()) <= longest or len(text) > longest or not text.isprintable():
            message = f"{name}: must be 1 to {longest} printable characters"
            raise EmergencyError(message)
