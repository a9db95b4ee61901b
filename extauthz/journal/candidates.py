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

    decision_id: str
    finding: bytes  # all else of its event, see `finding`: the same for many Checks


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
_NAMELESS = b'{"decision_id":""'


def finding(
    live: DecisionRecord,
    revision: str,
    digest: str,
    difference: Difference | None = None,
    decision: Decision | None = None,
    error: str = "",
) -> bytes:
    """What an event says of `live` but its decision's id, as JSON.

    `revision` and `digest` are the candidate's, `decision` too: None when it failed, with `error`, kind and place.
    """
    before = live.decision
    tenant = difference.tenant if difference else before.evidence.tenant
    # In the order of the fields: with more than 15 names Python calls anything at ten times the cost.
    event = CandidateEvent(
        "",
        revision,
        digest,
        difference.change if difference else "",
        decision.reason.outcome if decision else "",
        decision.reason.code if decision else "",
        "" if decision is None or isinstance(decision, Allow) else decision.check,
        decision.evidence.policy if decision else "",
        decision.evidence.rule if decision else "",
        tenant[:_MAX_NAME],
        live.revision,
        before.reason.outcome,
        before.reason.code,
        before.evidence.policy,
        before.evidence.rule,
        error[:_MAX_TEXT],
    )
    try:
        encoded = _encoder.encode(event)
    except UnicodeEncodeError:  # half a surrogate pair, as in `decision_event`
        encoded = _encoder.encode(structs.replace(event, **scrubbed(structs.asdict(event))))
    return encoded.removeprefix(_NAMELESS)


def candidate_event(record: CandidateRecord) -> bytes:
    """The event as JSON."""
    return b'{"candidate":{"decision_id":%b%b}' % (_encoder.encode(record.decision_id), record.finding)


class _Candidate(Struct):
    candidate: CandidateEvent


_candidate = Decoder(_Candidate)


def read_candidate(event: bytes) -> CandidateEvent | None:
    """Read one back; None when the event is another kind."""
    try:
        return _candidate.decode(event).candidate
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None
