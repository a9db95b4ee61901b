"""What a record says: one event of a closed set, built from values and encoded with a fixed order of members.

Rule 1: a field is written because it is listed here. Tokens, cookies, query values, bodies and paths have no field.
Rule 2: subjects and addresses are written as pseudonyms only.
"""

from collections.abc import Mapping
from sys import intern
from time import gmtime, strftime
from typing import Any, Literal

from msgspec import DecodeError, Raw, Struct, ValidationError, structs
from msgspec.json import Decoder, Encoder

from extauthz.journal.pseudonym import Pseudonyms
from extauthz.model.decision import Allow, ShadowMatch
from extauthz.model.kept import MAX_ID, MAX_NAME
from extauthz.model.record import DecisionRecord

LifecycleKind = Literal[
    "stopped",
    "bundle_activated",
    "bundle_rejected",  # with the step that it did not pass
    "bundle_rolled_back",  # an older one was put in force, by order or by leave of the operator named
    "bundle_pinned",  # an operator keeps one in force, whatever the source brings
    "bundle_unpinned",  # the source is followed again
    "bundle_promoted",  # an operator put the candidate in force
    "bundle_order_refused",  # an operator's order about bundles was not carried out, and why
    "bundle_held",  # the source has another, which waits because of a pin or a rollback
    "bundle_unreachable",  # its source gave no answer
    "bundle_reachable",  # it does again
    "bundle_too_old",  # the source was not heard for longer than `bundle.maxAgeSeconds`
    "bundle_fresh",  # it is heard again
    "candidate_compared",  # a candidate bundle is compared from now on
    "candidate_rejected",  # with the step that it did not pass; the former one is still compared
    "candidate_unreachable",  # its source gave no answer
    "candidate_reachable",  # it does again
    "keys_changed",
    "revocations_opened",  # at start: how many entries the file held, and whether there was a file
    "revocation_added",
    "revocation_removed",
    "revocation_expired",
    "emergency_approved",  # one a signature, when the break glass is opened
    "emergency_opened",  # a freeze or break glass is in force, or will be from its `begin`
    "emergency_refused",  # break glass that was asked for and stays shut
    "emergency_ended",
    "emergency_expired",
    "configuration_changed",
    "journal_restored",  # after an outage: how many records it refused and how many answers went out without one
    "records_missing",  # at start the journal was shorter than its last checkpoint says
    "segments_removed",
    "segment_disturbed",  # another program changed or removed the open segment
    "sink_failed",
    "sink_recovered",
    "sink_lost_records",
    "clock_stepped",
]

# Names and ids that a client or an issuer chose are cut: one record stays well under a page.
_MAX_HOST = MAX_NAME
_MAX_ID = MAX_ID
_MAX_TEXT = 512
_MAX_ROLES = 64
TRACE_ID = slice(3, 35)  # version "-" trace id


class DecisionEvent(Struct, frozen=True, omit_defaults=True, gc=False):
    """One Check. Same fields as `Decision` in protos/extauthz/v1/journal.proto."""

    decision_id: str
    outcome: str
    reason: str
    check: str = ""
    detail: str = ""
    status: int = 0
    profile: str = ""
    policy: str = ""
    rule: str = ""
    route: str = ""
    method: str = ""
    host: str = ""
    tenant: str = ""
    subject: str = ""
    issuer: str = ""
    client_id: str = ""
    roles: tuple[str, ...] = ()
    token_id: str = ""
    key_id: str = ""
    revision: str = ""
    digest: str = ""
    interaction_id: str = ""
    interaction_id_source: str = ""
    source_principal: str = ""
    client_address: str = ""
    cross_tenant: str = ""
    shadow: tuple[ShadowMatch, ...] = ()
    condition_errors: tuple[str, ...] = ()
    duration_us: int = 0
    request_id: str = ""
    trace_id: str = ""
    sender_proofs: tuple[str, ...] = ()
    emergency: str = ""
    emergency_kind: str = ""
    read: Raw = Raw()  # `Kept` as JSON


class SealedTail(Struct, frozen=True):
    """Bytes behind the last whole record of a segment."""

    segment: int
    offset: int
    bytes: int
    sha256: str


class SegmentEvent(Struct, frozen=True, omit_defaults=True):
    """The first record of every segment. Same fields as `Segment` in journal.proto."""

    number: int
    instance: str
    boot: str
    began: Literal["boot", "rotation", "distrust"]
    version: str = ""
    position: int = 0
    public_key: bytes = b""
    key_id: str = ""
    checkpoint_records: int = 0
    checkpoint_seconds: int = 0
    config_digest: str = ""
    previous_boot: str = ""
    sealed: SealedTail | None = None


