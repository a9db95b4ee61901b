"""The journal as the server sees it: record a decision, note an event, close.

Beside the path one thread signs checkpoints, changes and removes segments and watches clock and files; one a sink
delivers.
"""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from extauthz.journal.candidates import CandidateRecord, candidate_event
from extauthz.journal.checkpoint import Signer, read_checkpoint
from extauthz.journal.copies import last_checkpoint
from extauthz.journal.errors import JournalError
from extauthz.journal.events import Events
from extauthz.journal.kept import Keeper
from extauthz.journal.keys import load_pseudonym_key, load_signing_key
from extauthz.journal.options import JournalIdentity, JournalOptions
from extauthz.journal.pseudonym import Pseudonyms
from extauthz.journal.record import LifecycleKind, TimeText, lifecycle_event
from extauthz.journal.segments import (
    DirectoryLock,
    Ending,
    read_ending,
    segment_numbers,
    segment_path,
)
from extauthz.journal.sinks import Follower
from extauthz.journal.writer import ChainWriter
from extauthz.model.record import DecisionRecord

TICK_SECONDS = 1.0
# NTP slews by at most 0.5 ms a second; half a second between two looks is a step.
CLOCK_STEP_SECONDS = 0.5
SINK_DRAIN_SECONDS = 5.0
# After these another bundle is in force, whose digest they name.
_ACTIVATIONS = frozenset({"bundle_activated", "bundle_rolled_back", "bundle_pinned", "bundle_promoted"})


class SinkStatus(Struct, frozen=True):
    """How a sink fares. Counts are of this run, except `lag`."""

    name: str
    lag: int  # records it has not delivered yet
    delivered: int
    lost: int  # removed by retention before they were delivered
    failures: int


class JournalStatus(Struct, frozen=True, kw_only=True):
    """How the journal fares. Counts are of this run, except `position` and `segments`."""

    position: int  # records in the journal, over all boots
    records: int  # written
    bytes: int  # written
    writes: int  # calls of the kernel for that; under load one is for many records
    failures: int  # writes, checkpoints and synchronisations that failed
    segments: int  # files
    head: str  # hash of the last record
    error: str  # why the last write failed; "" when it did not
    sinks: tuple[SinkStatus, ...]


