"""What a candidate bundle would have answered otherwise: an event of its own, which names the decision.

Rule: no field holds more than a bundle or the code says; who asked, and what, is in the record of the decision.
"""

from msgspec import DecodeError, Struct, ValidationError, structs
from msgspec.json import Decoder, Encoder

from extauthz.bundle.compare import Difference
from extauthz.journal.record import scrubbed
from extauthz.model.decision import Allow, Decision
from extauthz.model.record import DecisionRecord

_MAX_NAME = 255
_MAX_TEXT = 512


class CandidateRecord(Struct, frozen=True, gc=False):
    """A Check that the candidate decides differently, or on which it failed."""

    live: DecisionRecord
    revision: str  # of the candidate
    digest: str
    difference: Difference | None = None
    decision: Decision | None = None  # the candidate's; None when it failed
    error: str = ""  # kind and place of what it failed with


class CandidateEvent(Struct, frozen=True, omit_defaults=True, gc=False):
    """Same fields as `Candidate` in protos/extauthz/v1/journal.proto."""

    decision_id: str
    revision: str
    digest: str
    change: str = ""  # allow_to_deny, deny_to_allow, reason or obligations; "" when it failed
    outcome: str = ""
    reason: str = ""
    check: str = ""
    policy: str = ""
    rule: str = ""
    tenant: str = ""
    live_revision: str = ""
    live_outcome: str = ""
    live_reason: str = ""
    live_policy: str = ""
    live_rule: str = ""
    error: str = ""


_encoder = Encoder()


def candidate_event(record: CandidateRecord) -> bytes:
    """The event as JSON."""
    live, after, difference = record.live.decision, record.decision, record.difference
    tenant = difference.tenant if difference else live.evidence.tenant
    # In the order of the fields: with more than 15 names Python calls anything at ten times the cost.
    event = CandidateEvent(
        record.live.decision_id,
        record.revision,
        record.digest,
        difference.change if difference else "",
        after.reason.outcome if after else "",
        after.reason.code if after else "",
        "" if after is None or isinstance(after, Allow) else after.check,
        after.evidence.policy if after else "",
        after.evidence.rule if after else "",
        tenant[:_MAX_NAME],
        record.live.revision,
        live.reason.outcome,
        live.reason.code,
        live.evidence.policy,
        live.evidence.rule,
        record.error[:_MAX_TEXT],
    )
    try:
        return b'{"candidate":%b}' % _encoder.encode(event)
    except UnicodeEncodeError:  # half a surrogate pair, as in `decision_event`
        return b'{"candidate":%b}' % _encoder.encode(structs.replace(event, **scrubbed(structs.asdict(event))))


class _Candidate(Struct):
    candidate: CandidateEvent


_candidate = Decoder(_Candidate)


def read_candidate(event: bytes) -> CandidateEvent | None:
    """Read one back; None when the event is another kind."""
    try:
        return _candidate.decode(event).candidate
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None