class LifecycleEvent(Struct, frozen=True):
    """What happened to the server or the journal."""

    kind: str
    detail: dict[str, str] = {}


_encoder = Encoder()
_END = b"}}"


class TimeText:
    """Seconds since the epoch as RFC 3339 text in UTC with microseconds. The last second's text is kept."""

    def __init__(self) -> None:
        self._last = (0, "1970-01-01T00:00:00")
        self._whole = (-1.0, "")

    def __call__(self, seconds: float) -> str:
        """E.g. `2026-11-23T11:00:00.123456Z`."""
        known = self._whole
        if known[0] == seconds:  # Checks that came at the same time
            return known[1]
        whole = int(seconds)
        last = self._last
        if last[0] != whole:
            last = self._last = (whole, strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole)))
        text = f"{last[1]}.{int((seconds - whole) * 1_000_000):06d}Z"
        self._whole = (seconds, text)
        return text


def make_event(record: DecisionRecord, pseudonyms: Pseudonyms, time: str) -> DecisionEvent:
    """The event of a Check, without `read`. `time` is the record's time as `TimeText` writes it."""
    facts, decision = record.facts, record.decision
    evidence, reason = decision.evidence, decision.reason
    # Kept with each pseudonym: one text for all of a month.
    subject, tenant, period = evidence.subject, evidence.tenant, intern(time[:7])
    check, detail = ("", "") if isinstance(decision, Allow) else (decision.check, decision.detail)
    # In the order of the fields: with more than 15 names Python calls anything at ten times the cost.
    return DecisionEvent(
        record.decision_id,
        reason.outcome,
        reason.code,
        check,
        detail[:_MAX_TEXT],
        record.status,
        evidence.profile,
        evidence.policy,
        evidence.rule,
        evidence.route,
        facts.method[:_MAX_ID],
        facts.host[:_MAX_HOST],
        tenant[:_MAX_HOST],
        pseudonyms.of_subject(subject.issuer, subject.id, tenant, period),
        subject.issuer[:_MAX_TEXT],
        subject.client[:_MAX_HOST],
        subject.roles[:_MAX_ROLES],
        subject.token_id[:_MAX_ID],
        subject.key_id[:_MAX_ID],
        record.revision,
        record.digest,
        record.interaction_id,
        record.interaction_id_source,
        facts.source.principal[:_MAX_TEXT],
        pseudonyms.of("address", facts.client_address, tenant, period),
        evidence.cross_tenant,
        evidence.shadow,
        evidence.condition_errors,
        max(0, int(record.duration * 1_000_000)),
        facts.request_id[:_MAX_ID],
        record.traceparent[TRACE_ID],
        evidence.sender_proofs,
        evidence.emergency,
        evidence.emergency_kind,
    )


def decision_event(record: DecisionRecord, pseudonyms: Pseudonyms, time: str) -> bytes:
    """The event of a Check as JSON, all of it worked out anew."""
    return encode_event(make_event(record, pseudonyms, time))


def with_read(event: bytes, read: bytes) -> bytes:
    """The event of a Check with its last member, as `journal.kept` writes it."""
    return b'%b,"read":%b}}' % (event[: -len(_END)], read)


def encode_event(event: DecisionEvent) -> bytes:
    """The event of a Check as JSON."""
    try:
        return b'{"decision":%b}' % _encoder.encode(event)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON in a token can carry
        return b'{"decision":%b}' % _encoder.encode(structs.replace(event, **scrubbed(structs.asdict(event))))


def segment_event(event: SegmentEvent) -> bytes:
    """The event that opens a segment, as JSON."""
    return b'{"segment":%b}' % _encoder.encode(event)


def lifecycle_event(kind: LifecycleKind, detail: Mapping[str, str]) -> bytes:
    """An event of the server's life, as JSON."""
    cut = {_scrub(name): _scrub(value)[:_MAX_TEXT] for name, value in detail.items()}
    return b'{"lifecycle":%b}' % _encoder.encode(LifecycleEvent(kind, cut))


class _Decision(Struct):
    decision: DecisionEvent


_decision = Decoder(_Decision)


def read_decision(event: bytes) -> DecisionEvent | None:
    """Read a decision back; None when the event is another kind."""
    try:
        return _decision.decode(event).decision
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None


def scrubbed(fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields with every half surrogate pair replaced by `?`."""
    return {name: _scrub(value) for name, value in fields.items()}


def _scrub(value: Any) -> Any:  # noqa: ANN401 - strings are mended, tuples walked, the rest returned
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, ShadowMatch):
        return structs.replace(value, **scrubbed(structs.asdict(value)))
    return tuple(_scrub(item) for item in value) if isinstance(value, tuple) else value