class Journal:
    """Append-only evidence of every decision. Threads may share it."""

    def __init__(
        self,
        options: JournalOptions,
        identity: JournalIdentity,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the directory for this process alone and begin a segment. Raises JournalError."""
        self._options, self._clock, self._monotonic = options, clock, monotonic
        self._directory = Path(options.directory)
        self._lock = DirectoryLock(self._directory)
        try:
            signer = Signer(load_signing_key(options.signing_key_file, self._directory))
            key = load_pseudonym_key(options.pseudonym_key_file, self._directory)
            self._pseudonyms = Pseudonyms(key, secrets.token_bytes(32))
            keeper = Keeper(self._pseudonyms, options.replay_clear) if options.replay == "attributes" else None
            self._events = Events(self._pseudonyms, keeper)
            self._time = TimeText()
            ending, checkpoint = read_ending(self._directory), last_checkpoint(self._directory)
            self._first_position = ending.position
            self._writer = ChainWriter(
                self._directory, options, identity, signer, ending, checkpoint.hash if checkpoint else "", clock
            )
        except (OSError, JournalError) as error:
            self._lock.release()
            if isinstance(error, JournalError):
                raise
            msg = f"journal directory `{options.directory}` cannot be written: {error.strerror}"
            raise JournalError(msg) from error
        self._note_missing(ending, bytes(checkpoint.event) if checkpoint else b"")
        try:  # before the first decision, so that the key vouches for the journal whenever the process dies
            self._writer.checkpoint()
        except JournalError:
            self._writer.close()
            self._lock.release()
            raise
        self._followers = [Follower(sink, self._directory, self._writer.tail, self.event) for sink in options.sinks]
        for follower in self._followers:
            follower.start()
        self._stop = threading.Event()
        self._skew = clock() - monotonic()
        self._signed_at = monotonic()
        self._tender = threading.Thread(target=self._tend, name="journal-tender", daemon=True)
        self._tender.start()

    def record(self, record: DecisionRecord) -> None:
        """Write one decision. Raises JournalError; then the decision is not in the journal."""
        self.record_all((record,))

    def record_all(self, records: Sequence[DecisionRecord]) -> None:
        """Write several decisions with one write, all or none. Raises JournalError."""
        entries = []
        write, time, text, written = self._events.write, -1.0, "", b""
        for record in records:
            if record.time != time:  # Checks that came together have one
                time = record.time
                text = self._time(time)
                written = text.encode()
            entries.append((written, write(record, text)))
        if entries:
            self._writer.append(entries)

    def record_candidates(self, records: Sequence[CandidateRecord]) -> bool:
        """Write what a candidate would have answered otherwise; False when the journal cannot. Waits for no disk."""
        now = self._writer.now()
        return self._writer.remark([(now, candidate_event(record)) for record in records])

    def answered_without_record(self, count: int = 1) -> None:
        """Count answers given without a record (`audit.whenUnavailable: proceed`); said in the next record."""
        self._writer.answered_without(count)

    def event(self, kind: LifecycleKind, detail: dict[str, str]) -> None:
        """Note what happened to the server. Never raises: it waits while the journal cannot be written."""
        if kind in _ACTIVATIONS:
            self._writer.bundle_digest = detail.get("digest", "")
        elif kind == "bundle_order_refused" and "from_digest" in detail:  # maybe on record before the disk failed
            self._writer.bundle_digest = detail["from_digest"]
        self._writer.note((self._writer.now(), lifecycle_event(kind, detail)))

    def pseudonym(self, issuer: str, subject: str) -> str:
        """The name of a subject in events that belong to no tenant, in the month that is now."""
        return self._pseudonyms.of_subject(issuer, subject, "", self._time(self._clock())[:7])

    def status(self) -> JournalStatus:
        """How journal and sinks fare now."""
        writer = self._writer
        sinks = tuple(
            SinkStatus(f.name, max(0, writer.position - f.cursor.position), f.delivered, f.lost, f.failures)
            for f in self._followers
        )
        written = writer.position - self._first_position
        segments = len(segment_numbers(self._directory))
        return JournalStatus(
            position=writer.position,
            records=written,
            bytes=writer.bytes,
            writes=writer.writes,
            failures=writer.failures,
            segments=segments,
            head=writer.head,
            error=writer.error,
            sinks=sinks,
        )

    def checkpoint(self) -> None:
        """Sign what the journal holds now. Raises JournalError."""
        self._writer.checkpoint()
        self._signed_at = self._monotonic()

    def close(self) -> None:
        """Note the stop, sign, deliver what the sinks still take in 5 s, and let the directory go."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._writer.checkpoint_due.set()
        self._tender.join()
        self.event("stopped", {})
        self._checkpoint_if_it_can()
        for follower in self._followers:
            follower.stop(SINK_DRAIN_SECONDS)
        self._writer.close()
        self._lock.release()

    def _note_missing(self, ending: Ending, checkpoint: bytes) -> None:
        signed = read_checkpoint(checkpoint) if checkpoint else None
        if signed and signed.checkpoint.position >= ending.position:
            stated, found = str(signed.checkpoint.position + 1), str(ending.position)
            self.event("records_missing", {"stated": stated, "found": found, "boot": signed.checkpoint.boot})

    # --- the thread beside the path

    def _tend(self) -> None:
        while not self._stop.is_set():
            due = self._writer.checkpoint_due.wait(TICK_SECONDS)
            if self._stop.is_set():
                return
            self._watch_clock()
            self._writer.open_new_segment_if_disturbed()
            with suppress(JournalError):  # counted by the writer; the next look tries again
                self._writer.begin_segment_if_full()
            if due or self._monotonic() - self._signed_at >= self._options.checkpoint_seconds:
                self._checkpoint_if_it_can()
            with suppress(OSError):  # a directory that cannot be read: writing fails too, which is counted
                self.remove_old_segments()

    def _checkpoint_if_it_can(self) -> None:
        try:
            self.checkpoint()
        except JournalError:
            self._stop.wait(TICK_SECONDS)  # counted by the writer; the next look tries again

    def _watch_clock(self) -> None:
        skew = self._clock() - self._monotonic()
        if abs(skew - self._skew) > CLOCK_STEP_SECONDS:
            self.event("clock_stepped", {"seconds": f"{skew - self._skew:+.3f}"})
        self._skew = skew

    def remove_old_segments(self) -> None:
        """Remove what `keep_segments` no longer keeps; wait for slow sinks up to `keep_for_sinks` more segments."""
        numbers = segment_numbers(self._directory)
        spare = len(numbers) - self._options.keep_segments
        if not self._options.keep_segments or spare <= 0:
            return
        waiting = min((f.cursor.segment for f in self._followers), default=numbers[-1])
        forced = spare - self._options.keep_for_sinks
        removed = [n for index, n in enumerate(numbers[:spare]) if n < waiting or index < forced]
        if not removed:
            return
        # Said, signed and on the disk first: what is missing without a signed record is taken for a theft.
        detail = {"first": str(removed[0]), "last": str(removed[-1])}
        try:
            self._writer.checkpoint([(self._writer.now(), lifecycle_event("segments_removed", detail))])
            self._writer.synchronise()
        except JournalError:
            return  # counted by the writer; the next look tries again
        for number in removed:
            segment_path(self._directory, number).unlink(missing_ok=True)
