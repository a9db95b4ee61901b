"""The one error of the journal."""


class JournalError(Exception):
    """The record is not in the journal, or the journal cannot be opened. The text names what and why."""
