"""The one place where records enter the journal: chained and written under one lock.

Rule 1: under the lock is only what the chain needs: hash, write, and now and then a new segment or a signature.
Rule 2: the chain moves on only when the whole write succeeded; otherwise the file is as it was and the caller is told.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from extauthz.journal.chain import seal
from extauthz.journal.checkpoint import Checkpoint, Signer
from extauthz.journal.commit import GroupCommit
from extauthz.journal.copies import append_copy
from extauthz.journal.errors import JournalError
from extauthz.journal.options import JournalIdentity, JournalOptions
from extauthz.journal.outage import Entry, Outage
from extauthz.journal.record import SealedTail, SegmentEvent, TimeText, lifecycle_event, segment_event
from extauthz.journal.segments import Ending, SegmentFile, synchronise_directory

# A segment of this size may get larger by a quarter, until a thread beside the path leaves it; of a smaller one so
# little is to be brought to the disk that whoever fills it can do so.
_LARGE = 16 << 20


class ChainWriter:
    """Appends records to the open segment. Threads may share it."""

    def __init__(
        self,
        directory: Path,
        options: JournalOptions,
        identity: JournalIdentity,
        signer: Signer,
        ending: Ending,
        last_checkpoint: str,
        clock: Callable[[], float],
    ) -> None:
        """Open a new segment behind `ending`. Raises OSError when that cannot be done."""
        self.failures = 0  # writes, checkpoints and synchronisations that failed
        self.bytes = 0  # written by this boot
        self.writes = 0  # with records; each may hold a batch of them
        self.position = ending.position  # records in the whole journal
        self.bundle_digest = ""
        self.error = ""  # why the last write failed; "" when it did not
        self.checkpoint_due = threading.Event()
        self._directory, self._options, self._identity, self._signer = directory, options, identity, signer
        self._clock = clock
        whole = options.segment_bytes
        self._most = whole if whole < _LARGE else whole + whole // 4  # how large a segment may get
        self._time = TimeText()
        self._lock = threading.Lock()
        self._seq, self._head = 0, ending.head
        self._outage = Outage()
        self._distrusted = self._closed = False
        self._since: tuple[bytes, bytes] | None = None  # earliest and latest time since the last checkpoint
        self._unsigned = 0  # records since the last checkpoint
        self._last_checkpoint = last_checkpoint  # its hash
        self._commit = GroupCommit(ending.position)
        self._file = self._open(ending.next_segment, "boot", ending.boot, ending.sealed)

    def now(self) -> bytes:
        """The time of an event that happens now."""
        return self._time(self._clock()).encode()

    @property
    def head(self) -> str:
        """The hash of the last record."""
        return self._head.decode()

    def tail(self) -> tuple[int, int]:
        """Number of the open segment and how many of its bytes hold whole records."""
        file = self._file
        return file.number, file.size

    def append(self, entries: Sequence[Entry]) -> None:
        """Write records in this order, all or none. Raises JournalError.

        When it returns, the kernel has them (`process`), or the disk (`disk`).
        """
        with self._lock:
            try:
                self._append_all(entries)
            except JournalError:
                self._outage.refused += len(entries)
                raise
            position = self.position
        if self._options.durability == "disk":
            self._await_disk(position)

    def note(self, entry: Entry) -> None:
        """Write an event of the server's life; when the journal cannot, it waits until the journal can."""
        with self._lock:
            try:
                self._append_all([entry])
            except JournalError:
                self._outage.wait(entry)

    def remark(self, entries: Sequence[Entry]) -> bool:
        """Write what is said about records that are here already; whether it could be. Waits for no disk."""
        with self._lock:
            try:
                self._append_all(entries)
            except JournalError:
                return False
            return True

    def answered_without(self, count: int) -> None:
        """Count answers that went out without a record, because their profile says so."""
        with self._lock:
            self._outage.unrecorded += count

    def checkpoint(self, entries: Sequence[Entry] = ()) -> None:
        """Sign what the journal holds, with these last. Raises JournalError."""
        with self._lock:
            self._make_ready()
            if entries or self._outage:
                self._append_all(entries)
            now = self.now()
            first, last = self._since or (now, now)
            signed = self._signer.sign(
                Checkpoint(
                    instance=self._identity.instance,
                    boot=self._identity.boot,
                    segment=self._file.number,
                    records=self._seq,
                    position=self.position,
                    first_time=first.decode(),
                    last_time=last.decode(),
                    head=self._head.decode(),
                    previous=self._last_checkpoint,
                    config_digest=self._identity.config_digest,
                    bundle_digest=self.bundle_digest,
                    key_id=self._signer.key_id,
                )
            )
            line, digest = seal(self._seq, now, signed, self._head)
            self._write(line)
            self._seq, self._head = self._seq + 1, digest
            self.position += 1
            self._since, self._unsigned, self._last_checkpoint = None, 0, digest.decode()
            self.checkpoint_due.clear()
        try:
            append_copy(self._directory, line)
        except OSError:
            self.failures += 1  # the checkpoint itself is in the chain

    def open_new_segment_if_disturbed(self) -> bool:
        """Leave a segment file that another program changed or removed. Returns whether that was so."""
        with self._lock:
            if self._closed or self._file.is_undisturbed():
                return False
            self._distrusted = True
            self._outage.wait((self.now(), lifecycle_event("segment_disturbed", {"segment": self._file.path.name})))
        return True

    def begin_segment_if_full(self) -> None:
        """Leave a full segment. Raises JournalError.

        For a thread beside the path: most of what has to be on the disk before the next one has a record is brought
        there while this one still takes records. Of 256 MiB that can be a third of a second.
        """
        if self._file.size >= self._options.segment_bytes:
            self.synchronise()
            with self._lock:
                if not self._closed and self._file.size >= self._options.segment_bytes:
                    self._begin_segment()

    def close(self) -> None:
        """Bring everything to the disk; every later record is refused."""
        with self._lock, self._commit.lock:
            if not self._closed:
                self._closed = True
                with suppress(OSError):
                    self._file.synchronise()
                self._file.close()

    # --- from here on the lock is held

    def _append_all(self, entries: Sequence[Entry]) -> None:
        """Write these, behind what has to be said about an outage; all with one write, or nothing."""
        self._make_ready()
        if self._outage:
            self._chain([*self._outage.owed(self.now), *entries])
            self._outage = Outage()
        else:
            self._chain(entries)

    def _make_ready(self) -> None:
        """A segment that takes records."""
        if self._closed:
            msg = "the journal is closed"
            raise JournalError(msg)
        if self._distrusted or self._file.size >= self._most:
            self._begin_segment()

    def _chain(self, entries: Sequence[Entry]) -> None:
        seq, head, lines = self._seq, self._head, []
        for time, event in entries:
            line, head = seal(seq, time, event, head)
            seq += 1
            lines.append(line)
        self._write(lines[0] if len(lines) == 1 else b"".join(lines))
        self._advance(seq, head, entries)

    def _advance(self, seq: int, head: bytes, entries: Sequence[Entry]) -> None:
        count = seq - self._seq
        self._seq, self._head = seq, head
        self.position += count
        self._unsigned += count
        first, last = self._since or (entries[0][0],) * 2
        for time, _ in entries:
            if time < first:
                first = time
            elif time > last:
                last = time
        self._since = (first, last)
        if self._unsigned >= self._options.checkpoint_records and not self.checkpoint_due.is_set():
            self.checkpoint_due.set()

    def _write(self, data: bytes) -> None:
        try:
            self._file.append(data)
        except OSError as error:
            raise self._error(error, doing="write") from error
        if self.error:
            self.error = ""
        self.bytes += len(data)
        self.writes += 1

    def _begin_segment(self) -> None:
        """Go on in the next file. The old one is complete on the disk before the new one has a record."""
        old = self._file
        try:
            with self._commit.lock:
                if not self._distrusted:
                    old.take_back()
                # Also one that is distrusted: records in it may be waited for.
                self._distrusted = not self._commit.leave(old, self.position) or self._distrusted
                self._file = self._open(old.number + 1, "distrust" if self._distrusted else "rotation")
                self._distrusted = False
                old.close()
        except OSError as error:
            raise self._error(error, doing="begin a new segment in") from error

    def _open(
        self,
        number: int,
        began: Literal["boot", "rotation", "distrust"],
        previous_boot: str = "",
        sealed: SealedTail | None = None,
    ) -> SegmentFile:
        """A segment file with its first record. Raises OSError and leaves the chain as it was."""
        identity, options = self._identity, self._options
        event = segment_event(
            SegmentEvent(
                number=number,
                instance=identity.instance,
                boot=identity.boot,
                began=began,
                version=identity.version,
                position=self.position,
                public_key=self._signer.public_key,
                key_id=self._signer.key_id,
                checkpoint_records=options.checkpoint_records,
                checkpoint_seconds=options.checkpoint_seconds,
                config_digest=identity.config_digest,
                previous_boot=previous_boot,
                sealed=sealed,
            )
        )
        file = SegmentFile(self._directory, number)
        entry = (self.now(), event)
        line, digest = seal(self._seq, *entry, self._head)
        try:
            file.append(line)
            if options.durability == "disk":
                file.synchronise()
                synchronise_directory(self._directory)
        except OSError:
            file.close()
            with suppress(OSError):  # nothing in it was confirmed, and the next attempt makes it again
                file.path.unlink()
            raise
        self.bytes += len(line)
        self._advance(self._seq + 1, digest, [entry])
        return file

    def _error(self, error: OSError, doing: str) -> JournalError:
        self.failures += 1
        self.error = f"cannot {doing} journal `{self._directory}`: {error.strerror}"
        return JournalError(self.error)

    # --- the disk

    def synchronise(self) -> None:
        """Bring all records to the disk. Raises JournalError."""
        self._await_disk(self.position)

    def _await_disk(self, position: int) -> None:
        commit = self._commit
        with commit.lock:
            if commit.is_lost(position):
                msg = f"cannot synchronise journal `{self._directory}`: the record's segment had to be left"
                raise JournalError(msg)
            if commit.is_on_disk(position):
                return
            try:
                commit.synchronise(self._file, self.position)
            except OSError as error:
                self._distrusted = True
                raise self._error(error, doing="synchronise") from error
