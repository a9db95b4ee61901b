"""The part of a verification that is about checkpoints: who signed what, and what was kept of it elsewhere.

Rule: nothing is believed because a record says so. What a record says counts once a valid checkpoint stands behind
it; until then anybody who can write the directory may have written it.
"""

import re
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from extauthz.journal.bounds import Bounds
from extauthz.journal.chain import Line, parse_line, true_hash
from extauthz.journal.checkpoint import Checkpoint, Signed, is_signed_by, read_checkpoint
from extauthz.journal.report import Findings

_OF_WORKER = re.compile(r".*/(worker-[0-9]{1,3})")


def owner_of(instance: str) -> str:
    """The worker that such an instance is; "" for a process that serves alone."""
    match = _OF_WORKER.fullmatch(instance)
    return match[1] if match else ""


def is_owned(instance: str, owner: str | None) -> bool:
    """Whether this worker's journal may hold what that instance wrote; None asks for nothing."""
    return owner is None or owner_of(instance) == owner


class Checkpoints:
    """What the walk has seen of checkpoints and keys so far."""

    def __init__(
        self,
        keys: Mapping[str, Ed25519PublicKey],
        bounds: Bounds,
        at: Findings,
        segments: Sequence[int],
        owner: str | None,
    ) -> None:
        self.keys = keys  # by id; without any, signatures are not checked
        self._owner = owner  # see `is_owned`
        self._bounds, self._at, self._report = bounds, at, at.report
        self._segments = frozenset(segments)  # that are there
        self._first_segment = min(segments, default=0)
        self._hashes: dict[tuple[str, int], str] = {}  # (boot, seq) of every checkpoint record: its hash
        self._last: tuple[str, str] | None = None  # boot and hash of the last valid one
        self._behind = 0  # records since the last valid one
        self._behind_until = ""  # the latest of their times
        self._claimed = 0  # last segment that retention removed, as one of them says
        self._breaks = 0  # findings there were when it said so
        self._seen_keys: set[str] = set()

    def meet_key(self, key: str, seq: int) -> None:
        """A boot says with which key it signs."""
        if self.keys and key not in self.keys and key not in self._seen_keys:
            self._at.add("key_changed", seq, f"the boot signs with key {key}, which was not given")
        self._seen_keys.add(key)

    def count(self, record: Line) -> None:
        """One record more, for which nobody signed yet."""
        self._behind += 1
        self._behind_until = max(self._behind_until, record.time)

    def claim_removed(self, last: int, segment: int) -> None:
        """A record of `segment` says that retention removed the segments through `last`."""
        if last >= segment:
            return
        if not self.keys:  # consistency is all that can be asked for
            self._report.removed_through = max(self._report.removed_through, last)
        breaks = len(self._report.findings)
        self._claimed = max(self._claimed, last) if breaks == self._breaks else last
        self._breaks = breaks

    def check(self, record: Line, event: bytes) -> None:
        """A checkpoint record: its key, its signature, the records it was signed for."""
        signed = read_checkpoint(event)
        if signed is None:
            self._at.add("unreadable", record.seq, "the checkpoint is malformed")
            return
        stated = signed.checkpoint
        key = self.keys.get(stated.key_id)
        if key is None:
            if self.keys and stated.key_id not in self._seen_keys:
                self._at.add("key_changed", record.seq, f"signed with key {stated.key_id}, which was not given")
                self._seen_keys.add(stated.key_id)
        elif not is_signed_by(signed, key):
            self._at.add("bad_signature", record.seq, f"the signature is not that of key {stated.key_id}")
        elif (stated.head, stated.records) != (record.prev, record.seq):
            self._at.add("checkpoint_mismatch", record.seq, "it was signed for other records than those before it")
        elif not self._follows_a_checkpoint(stated):
            self._at.add("checkpoint_mismatch", record.seq, "it names another checkpoint than the one before it")
        else:
            self._accept(stated, record)
        self._hashes[stated.boot, record.seq] = record.hash

    def _follows_a_checkpoint(self, stated: Checkpoint) -> bool:
        """Within a boot the one before. The first of a boot may name an older one: its last copy, after a crash."""
        if self._last is None:
            return True  # the first that is left; those before it went with their segments
        boot, digest = self._last
        if boot == stated.boot:
            return stated.previous == digest
        return stated.previous in {"", *self._hashes.values()} or self._first_segment > 1

    def _accept(self, stated: Checkpoint, record: Line) -> None:
        """A valid checkpoint: it speaks for all records before it."""
        report = self._report
        report.checkpoints += 1
        report.signed += self._behind
        report.signed_until = max(report.signed_until, stated.last_time)
        if stated.key_id not in report.keys:
            report.keys.append(stated.key_id)
        if self._breaks == len(report.findings):  # else the chain may be broken between the claim and here
            report.removed_through = max(report.removed_through, self._claimed)
        self._last = stated.boot, record.hash
        self._behind, self._behind_until, self._claimed = 0, "", 0

    def conclude(self, seq: int) -> None:
        """At the end of the walk, whose last record is `seq`: whether too much is left that nobody signed for."""
        report = self._report
        report.unsigned = self._behind
        if not self.keys:
            return  # the report's authorship says what that means
        if not report.checkpoints:
            message = f"no checkpoint by a known key speaks for any of the {report.records} records"
        else:
            message = self._bounds.exceeded(self._behind, self._behind_until, report.signed_until)
        if message:
            self._at.add("unsigned", seq, message)

    def compare_with_copies(self, name: str, copies: bytes, ends: Mapping[str, int]) -> None:
        """Every checkpoint that was kept elsewhere must be there. `ends`: the last seq of each boot in the journal."""
        self._at.segment, self._at.line = name, 0
        truncated: set[str] = set()
        for line in copies.split(b"\n"):
            self._at.line += 1
            record = parse_line(line) if line else None
            signed = read_checkpoint(bytes(record.event)) if record else None
            if record is None or signed is None:
                continue  # a sink's copy holds other records too; a cut line proves nothing
            if self._is_wanted(line, record, signed):
                self._compare(record, signed.checkpoint, ends, truncated)

    def _is_wanted(self, line: bytes, record: Line, signed: Signed) -> bool:
        """Whether the journal must hold the checkpoint of this copy."""
        stated = signed.checkpoint
        key = self.keys.get(stated.key_id)
        if self.keys and key is None:
            return False  # anybody may have signed it
        if not is_owned(stated.instance, self._owner):
            return False  # another worker's, in a file that all wrote
        if true_hash(line) != record.hash or (key is not None and not is_signed_by(signed, key)):
            self._at.add("bad_signature", record.seq, "the copy of a checkpoint was changed")
            return False
        return not stated.segment < self._first_segment <= self._report.removed_through + 1

    def _compare(self, record: Line, stated: Checkpoint, ends: Mapping[str, int], truncated: set[str]) -> None:
        boot = stated.boot
        found = ends.get(boot, -1) + 1
        if found <= record.seq or stated.segment not in self._segments:
            if boot not in truncated:
                truncated.add(boot)
                there = f"{found} are there" if found <= record.seq else f"segment {stated.segment} is not there"
                self._at.add("truncated", record.seq, f"boot {boot} had {record.seq + 1} records or more, {there}")
        elif self._hashes.get((boot, record.seq)) != record.hash:
            self._at.add("checkpoint_mismatch", record.seq, f"boot {boot} has another record in its place")
