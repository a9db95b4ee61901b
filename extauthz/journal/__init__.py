"""Append-only evidence: hash-chained segments, signed checkpoints, sinks that follow, and the verifier."""

from extauthz.journal.candidates import CandidateRecord, finding
from extauthz.journal.errors import JournalError
from extauthz.journal.journal import Journal, JournalStatus, SinkStatus
from extauthz.journal.options import JournalIdentity, JournalOptions, SinkOptions
from extauthz.journal.record import LifecycleKind
from extauthz.journal.report import Finding, VerifyReport
from extauthz.journal.verify import verify

__all__ = [
    "CandidateRecord",
    "Finding",
    "Journal",
    "JournalError",
    "JournalIdentity",
    "JournalOptions",
    "JournalStatus",
    "LifecycleKind",
    "SinkOptions",
    "SinkStatus",
    "VerifyReport",
    "finding",
    "verify",
]
