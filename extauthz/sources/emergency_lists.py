"""Run-time entries → what decisions read. What was compiled before is kept: every order makes the whole list anew."""

from collections.abc import Mapping

from extauthz.bundle.approvals import Approvers, approved
from extauthz.bundle.approver_keys import read_approver_key
from extauthz.bundle.emergencies import compile_glass, glass_summary
from extauthz.bundle.read import collector_paused
from extauthz.bundle.revocations import Known
from extauthz.guards import Entry, Glass, Listed, TenantRegistry, listed
from extauthz.sources.emergency_file import Kept, RuntimeEntry, RuntimeGlass

_UNJUDGED = Known(None, TenantRegistry())  # names were resolved when it was opened


class Lists:
    """Compiles; keeps who may approve."""

    def __init__(self) -> None:
        """Nobody may approve yet."""
        self.approvers: Approvers = {}
        self.opened: dict[str, Glass] = {}  # of the last list: what is approved and was not ended
        self._denied: dict[str, Entry] = {}

    def set_approvers(self, approvers: Mapping[str, str]) -> None:
        """Who may approve, by name and key; counts from the next `compile` on."""
        self.approvers = {name: read_approver_key(key) for name, key in approvers.items()}
        self.opened = {}

    def compile(self, entries: Mapping[str, Kept]) -> Listed:
        """The list of these entries."""
        with collector_paused():  # none of this is garbage, and 10,000 routes are many objects
            denied = [entry for entry in entries.values() if isinstance(entry, RuntimeEntry)]
            self._denied = {entry.id: self._denied.get(entry.id) or entry.entry() for entry in denied}
            glasses = [entry for entry in entries.values() if isinstance(entry, RuntimeGlass) and not entry.ended]
            found = {entry.id: self.opened.get(entry.id) or self._approve(entry) for entry in glasses}
            self.opened = {key: glass for key, glass in found.items() if glass is not None}
            summaries = [entry.summary() for entry in denied if entry.freeze]
            summaries += [
                glass_summary(entry.request, self.opened[entry.id].approvers)
                for entry in glasses
                if entry.id in self.opened
            ]
            return listed(self._denied.values(), tuple(self.opened.values()), tuple(summaries))

    def _approve(self, entry: RuntimeGlass) -> Glass | None:
        """None when those who approved it may not any more."""
        glass = compile_glass(entry.request, _UNJUDGED, [], ())
        if glass is None:
            return None
        glass, problems = approved(glass, entry.request, entry.approvals, self.approvers)
        return None if problems else glass
