"""The events of Checks as bytes: what allows of one precedent have in common is encoded once.

Rule 1: a form is cut from what the encoder wrote, so that filling it in gives what the encoder would write again.
Rule 2: what is filled in needs no escaping, or the encoder writes the event.
"""

import secrets
from sys import intern
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from extauthz.journal.kept import Keeper
from extauthz.journal.pseudonym import Pseudonyms
from extauthz.journal.record import TRACE_ID, DecisionEvent, decision_event, encode_event, make_event, with_read
from extauthz.model.decision import Allow, Precedent
from extauthz.model.memo import Memo
from extauthz.model.record import DecisionRecord

# What is each record's own; every other member is the same for all of one form. In the order in which it is written.
_OWN: Final = (
    "decision_id",
    "subject",
    "token_id",
    "interaction_id",
    "client_address",
    "duration_us",
    "request_id",
    "trace_id",
)
_MAX_ID: Final = 128  # as in `record`
_MAX_FORMS, _MAX_BYTES, _FORM_BYTES = 8192, 16 << 20, 900


class _Kind(Struct, frozen=True, gc=False):
    """All that the rest of an event depends on."""

    precedent: Precedent
    interaction_id_source: str
    principal: str
    is_traced: bool


_Form = tuple[str, ...]  # the text before, between and behind what is the record's own


class Events:
    """Writes the events of Checks. Threads share it."""

    def __init__(self, pseudonyms: Pseudonyms, keeper: Keeper | None = None) -> None:
        """`keeper` keeps for replay what each request had."""
        self._pseudonyms, self._keeper = pseudonyms, keeper
        self._forms: Memo[_Kind, _Form] = Memo(_MAX_FORMS, _MAX_BYTES, _weigh)

    def write(self, record: DecisionRecord, time: str) -> bytes:
        """The event of a Check as JSON. `time` is the record's time as `TimeText` writes it."""
        if self._keeper is None:
            return self._write(record, time)
        return with_read(self._write(record, time), self._keeper.read(record, time[:7]))

    def _write(self, record: DecisionRecord, time: str) -> bytes:
        decision = record.decision
        precedent = decision.precedent if isinstance(decision, Allow) else None
        if precedent is None:
            return decision_event(record, self._pseudonyms, time)
        facts, evidence, decision_id, answered_id = (
            record.facts,
            decision.evidence,
            record.decision_id,
            record.interaction_id,
        )
        subject, address, request_id = evidence.subject, facts.client_address, facts.request_id
        token_id, trace = subject.token_id, record.traceparent[TRACE_ID]
        duration = int(record.duration * 1_000_000)
        own = f"{decision_id}{token_id}{answered_id}{request_id}{trace}"
        if (
            not (token_id and request_id and address and duration > 0)  # what is empty is left out
            or len(token_id) > _MAX_ID
            or len(request_id) > _MAX_ID
            or not (own.isascii() and own.isprintable())
            or '"' in own
            or "\\" in own
        ):
            return decision_event(record, self._pseudonyms, time)
        kind = _Kind(precedent, record.interaction_id_source, facts.source.principal, trace != "")
        form = self._forms.young.get(kind) or self._forms.get(kind)
        if form is None:
            event = make_event(record, self._pseudonyms, time)
            form = _cut(event)
            if form:
                self._forms.put(kind, form)
            return encode_event(event)
        tenant, period = evidence.tenant, intern(time[:7])
        before, decided, called, held, answered, came, took, asked, behind = form
        who = self._pseudonyms.of_subject(subject.issuer, subject.id, tenant, period)
        whence = self._pseudonyms.of("address", address, tenant, period)
        return (
            f"{before}{decision_id}{decided}{who}{called}{token_id}{held}{answered_id}{answered}"
            f"{whence}{came}{duration}{took}{request_id}{asked}{trace}{behind}"
        ).encode()


def _cut(event: DecisionEvent) -> _Form:
    """The form of an event; empty when it cannot be cut."""
    marks = {name: secrets.token_hex(16) for name in _OWN}
    number = 10**17 + secrets.randbelow(10**17)
    marked = replace(event, **{**marks, "duration_us": number, "trace_id": marks["trace_id"] if event.trace_id else ""})
    text = encode_event(marked).decode()
    pieces = []
    for name in _OWN:
        if name == "trace_id" and not event.trace_id:
            pieces.append("")
            continue
        mark = str(number) if name == "duration_us" else marks[name]
        if text.count(mark) != 1:
            return ()
        piece, _, text = text.partition(mark)
        pieces.append(piece)
    if not event.trace_id:  # nothing stands between the request's id and the end
        return (*pieces[:-1], text, "")
    return (*pieces, text)


def _weigh(kind: _Kind, form: _Form) -> int:
    return _FORM_BYTES + len(kind.principal) + sum(map(len, form))
