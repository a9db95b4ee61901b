"""What operators may see of a running server. No secret, no subject, no request is ever part of it."""

from collections.abc import Mapping

from msgspec import Struct

from extauthz.bundle.compare import Comparison, Gate


class BundleStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """The revision in force, and how the last attempt to replace it went."""

    source: str
    revision: str = ""  # "" when no bundle is active
    digest: str = ""
    sequence: int | None = None  # None when it has no manifest
    signed_by: str = ""  # id of the key; "" when nobody's word was needed
    origin: str = ""  # the source, or the copy on disk that it came from
    held_by: str = ""  # pin, rollback or promotion, while an operator keeps it in force against the source
    held_seconds: float = 0.0  # for how long
    waiting: str = ""  # the revision that the source has meanwhile
    age_seconds: float = 0.0
    contact_age_seconds: float | None = None  # since the source was last heard; None before
    too_old: bool = False
    documents: Mapping[str, int] = {}  # by kind
    last_result: str = ""  # activated, rejected, held, unchanged or unreachable
    last_step: str = ""  # where the last attempt ended; "" when it came through
    last_findings: tuple[str, ...] = ()  # `file:line: field: message`
    steps: Mapping[str, Mapping[str, int]] = {}  # by step: how often `passed` and `failed`, since the start


class CandidateStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """A bundle that is evaluated beside the live one, and whether it may be promoted."""

    source: str
    sample: float  # which part of the Checks is compared
    revision: str = ""  # "" while none was loaded
    digest: str = ""
    last_result: str = ""  # as in BundleStatus; activated: it is compared
    last_step: str = ""
    last_findings: tuple[str, ...] = ()
    seconds_spent: float = 0.0  # on comparing
    comparison: Comparison | None = None  # None while there is nothing to compare
    gate: Gate = Gate()
    promotable: bool = False  # whether the gate is passed
    not_promotable_because: tuple[str, ...] = ()


class IssuerStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """The keys of one issuer."""

    issuer: str  # metadata.name
    source: str  # bundle or network; introspection where no keys are needed
    keys: int = 0
    age_seconds: float | None = None  # since the last good answer; None before the first, and for files
    error: str = ""  # of the last attempt, "" when it went well
    introspection: str = ""  # "" when it is not asked about tokens, `answering`, `failing: …` or `left alone: …`


class JournalStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the evidence is and how far it reaches."""

    directory: str
    records: int = 0  # of this run
    position: int = 0  # of all runs
    failures: int = 0  # writes that failed, of this run


class TransportStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """The gRPC listener."""

    kind: str  # loop or stock
    fallback: str = ""  # why it is stock although loop was wished
    address: str
    tls: str  # none, tls or mtls
    serving: bool
    inflight: int


class WorkerStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """One of several workers."""

    worker: int
    address: str
    pid: int  # 0 while there is none
    ready: bool
    not_ready_because: tuple[str, ...] = ()
    serves_seconds: float = 0.0  # since it took its address
    restarts: int = 0
    last_end: str = ""  # why the one before it ended
    revision: str = ""  # of its bundle
    checks: int = 0  # answered, by it and those before it
    memory_bytes: int = 0


class EmergencyStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """A freeze or break glass in force; whom it names is for the control socket alone."""

    id: str
    kind: str  # freeze, freeze_everything, break_glass or drill
    source: str  # bundle or runtime
    ends: str  # RFC 3339


class Status(Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole, as `/status` shows it."""

    version: str
    instance: str
    uptime_seconds: float
    ready: bool
    not_ready_because: tuple[str, ...]
    config_digest: str
    bundle: BundleStatus
    issuers: tuple[IssuerStatus, ...]
    journal: JournalStatus
    transport: TransportStatus
    emergencies: tuple[EmergencyStatus, ...] = ()  # the first hundred to end
    decisions: Mapping[str, int] = {}  # since start, by reason
    candidate: CandidateStatus | None = None  # None without one
    workers: tuple[WorkerStatus, ...] = ()  # empty when one process serves alone
