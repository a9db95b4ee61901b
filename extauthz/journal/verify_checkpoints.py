"""The part of a verification that is about checkpoints: who signed what, and what was kept of it elsewhere."""

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from extauthz.journal.chain import Line, parse_line, true_hash
from extauthz.journal.checkpoint import Checkpoint, is_signed_by, read_checkpoint
from extauthz.journal.report import Findings

# A checkpoint is signed beside the path, so some records more than promised may come before it.
_UNSIGNED_SLACK = 5_000


class Checkpoints:
    """What the walk has seen of checkpoints and keys so far."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey], at: Findings) -> None:
        self.keys = keys  # by id; without any, signatures are not checked
        self.since = 0  # records behind the last valid checkpoint
        self._at, self._report = at, at.report
        self._last = ""  # hash of the last checkpoint record
        self._signed: dict[tuple[str, int], str] = {}  # (boot, seq): hash of a checkpoint record
        self._seen_keys: set[str] = set()

    def meet_key(self, key: str, seq: int) -> None:
        """A boot says with which key it signs."""
        if self.keys and key not in self.keys and key not in self._seen_keys:
            self._at.add("key_changed", seq, f"the boot signs with key {key}, which was not given")
        self._seen_keys.add(key)

    def count(self, seq: int, promised: int) -> None:
        """One record more; `promised`: how many the boot wanted between two checkpoints, 0 when that is unknown."""
        self.since += 1
        if promised and self.since == 2 * promised + _UNSIGNED_SLACK:
            self._at.add("unsigned", seq, f"{self.since} records lie behind the last valid checkpoint")

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
            return
        if not is_signed_by(signed, key):
            self._at.add("bad_signature", record.seq, f"the signature is not that of key {stated.key_id}")
            return
        if (stated.head, stated.records) != (record.prev, record.seq):
            self._at.add("checkpoint_mismatch", record.seq, "it was signed for other records than those before it")
        elif not self._follows_a_checkpoint(stated):
            self._at.add("checkpoint_mismatch", record.seq, "it names another checkpoint than the one before it")
        else:
            self._report.signed += self.since
            self.since = 0
        self._report.checkpoints += 1
        if stated.key_id not in self._report.keys:
            self._report.keys.append(stated.key_id)
        self._last = record.hash
        self._signed[stated.boot, record.seq] = record.hash

    def _follows_a_checkpoint(self, stated: Checkpoint) -> bool:
        """Within a boot the one before. The first of a boot may name an older one: its last copy, after a crash."""
        if not self._signed:
            return True  # the first that is left; those before it went with their segments
        boot, _ = next(reversed(self._signed))
        if boot == stated.boot:
            return stated.previous == self._last
        return stated.previous in {"", *self._signed.values()} or self._report.removed_through > 0

    def compare_with_copies(self, file: Path, ends: Mapping[str, int], first_segment: int) -> None:
        """Every checkpoint that was kept elsewhere must be there. `ends`: the last seq of each boot in the journal."""
        self._at.segment, self._at.line = file.name, 0
        truncated: set[str] = set()
        for line in file.read_bytes().split(b"\n"):
            self._at.line += 1
            record = parse_line(line) if line else None
            signed = read_checkpoint(bytes(record.event)) if record else None
            if record is None or signed is None:
                continue  # a sink's copy holds other records too; a cut line proves nothing
            stated = signed.checkpoint
            key = self.keys.get(stated.key_id)
            if key is not None and (true_hash(line) != record.hash or not is_signed_by(signed, key)):
                self._at.add("bad_signature", record.seq, "the copy of a checkpoint was changed")
            elif stated.segment < first_segment <= self._report.removed_through + 1 or key is None:
                continue
            elif ends.get(stated.boot, -1) < record.seq:
                if stated.boot not in truncated:
                    truncated.add(stated.boot)
                    found = ends.get(stated.boot, -1) + 1
                    message = f"boot {stated.boot} had {record.seq + 1} records or more, {found} are there"
                    self._at.add("truncated", record.seq, message)
            elif self._signed.get((stated.boot, record.seq)) != record.hash:
                self._at.add("checkpoint_mismatch", record.seq, f"boot {stated.boot} has another record in its place")
