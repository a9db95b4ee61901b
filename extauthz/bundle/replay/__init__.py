"""Past decisions, decided again by another bundle from what the journal kept of them."""

from extauthz.bundle.replay.decided import Decided, Naming
from extauthz.bundle.replay.replay import Changed, Replay, Replayed, Same, Unknown, World
from extauthz.bundle.replay.report import Example, Found, Group, Report, Totals, add_up, count, hint, report

__all__ = [
    "Changed",
    "Decided",
    "Example",
    "Found",
    "Group",
    "Naming",
    "Replay",
    "Replayed",
    "Report",
    "Same",
    "Totals",
    "Unknown",
    "World",
    "add_up",
    "count",
    "hint",
    "report",
]
