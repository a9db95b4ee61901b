"""Allows that were written before, cut where their ids stand: the next of the same kind gets its own ids put in.

Rule 1: a frame is cut from bytes that `outbound` wrote, so that splicing gives what `outbound` would write again.
Rule 2: what differs from one allow of a kind to the next has the same length and no need of escaping; everything else
belongs to the kind.
"""

import re
from typing import Final

from msgspec import Struct

from extauthz.model.decision import Allow, Evidence, Obligations, Precedent
from extauthz.model.memo import Memo
from extauthz.model.reasons import Reason
from extauthz.wire import encode
from extauthz.wire.options import INTERACTION_HEADER, OutboundOptions

UPSTREAM, CLIENT = b"\x12", b"\x32"  # OkHttpResponse: headers is field 2, response_headers_to_add 6
_METADATA_ID: Final = "decision_id"

# The ids as the handler makes and the reader accepts them: 32 hex digits, and a UUID.
_DECISION_ID_SIZE, _INTERACTION_ID_SIZE = 32, 36
_PLAIN = re.compile(r"[!-$&-~]*")  # no blank and no `%`: an identity header carries it as it is

# An allow of the example bank has 1.4 KiB, half of it removals.
_MAX_FRAMES: Final = 8192
_MAX_BYTES: Final = 24 << 20
_KIND_BYTES: Final = 800  # of an entry beside the frame's own bytes: the kind, its texts, places in tables


class Kind(Struct, frozen=True, gc=False):
    """What allows of the same frame have in common."""

    reason: Reason
    subject_length: int
    issuer: str
    client: str
    actor: str
    tenant: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    obligations: Obligations
    policy: str
    rule: str
    revision: str


class Frame(Struct, frozen=True, gc=False):
    """What stands before, between and behind the ids."""

    pieces: tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]


def plain_ids(decision_id: str, interaction_id: str) -> tuple[bytes, bytes] | None:
    """The ids of an answer as bytes; None when they are such as no frame takes."""
    if len(decision_id) != _DECISION_ID_SIZE or len(interaction_id) != _INTERACTION_ID_SIZE:
        return None
    mine, theirs = decision_id.encode("utf-8", "replace"), interaction_id.encode("utf-8", "replace")
    # Of bytes, this takes ASCII alone.
    return (mine, theirs) if mine.isalnum() and theirs.replace(b"-", b"").isalnum() else None


class Frames:
    """The allows of one configuration. Threads share it."""

    def __init__(self, options: OutboundOptions) -> None:
        """Nothing was written yet."""
        self._options = options
        self._kept: Memo[Kind | Precedent, Frame] = Memo(_MAX_FRAMES, _MAX_BYTES, _weigh)

    def kind(self, decision: Allow, revision: str) -> Kind | None:
        """What kind of allow it is where it has no precedent, which is one; None when no frame takes it.

        What has one precedent has one revision, and one length of ids of subjects, which are plain.
        """
        evidence = decision.evidence
        who = evidence.subject
        if not _PLAIN.fullmatch(who.id) or evidence.emergency:  # that is too rare to keep, and its answer names it
            return None
        return Kind(
            decision.reason,
            len(who.id),
            who.issuer,
            who.client,
            who.actors[0] if who.actors else "",
            evidence.tenant,
            who.roles,
            who.scopes,
            decision.obligations,
            evidence.policy,
            evidence.rule,
            revision,
        )

    def splice(self, kind: Kind | Precedent, subject_id: str, mine: bytes, theirs: bytes) -> bytes | None:
        """The answer, if one of its kind was kept. The ids are as `plain_ids` gives them."""
        frame = self._kept.young.get(kind) or self._kept.get(kind)
        if frame is None:
            return None
        start, upstream, interaction, client, answered, metadata, end = frame.pieces
        return b"".join(
            (
                start,
                subject_id.encode(),
                upstream,
                mine,
                interaction,
                theirs,
                client,
                mine,
                answered,
                theirs,
                metadata,
                mine,
                end,
            )
        )

    def keep(
        self, kind: Kind | Precedent, answer: bytes, evidence: Evidence, decision_id: str, interaction_id: str
    ) -> None:
        """Cut the answer to a decision of that kind, which could be written as it was."""
        options, subject = self._options, evidence.subject.id
        places = [
            _header(UPSTREAM, options.subject_header, subject),
            _header(UPSTREAM, options.decision_header, decision_id),
            _header(UPSTREAM, INTERACTION_HEADER, interaction_id),
            _header(CLIENT, options.decision_header, decision_id),
            _header(CLIENT, INTERACTION_HEADER, interaction_id),
            encode.struct_fields([(_METADATA_ID, decision_id)]),
        ]
        values = (subject, decision_id, interaction_id, decision_id, interaction_id, decision_id)
        pieces, at = [], 0
        for place, value in zip(places, values, strict=True):
            before = place.rindex(value.encode())  # the value is the last text of its field
            start = answer.index(place, at) + before if value else at
            pieces.append(answer[at:start])
            at = start + len(value)
        before_all, upstream, interaction, client, answered, metadata = pieces
        self._kept.put(kind, Frame((before_all, upstream, interaction, client, answered, metadata, answer[at:])))


def _weigh(_: Kind | Precedent, frame: Frame) -> int:
    """The texts of the kind are in the frame, so it weighs them once more."""
    return _KIND_BYTES + 2 * sum(map(len, frame.pieces))


def _header(tag: bytes, name: str, value: str) -> bytes:
    return encode.overwriting_header(tag, name, value)
